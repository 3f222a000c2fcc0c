"""Every marked command and snippet of docs/search.md runs, in order; listings; exports that disagree are refused."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mtrl import MTRL
from mtrl.commands.photos import read_photos
from mtrl.models.config import ModelConfig
from mtrl.models.export import export_onnx
from mtrl.retrieval.filters import parse_time
from tests.helpers.paths import ROOT

SNIPPET = re.compile(r"<!-- run -->\n```(bash|python)\n(.*?)```", re.DOTALL)


def write_photos(folder: Path) -> None:
    rng = np.random.default_rng(0)
    names = [
        "infrared/anna/7.jpg",
        "infrared/eve/9.jpg",
        "visible/anna/1.jpg",
        "a/0417.jpg",
        "b/0433.jpg",
        "more/0.jpg",
    ]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (60, 30, 3), dtype=np.uint8)).save(folder / name)
    (folder / "listing.csv").write_text(
        "path,identity,camera,time\na/0417.jpg,anna,5,2026-11-20T18:30\nb/0433.jpg,eve,6,2026-11-20T18:31+01:00\n"
    )


@pytest.mark.slow
def test_the_page_of_searching_runs(tmp_path: Path) -> None:
    for package in ("faiss", "milvus_lite", "onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    write_photos(tmp_path / "photos")
    snippets = SNIPPET.findall((ROOT / "docs" / "search.md").read_text(encoding="utf-8"))
    assert len(snippets) == 5
    for language, text in snippets:
        words = [sys.executable, "-c", text] if language == "python" else ["bash", "-ec", text]
        environment = {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{text}\n{done.stderr[-2000:]}"
        if "--json" in text:
            assert '"identity": "anna"' in done.stdout


def test_listings(tmp_path: Path) -> None:
    write_photos(tmp_path)
    listing = tmp_path / "listing.csv"
    photos, _ = read_photos(listing)
    assert photos.names == ["a/0417.jpg", "b/0433.jpg"] and photos.identities == ["anna", "eve"]
    assert photos.cameras == [5, 6] and photos.times == [
        parse_time("2026-11-20T18:30Z"),
        parse_time("2026-11-20T17:31Z"),
    ]
    folder, _ = read_photos(tmp_path / "infrared", "folder", "file")
    assert folder.names == ["anna/7.jpg", "eve/9.jpg"] and folder.identities == ["anna", "eve"]
    assert folder.times == [path.stat().st_mtime for path in folder.paths] and folder.cameras is None
    for text, message in [
        ("file\na/0417.jpg\n", "column path"),
        ("path;who\na/0417.jpg;x\n", "delimiter is ';'"),
        ("path,camera\na/0417.jpg,x\n", "integer"),
        ("path,time\na/0417.jpg,noon\n", "ISO 8601"),
        ("path,identity\na/0417.jpg,anna\nb/0433.jpg,\n", "every line, or in none"),
        ("path,identity\na/0417.jpg\n", "line 2"),
        ("path\na\n", "a is a folder; every row must be one image"),
    ]:
        listing.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_photos(listing)


@pytest.mark.slow
@pytest.mark.parametrize("stem", ["shared", "dual"])
def test_export(stem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    import onnxruntime

    torch.manual_seed(0)
    model = MTRL(ModelConfig("test_resnet", (64, 32), stem=stem)).eval()
    if stem == "dual":
        with torch.no_grad():  # stems that differ, so that the wrong one would be noticed
            for parameter in model.backbone.stems[1].parameters():  # type: ignore[index]
                parameter.mul_(-1)
        with pytest.raises(ValueError, match="one file for visible"):
            export_onnx(model, tmp_path / "x.onnx")
    assert export_onnx(model, tmp_path / "m.onnx", "infrared") >= 0.9999
    wrapped = copy.deepcopy(model)
    wrapped.backbone = torch.compile(wrapped.backbone)
    export_onnx(wrapped, tmp_path / "again.onnx", "infrared")
    content = (tmp_path / "m.onnx").read_bytes()
    assert (tmp_path / "again.onnx").read_bytes() == content and b"stack_trace" not in content
    (tmp_path / "again.onnx").unlink()
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["mtrl"])
    assert about["fingerprint"] == model.fingerprint() and about["image_size"] == [64, 32]
    images = torch.rand(5, 3, 64, 32)
    got = session.run(["embeddings"], {"images": images.numpy()})[0]
    assert np.allclose(got, model.encode(images, "infrared").numpy(), atol=1e-4)
    assert np.allclose(np.linalg.norm(got, axis=1), 1, atol=1e-4)

    monkeypatch.setattr("mtrl.models.export.LEAST_COSINE", 1.1)
    with pytest.raises(ValueError, match="disagrees"):
        export_onnx(model, tmp_path / "no.onnx", "infrared")
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    assert export_onnx(model, tmp_path / "half.onnx", "infrared", half=True) >= 0.999
    assert (tmp_path / "half.onnx").stat().st_size < 0.7 * (tmp_path / "m.onnx").stat().st_size
    (tmp_path / "half.onnx").unlink()
    monkeypatch.undo()
    for kind in (torch.float16, torch.bfloat16, torch.float64):
        converted = copy.deepcopy(model).to(kind)
        assert export_onnx(converted, tmp_path / "converted.onnx", "infrared") >= 0.9999
        session = onnxruntime.InferenceSession(
            tmp_path / "converted.onnx", providers=["CPUExecutionProvider"]
        )
        got = torch.from_numpy(session.run(["embeddings"], {"images": images.numpy()})[0])
        cosine = torch.nn.functional.cosine_similarity(got, model.encode(images, "infrared"))
        assert cosine.min() > 0.999, kind
