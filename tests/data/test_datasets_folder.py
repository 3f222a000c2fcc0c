"""A user's own images: folders, and tables of images."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from eval.protocols import Setting, make_trials
from mtrl.data import load_data
from mtrl.data.imageset import ReIDData
from tests.helpers import trees

HEADER = "path,identity,camera,modality,split\n"


def load(root: Path, **options: Any) -> ReIDData:
    return load_data("folder", root, image_size=(16, 8), cache_dir=root.parent / "cache", **options)


def write(root: Path, text: str, encoding: str = "utf-8") -> Path:
    """A table, with images for its rows."""
    root.mkdir(exist_ok=True)
    table = root / "manifest.csv"
    table.write_text(text, encoding=encoding)
    for line in text.splitlines()[1:]:
        path = line.split(",")[0]
        if path.endswith(".jpg"):
            trees.draw(root, path)
    return table


def test_folders(tmp_path: Path) -> None:
    data = load(trees.folder(tmp_path / "photos"))
    assert data.protocol == "regdb"
    # Sorted names: anna 0, bert 1, cem 2, dora 3, eve 4, fin 5, gus 6.
    assert set(data.train.identities) == {0, 1, 2, 3} and set(data.test.identities) == {4, 5, 6}
    assert data.train.subsets is None and data.test.subsets is not None
    for name, subset in zip(data.test.names, data.test.subsets, strict=True):
        assert subset == (1 if name.startswith("query/") else 2)
    assert (data.test.cameras == data.test.modalities + 1).all()


def test_query_and_gallery_stay_what_they_are(tmp_path: Path) -> None:
    test = load(trees.folder(tmp_path / "photos")).test
    arrays = (test.identities, test.cameras, test.modalities)
    trial = make_trials(*arrays, Setting("regdb", "ir2vis", trials=1), subsets=test.subsets)[0]
    assert len(trial.query) == 4 and len(trial.gallery) == 6
    assert all(test.names[row].startswith("query/infrared/") for row in trial.query)
    assert all(test.names[row].startswith("gallery/visible/") for row in trial.gallery)


def test_numbers_stay_numbers(tmp_path: Path) -> None:
    root = tmp_path / "own"
    for split in ("train", "query", "gallery"):
        for kind in ("visible", "infrared"):
            trees.draw(root, f"{split}/{kind}/0012/a.png")
            trees.draw(root, f"{split}/{kind}/7/a.jpg")
    assert set(load(root).test.identities) == {7, 12}


def test_table(tmp_path: Path) -> None:
    write(
        tmp_path / "own",
        HEADER + "a b.jpg,eve,3,visible,query\nb.jpg,eve,3,Infrared,gallery\nb.jpg,eve,3,infrared,query\n"
        "c.jpg,fin,4,infrared,test\nd.jpg,anna,,visible,train\ne.jpg,anna,9,infrared,train\n",
        encoding="utf-8-sig",
    )
    for root in (tmp_path / "own", tmp_path / "own" / "manifest.csv"):
        data = load(root)
        assert data.test.names == ("a b.jpg", "b.jpg", "c.jpg")
        assert data.test.subsets is not None and data.test.subsets.tolist() == [1, 0, 0]
        assert data.test.cameras.tolist() == [3, 3, 4] and data.train.cameras.tolist() == [1, 9]
        assert data.test.identities.tolist() == [1, 1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,identity,modality\na.jpg,1,visible\n", "manifest.csv: no column split"),
        (HEADER + "a.jpg,1,1,thermal,train\n", 'row 1: modality must be "visible" or "infrared"'),
        (HEADER + "a.jpg,1,1,visible,val\n", "row 1: split must be one of"),
        (HEADER + "a.jpg,,1,visible,train\n", "row 1: identity is empty"),
        (HEADER + "a.jpg,1,visible,train\n", "row 1: the number of columns differs"),
        (HEADER + "a.jpg,1,1,visible,train,more\n", "row 1: the number of columns differs"),
        (HEADER + "a.jpg,1,1,visible,train\na.jpg,1,1,visible,train\n", "a.jpg is listed twice"),
        (HEADER + "a.jpg,1,1,visible,query\na.jpg,2,1,visible,gallery\n", "a.jpg is listed twice"),
        (HEADER, "lists no images"),
        (HEADER + '"a.jpg,1\n', "not a readable CSV table"),
        (HEADER + "a.png,1,1,visible,train\n", "a.png does not exist"),
    ],
)
def test_wrong_tables_are_named(tmp_path: Path, text: str, message: str) -> None:
    table = write(tmp_path / "own", text)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load(table, parts=("train",) if "train" in text else ("test",))


def test_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "own"
    for name in ("a.jpg", "b.jpg"):
        trees.draw(root, name)
    (root / "manifest.parquet").write_bytes(b"PAR1")
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "pyarrow", None)
        without.setitem(sys.modules, "pyarrow.parquet", None)
        with pytest.raises(
            ImportError, match=r"needs pyarrow: python -m pip install pyarrow, or save .* as CSV"
        ):
            load(root)
    pyarrow = pytest.importorskip("pyarrow")
    columns = {
        "path": ["a.jpg", "b.jpg"],
        "Identity": [5, 5],
        "camera": [2.0, None],
        "modality": ["visible", "infrared"],
        "split": ["train", "train"],
    }
    importlib.import_module("pyarrow.parquet").write_table(pyarrow.table(columns), root / "manifest.parquet")
    train = load(root, parts=("train",)).train
    assert train.identities.tolist() == [5, 5] and train.cameras.tolist() == [2, 4]


def test_missing_parts_are_named(tmp_path: Path) -> None:
    root = tmp_path / "own"
    trees.draw(root, "train/visible/1/a.jpg")
    assert len(load(root, parts=("train",)).train) == 1
    with pytest.raises(FileNotFoundError, match="no query and gallery images"):
        load(root)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no images in"):
        load(tmp_path / "empty")
    (tmp_path / "list.xlsx").write_bytes(b"")
    with pytest.raises(ValueError, match=r"must be a \.csv or \.parquet table"):
        load(tmp_path / "list.xlsx")


@pytest.mark.parametrize("part", ["train", "test"])
def test_people_in_training_and_test_are_named(tmp_path: Path, part: str) -> None:
    for place in ("train", "query", "gallery"):
        for modality in ("visible", "infrared"):
            for name in ("ann", "bob") if place == "train" else ("bob", "cy"):
                folder = tmp_path / "own" / place / modality / name
                folder.mkdir(parents=True)
                Image.new("RGB", (16, 32)).save(folder / "1.png")
    with pytest.warns(UserWarning, match="1 identities .* training and in query or gallery: bob;"):
        load_data("folder", tmp_path / "own", parts=(part,), cache_dir=tmp_path)
