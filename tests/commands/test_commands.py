"""The commands that run a model: index, search, encode, push."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from mtrl import MTRL, Gallery, load_pretrained
from mtrl.models.config import ModelConfig
from mtrl.retrieval.image_folders import image_folders
from tests.helpers.hub_stub import TOKEN, running_hub


def command(name: str, *argv: object) -> int:
    module = importlib.import_module(f"mtrl.commands.{name}")
    parser = argparse.ArgumentParser(prog=name)
    module.add_arguments(parser)
    return module.main(parser.parse_args([str(word) for word in argv]))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    MTRL(ModelConfig("test_resnet", (64, 32))).save_pretrained(tmp_path / "model", card="# Card\n")
    return tmp_path / "model"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("ann/1.png", "ann/2.jpg", "bob/1.png", "bob/.hidden.png", "bob/notes.txt"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".txt":
            path.write_text("x")
        else:
            Image.fromarray(rng.integers(0, 256, (60, 30, 3), dtype=np.uint8)).save(path)
    return tmp_path / "photos"


def test_single_images_keep_their_names(model: Path, photos: Path, tmp_path: Path) -> None:
    flags = ("--output", tmp_path / "g", "--checkpoint", model)
    command("index", photos / "ann" / "1.png", *flags)
    command("index", photos / "ann" / "2.jpg", *flags, "--add")
    assert Gallery.load(tmp_path / "g").names == ("1.png", "2.jpg")


def test_the_folder_one_stands_in_has_a_name(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos / "ann")
    for source in (".", "../ann/../ann", "1.png"):
        command("index", source, "--output", tmp_path / "g", "--checkpoint", model, "--identities", "folder")
        assert set(Gallery.load(tmp_path / "g").identities or ()) == {"ann"}, source


def test_nothing_is_deleted_for_photographs_that_are_not_there(
    model: Path, photos: Path, tmp_path: Path
) -> None:
    flags = ("--output", tmp_path / "g", "--checkpoint", model)
    command("index", photos, *flags)
    with pytest.raises(FileNotFoundError, match="nosuch"):
        command("index", tmp_path / "nosuch", *flags, "--add", "--delete-name", "ann/1.png")
    with pytest.raises(ValueError, match="identit"):
        command("index", "--output", tmp_path / "g", "--delete-name", "ann/1.png", "--delete-identity", "bob")
    assert len(Gallery.load(tmp_path / "g")) == 3
    command("index", photos / "bob", *flags, "--add", "--delete-name", "ann/1.png")
    assert Gallery.load(tmp_path / "g").names == ("ann/2.jpg", "bob/1.png", "1.png")


def test_the_target_is_looked_at_before_anything_is_encoded(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtrl.commands.index._encode", None)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="is a file; a gallery is a folder"):
        command("index", photos, "--output", tmp_path / "file", "--checkpoint", model)


@pytest.mark.parametrize("store", ["exact", "faiss", "milvus"])
def test_what_a_store_would_refuse_is_told_before_anything_is_encoded(
    store: str, model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = {"faiss": "faiss", "milvus": "pymilvus"}.get(store)
    if package:
        pytest.importorskip(package)
    table, there, new = tmp_path / "photos.csv", tmp_path / "there", tmp_path / "new"
    rows = [
        "path,identity,modality,track",
        "photos/ann/1.png,ann,infrared,1",
        "photos/bob/1.png,bob,infrared,2",
    ]
    table.write_text("\n".join(rows))
    flags = ("--checkpoint", model, "--store", store)
    command("index", table, "--output", there, "--tracks", *flags)
    monkeypatch.setattr("mtrl.commands.index._encode", None)
    with pytest.raises(
        ValueError, match=r"either all images of a (gallery|database) have"
    ):  # tracks are missing
        command("index", photos, "--output", there, "--add", *flags)
    table.write_text("\n".join([rows[0], *(row.replace("infrared", "visible") for row in rows[1:])]))
    with pytest.raises(ValueError, match="is infrared, the new images are not"):
        command("index", table, "--output", there, "--add", "--tracks", *flags)
    table.write_text("\n".join([rows[0], rows[1], rows[2].replace(",2", ",1")]))
    with pytest.raises(ValueError, match="have several identities"):
        command("index", table, "--output", new, "--tracks", *flags)
    table.write_text("\n".join([rows[0], rows[1], rows[2].replace(",2", ",photos/ann/1.png")]))
    with pytest.raises(ValueError, match=r"two entries are named|named as its track"):
        command("index", table, "--output", new, "--tracks", *flags)
    assert not new.exists()


def test_an_index_written_anew_forgets_its_old_folders(model: Path, photos: Path, tmp_path: Path) -> None:
    flags = ("--output", tmp_path / "g", "--checkpoint", model)
    command("index", photos / "ann", *flags)
    command("index", photos / "bob", *flags, "--add")
    both = {str(photos / "ann"), str(photos / "bob")}
    assert set(image_folders(tmp_path / "g")) == both
    command("index", photos / "bob", *flags)
    assert image_folders(tmp_path / "g") == [str(photos / "bob")]


def test_index_then_search(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--checkpoint", model)
    assert command("index", photos, "--output", tmp_path / "g", "--identities", "folder", *flags) == 0
    assert "3 images" in capsys.readouterr().out
    gallery = Gallery.load(tmp_path / "g")
    assert gallery.names == ("ann/1.png", "ann/2.jpg", "bob/1.png")
    assert gallery.identities == ("ann", "ann", "bob")
    query = photos / "bob" / "1.png"
    assert command("search", tmp_path / "g", query, "--modality", "infrared", "--k", 2, *flags) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(query) and lines[1].split() == ["1", "1.000", "bob/1.png", "identity", "bob"]
    assert len(lines) == 3
    assert command("search", tmp_path / "g", query, photos / "ann" / "1.png", "--json", *flags) == 0
    found = json.loads(capsys.readouterr().out)
    assert [len(entry["matches"]) for entry in found] == [3, 3] and found[0]["matches"][0][
        "name"
    ] == "bob/1.png"


def test_search_refuses_another_model(model: Path, photos: Path, tmp_path: Path) -> None:
    command("index", photos, "--output", tmp_path / "g", "--checkpoint", model)
    torch.manual_seed(1)
    MTRL(ModelConfig("test_resnet", (64, 32))).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="another model"):
        command("search", tmp_path / "g", photos / "ann" / "1.png", "--checkpoint", tmp_path / "other")
    with pytest.raises(FileNotFoundError, match="no gallery"):
        command("search", photos, photos / "ann" / "1.png", "--checkpoint", model)


def test_unreadable_images_stop_or_are_left_out(
    model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "bob" / "broken.png").write_text("x")
    with pytest.raises(ValueError, match=r"broken\.png"):
        command("index", photos, "--output", tmp_path / "g", "--checkpoint", model)
    assert not (tmp_path / "g").exists()
    command("index", photos, "--output", tmp_path / "g", "--checkpoint", model, "--skip-unreadable")
    assert "3 images" in (out := capsys.readouterr().out) and "1 unreadable left out" in out
    (tmp_path / "empty").mkdir()
    for source, message in ((tmp_path / "empty", "no images"), (tmp_path / "none", "does not exist")):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            command("index", source, "--output", tmp_path / "h", "--checkpoint", model)


def test_encode(model: Path, photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "f.safetensors"
    one = photos / "bob" / "1.png"
    assert command("encode", one, photos / "ann", "--output", output, "--checkpoint", model) == 0
    with safe_open(output, framework="pt") as file:
        names = json.loads(file.metadata()["names"])
        features = file.get_tensor("features")
    paths = [one, photos / "ann" / "1.png", photos / "ann" / "2.jpg"]
    assert names == [str(path) for path in paths]
    assert torch.allclose(features, load_pretrained(model).encode(paths), atol=1e-5)
    with pytest.raises(ValueError, match="safetensors"):
        command("encode", one, "--output", tmp_path / "f.npy", "--checkpoint", model)


def test_push(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_hub(monkeypatch, str(tmp_path / "cache")) as hub:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        assert command("push", model, "ann/reid", "--private") == 0
        assert f"{hub.url}/ann/reid/commit/" in capsys.readouterr().out
        assert hub.repos["ann/reid"].private
        assert load_pretrained("ann/reid").fingerprint() == load_pretrained(model).fingerprint()
        (model / "model.safetensors").write_bytes(b"x")
        with pytest.raises(ValueError, match="damaged"):
            command("push", model, "ann/other")
        assert "ann/other" not in hub.repos


def test_queries_are_encoded_together(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    flags = ("--checkpoint", model, "--modality", "infrared", "--json")
    command("index", photos, "--output", tmp_path / "g", "--checkpoint", model)
    queries = [photos / "bob" / "1.png", photos / "ann", photos / "ann" / "2.jpg"]
    capsys.readouterr()
    alone = []
    for query in queries:
        command("search", tmp_path / "g", query, *flags)
        alone += json.loads(capsys.readouterr().out)
    sizes, encode = [], MTRL.encode

    def noted(self: MTRL, images: list[Path], *args: object, **kwargs: object) -> torch.Tensor:
        sizes.append(len(images))
        return encode(self, images, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(MTRL, "encode", noted)
    command("search", tmp_path / "g", *queries, *flags)
    together = json.loads(capsys.readouterr().out)
    assert sizes == [4] and [found["query"] for found in together] == list(map(str, queries))
    for one, other in zip(alone, together, strict=True):
        assert [m["name"] for m in one["matches"]] == [m["name"] for m in other["matches"]]
        for a, b in zip(one["matches"], other["matches"], strict=True):
            assert a["score"] == pytest.approx(b["score"], abs=1e-4)
