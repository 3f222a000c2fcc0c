"""A fixed value range is remembered: by galleries, stores, commands, data caches and the page."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from eval.__main__ import EvalSettings
from mtrl import MTRL, Gallery, load_pretrained
from mtrl.data import load_data
from mtrl.data.sources.verify import verify
from mtrl.demo.service.service import DemoService
from mtrl.files.images import read_image
from mtrl.models.config import ModelConfig
from mtrl.retrieval.stores.factory import create_store, open_store
from mtrl.translate import load_translator
from train.settings import TrainSettings
from train.translator.settings import TranslatorSettings

RNG = np.random.default_rng(0)
RANGE = (20.0, 45.0)
torch.manual_seed(0)
MODEL = MTRL(ModelConfig("test_resnet", (64, 32))).eval()


def frame(base: float) -> Image.Image:
    """Degrees, as a thermal camera measures them."""
    return Image.fromarray((base + 8 * RNG.random((64, 32))).astype(np.float32))


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    for name in ("ann", "bob", "cem"):
        path = tmp_path / "frames" / name / "1.tif"
        path.parent.mkdir(parents=True)
        frame(22 + len(name)).save(path)
    return tmp_path / "frames"


def test_a_gallery_remembers_its_range(frames: Path, tmp_path: Path) -> None:
    paths = sorted(frames.rglob("*.tif"))
    gallery = Gallery.build(MODEL, paths[:2], value_range=[20, 45])  # type: ignore[arg-type]
    assert gallery.value_range == RANGE
    assert torch.equal(gallery.features, MODEL.encode(paths[:2], value_range=RANGE))
    assert not torch.allclose(gallery.features, MODEL.encode(paths[:2]), atol=1e-3)
    gallery.save(tmp_path / "g")
    loaded = Gallery.load(tmp_path / "g")
    assert loaded.value_range == loaded.select([0]).value_range == loaded.half().value_range == RANGE
    more = loaded.add(MODEL, paths[2:])  # the gallery's own range
    assert torch.equal(more.features[2:], MODEL.encode(paths[2:], value_range=RANGE))
    assert len(loaded.add(MODEL, paths[2:], value_range=RANGE)) == 3
    other = r"scaled from 20 to 45, the new ones from 0 to 50; use the gallery's value range"
    with pytest.raises(ValueError, match=other):
        loaded.add(MODEL, paths[2:], value_range=(0, 50))
    with pytest.raises(ValueError, match="each by its own values"):
        loaded.join(Gallery.build(MODEL, paths[2:]))
    with pytest.raises(ValueError, match="each by its own values"):
        Gallery.build(MODEL, paths[:2]).add(MODEL, paths[2:], value_range=RANGE)
    table = json.loads((tmp_path / "g" / "gallery.json").read_text())
    assert table["value_range"] == [20.0, 45.0]
    for wrong in ([45, 20], [1], "20 45", [None, 3]):
        (tmp_path / "g" / "gallery.json").write_text(json.dumps(table | {"value_range": wrong}))
        with pytest.raises(ValueError, match=r"gallery\.json"):
            Gallery.load(tmp_path / "g")
    del table["value_range"]  # written before ranges were remembered
    (tmp_path / "g" / "gallery.json").write_text(json.dumps(table))
    assert Gallery.load(tmp_path / "g").value_range is None


@pytest.mark.parametrize("kind", ["exact", "faiss", "milvus"])
def test_stores_remember_their_range(kind: str, frames: Path, tmp_path: Path) -> None:
    pytest.importorskip({"exact": "torch", "faiss": "faiss", "milvus": "milvus_lite"}[kind])
    paths = sorted(frames.rglob("*.tif"))
    entries = Gallery.build(MODEL, paths[:2], value_range=RANGE)
    create_store(kind, str(tmp_path / "s"), entries).close()
    store = open_store(str(tmp_path / "s"))
    try:
        assert store.value_range == RANGE
        with pytest.raises(ValueError, match="use the gallery's value range"):
            store.upsert(Gallery.build(MODEL, paths[2:]))
        store.upsert(Gallery.build(MODEL, paths[2:], value_range=RANGE))
        assert len(store) == 3
    finally:
        store.close()


def call(name: str, *argv: object) -> int:
    module = importlib.import_module(f"mtrl.commands.{name}")
    parser = argparse.ArgumentParser(prog=name)
    module.add_arguments(parser)
    return int(module.main(parser.parse_args([str(word) for word in argv])))


def test_commands(frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    MODEL.save_pretrained(tmp_path / "model", card="# Card\n")
    model, index, image = ("--checkpoint", tmp_path / "model"), tmp_path / "index", frames / "bob" / "1.tif"
    only = frames / "ann", "--output", index, *model
    assert call("index", *only, "--value-range", 20, 45) == 0
    assert call("index", frames / "bob", "--output", index, "--add", *model) == 0
    with pytest.raises(ValueError, match="the new ones from 0 to 50"):
        call("index", frames / "cem", "--output", index, "--add", *model, "--value-range", 0, 50)
    gallery = Gallery.load(index)
    assert gallery.names == ("1.tif",) and gallery.value_range == RANGE
    wanted = load_pretrained(tmp_path / "model").encode([image], value_range=RANGE)
    capsys.readouterr()
    assert call("search", index, image, "--json", *model) == 0
    match = json.loads(capsys.readouterr().out)[0]["matches"][0]
    assert match["score"] == pytest.approx(1, abs=1e-5)
    assert call("search", index, image, "--json", "--value-range", -400, 900, *model) == 0
    assert json.loads(capsys.readouterr().out)[0]["matches"][0]["score"] < 0.999
    out = tmp_path / "f.safetensors"
    assert call("encode", image, "--output", out, "--value-range", 20, 45, *model) == 0
    with safe_open(out, "pt") as file:
        assert torch.allclose(file.get_tensor("features"), wanted, atol=1e-6)
        assert json.loads(file.metadata()["value_range"]) == [20, 45]
    assert call("translate", image, tmp_path / "t.png", "--value-range", 20, 45) == 0
    shown = np.asarray(Image.open(tmp_path / "t.png"))
    assert np.abs(shown.astype(int) - np.asarray(read_image(image, value_range=RANGE))).max() <= 1
    for command in (("encode", image, "--output", out), ("translate", image, tmp_path / "t.png")):
        with pytest.raises(ValueError, match="value range is two numbers"):
            call(*command, "--value-range", 45, 20)


def test_data_sets_and_their_cache(tmp_path: Path) -> None:
    root = tmp_path / "own"
    for split in ("train", "query", "gallery"):
        for kind in ("visible", "infrared"):
            for who in ("ann", "bob"):
                path = root / split / kind / who / "1.tif"
                path.parent.mkdir(parents=True)
                frame(22).save(path)

    def load(value_range: Any = None) -> Any:
        return load_data(
            "folder", root, image_size=(64, 32), cache_dir=tmp_path / "cache", value_range=value_range
        )

    own, fixed, again = load(), load(RANGE), load([20, 45])
    path = root / fixed.train.names[0]
    for data, limits in ((own, None), (fixed, RANGE), (again, RANGE)):
        assert (data.train.images[0] == np.asarray(read_image(path, value_range=limits))).all()
    assert (own.train.images != fixed.train.images).mean() > 0.5
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 4
    with pytest.raises(ValueError, match="value range is two numbers"):
        load((1, 2, 3))
    with pytest.raises(ValueError, match="value range is for images of more than 8 bits"):
        load_data("synthetic", size="tiny", value_range=RANGE)
    report = verify("folder", root, value_range=RANGE)
    assert not any("flat" in note.what for note in report.notes)
    report = verify("folder", root, value_range=(2000, 4500))
    assert [note.what for note in report.notes if note.what.startswith("12 images are one flat level")]
    for settings in (TrainSettings, TranslatorSettings, EvalSettings):
        assert settings().value_range is None and settings(value_range=RANGE).value_range == RANGE
    assert TrainSettings().fixed()["value_range"] is None  # as in runs that were begun before
    assert TrainSettings(value_range=RANGE).fixed()["value_range"] == [20.0, 45.0]
    assert TranslatorSettings(value_range=RANGE).value_range == RANGE


def test_the_page_reads_queries_as_its_index_was_read(frames: Path, tmp_path: Path) -> None:
    paths = sorted(frames.rglob("*.tif"))
    names = [path.relative_to(frames).as_posix() for path in paths]
    Gallery.build(MODEL, paths, names=names, value_range=RANGE).save(tmp_path / "index")
    for path in paths:
        (tmp_path / "index" / path.relative_to(frames)).parent.mkdir()
        (tmp_path / "index" / path.relative_to(frames)).write_bytes(path.read_bytes())
    service = DemoService(MODEL, tmp_path / "index", {"luminance": load_translator("luminance")})
    assert service.value_range == RANGE
    for path, name in zip(paths, names, strict=True):
        found = service.retrieve(path, "infrared to visible", 1)
        assert found.known is not None and found.known.name == name  # pixel for pixel
        wanted = MODEL.encode([path], "infrared", value_range=RANGE)[0].tolist()
        assert service.encode(path, "infrared") == pytest.approx(wanted, abs=1e-5)
