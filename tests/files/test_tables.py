"""Tables of images: one reader for data sets and indexes, CSV and Parquet; lists of published sets."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.matfiles import read_features
from mtrl.commands.photos import read_photos
from mtrl.data.listing import read_ids, read_labels
from mtrl.data.sources.folder.load import read_table
from mtrl.files.table import read_table as read_rows
from tests.helpers import trees

HEAD = "path,identity,camera,modality,split\n"


def write(folder: Path, content: str | bytes, name: str = "manifest.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def as_photos(path: Path) -> list[tuple[str, str]]:
    trees.draw(path.parent, "a/1.jpg"), trees.draw(path.parent, "b.jpg")
    photos, _ = read_photos(path)
    return list(zip(photos.names, photos.identities or [], strict=True))


def as_rows(path: Path) -> list[tuple[str, str]]:
    return [(row.path, row.identity) for row in read_table(path)]


PLAIN = HEAD + "a/1.jpg,eve,6,visible,train\nb.jpg,José,7,infrared,train\n"
FORMS: dict[str, str | bytes] = {
    "plain": PLAIN,
    "backslashes and dots": PLAIN.replace("a/1.jpg", ".\\a\\\\1.jpg"),
    "header case": PLAIN.replace("path,identity,camera", "Path, IDENTITY ,Camera"),
    "spaces around values": PLAIN.replace(",eve,6", " , eve\t,  6 "),
    "more columns": PLAIN.replace("split\n", "split,note,\n").replace("train\n", "train,x,\n"),
    "decimals": PLAIN.replace(",6,", ",6.0,").replace(",7,", ",7.00,"),
    "byte-order mark": b"\xef\xbb\xbf" + PLAIN.encode(),
    "UTF-16": PLAIN.encode("utf-16"),
    "UTF-16, big end first": b"\xfe\xff" + PLAIN.encode("utf-16-be"),
    "empty lines": "\n\n" + PLAIN.replace("\n", "\n\n,,,,\n  \n") + "\n",
    "line ends of Windows": PLAIN.replace("\n", "\r\n"),
    "quotes": PLAIN.replace("eve", '"eve"'),
    "head twice quoted": PLAIN.replace("path,identity", '"path","identity"'),
}


@pytest.mark.filterwarnings("ignore:.*columns .* are not used")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("read", [as_rows, as_photos])
def test_every_form_reads_alike(
    tmp_path: Path, form: str, read: Callable[[Path], list[tuple[str, str]]]
) -> None:
    assert read(write(tmp_path, FORMS[form])) == [("a/1.jpg", "eve"), ("b.jpg", "José")]
    assert [row.camera for row in read_table(tmp_path / "manifest.csv")] == ["6", "7"]


WRONG: dict[str, tuple[str | bytes, str]] = {
    "semicolons": (
        PLAIN.replace(",", ";"),
        r"line 1: the delimiter is ';'; columns are separated by semicolons",
    ),
    "tabs": (PLAIN.replace(",", "\t"), r"line 1: the delimiter is '\\t'; columns are separated by tabs"),
    "bars": (PLAIN.replace(",", "|"), "line 1: the delimiter is '|'; columns"),
    "no path": (PLAIN.replace("path", "file"), "no column path; needed are path.* it has file, identity"),
    "two of a name": (PLAIN.replace("camera", "Identity"), "the column identity is there twice"),
    "short row": (PLAIN.replace(",6,", ","), "line 2, row 1: the number of columns differs .*4, not 5"),
    "row after a cell of two lines": (
        PLAIN.replace("eve", '"e\nve"').replace("José", ""),
        "line 4, row 2: ",
    ),
    "another encoding": (PLAIN.encode("cp1252"), "line 3: not a text file in UTF-8"),
    "zero bytes": (PLAIN.encode("utf-16-le"), "line 1: holds zero bytes; save it as a text file in UTF-8"),
    "open quote": (PLAIN.replace("eve", '"eve'), "not a readable CSV table"),
    "nothing": ("", "is empty; its first line must name the columns"),
    "head alone": (HEAD, "lists no images"),
    "no identity at all": (PLAIN.replace("eve", "nan").replace("José", "None"), "row 1: .*identity"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_tables_are_named(tmp_path: Path, case: str) -> None:
    content, message = WRONG[case]
    path = write(tmp_path, content)
    with pytest.raises(ValueError, match=message.replace("|", r"\|")) as error:
        read_table(path)
    assert str(path) in str(error.value)
    if "camera" not in case and case not in ("row after a cell of two lines", "no identity at all"):
        with pytest.raises(ValueError, match=message.replace("|", r"\|").split("; needed")[0]):
            read_photos(path)


def test_unused_columns_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, "idenity,path,\nx,a/1.jpg,\n")
    trees.draw(tmp_path, "a/1.jpg")
    with pytest.warns(
        UserWarning, match="columns idenity are not used; used are path, identity, camera, time"
    ):
        assert read_photos(path)[0].identities is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,camera\na.jpg,6.5\n", "line 2, row 1: a camera is an integer of at most 64 bits, not '6.5'"),
        ("path,camera\na.jpg,٣\n", "a camera is an integer"),
        ("path,camera\na.jpg,²\n", "a camera is an integer"),
        ("path,camera\na.jpg,1_0\n", "a camera is an integer"),
        (f"path,camera\na.jpg,{2**63}\n", "a camera is an integer of at most 64 bits"),
        ("path,camera\na.jpg," + "9" * 5000 + "\n", r"not '9{57}\.\.\.'"),
        ("path,time\n\na.jpg,noon\n", "line 3, row 1: 'noon' is no ISO 8601 time"),
        ("path,time\na.jpg,2026-01-01\nb.jpg,nan\n", "line 3, row 2: the column time must be filled"),
        ("path\na.jpg\n./a.jpg\n", "line 3, row 2: a.jpg is listed twice; first in .*line 2, row 1"),
    ],
)
def test_wrong_labels_of_a_listing_are_named(tmp_path: Path, text: str, message: str) -> None:
    for name in ("a.jpg", "b.jpg"):
        trees.draw(tmp_path, name)
    with pytest.raises(ValueError, match=message):
        read_photos(write(tmp_path, text))


def test_labels_of_a_listing(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        trees.draw(tmp_path, name)
    text = f"path,camera,identity,time\na.jpg,-1.0,0117,nan\nb.jpg,{2**63 - 1},0118,NaT\n"
    photos, _ = read_photos(write(tmp_path, text))
    assert photos.cameras == [-1, 2**63 - 1] and photos.identities == ["0117", "0118"]
    assert photos.times is None


def test_parquet_equals_csv(tmp_path: Path) -> None:
    pyarrow, pandas = pytest.importorskip("pyarrow"), pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "Path ": ["a\\1.jpg", "b.jpg"],
            "identity": [7.0, 8.0],
            "camera": [3.0, None],
            "time": [float("nan")] * 2,
            "split": ["train", "test"],
        },
        index=[5, 2],
    ).astype({"split": "category"})
    folder = tmp_path / "split=query"  # not a column, whatever pyarrow thinks of such folders
    folder.mkdir()
    frame.to_parquet(folder / "t.parquet")
    frame.to_csv(folder / "t.csv")
    required, optional = ("path", "identity", "split"), ("camera", "time")
    rows = {name: read_rows(folder / name, required, optional) for name in ("t.parquet", "t.csv")}
    assert [dict(row.cells) for row in rows["t.parquet"]] == [dict(row.cells) for row in rows["t.csv"]]
    assert dict(rows["t.csv"][0].cells) == {
        "path": "a/1.jpg", "identity": "7", "split": "train", "camera": "3", "time": ""
    }  # fmt: skip
    assert rows["t.parquet"][1].where.endswith("t.parquet, row 2")

    def save(**columns: Any) -> Path:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.parquet"
        importlib.import_module("pyarrow.parquet").write_table(pyarrow.table(columns), path)
        return path

    for path, message in (
        (save(path=["a.jpg"], identity=[None]), r"\.parquet, row 1: identity is empty"),
        (save(path=["a.jpg"], identity=[[1]]), "row 1: a cell must be one value, not list"),
        (save(file=["a.jpg"], identity=["x"]), "no column path"),
        (save(path=["a\0b"], identity=["x"]), "row 1: a text holds a zero byte"),
        (write(tmp_path, b"PAR1", "v.parquet"), "not a readable Parquet table"),
    ):
        with pytest.raises(ValueError, match=message):
            read_rows(path, ("path", "identity"))
    big = save(path=["a.jpg"], identity=[2**62 + 1])
    assert read_rows(big, ("path", "identity"))[0]["identity"] == str(2**62 + 1)


def test_lists_of_published_sets(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    for text in ("6,10,17\n", "\ufeff006,10 , 17", "17,6,10,"):
        for encoding in ("utf-8", "utf-16"):
            path.write_text(text.removeprefix("\ufeff" if encoding == "utf-16" else ""), encoding=encoding)
            assert read_ids(path) == [6, 10, 17]
    for text, message in (
        ("6,²", "'²' is no identity number"),
        ("6,٣", "is no identity number"),
        (f"6,{2**64}", "of at most 64 bits"),
        ("9" * 5000, r"'9{57}\.\.\.' is no identity number"),
        ("7,007", "names an identity twice"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            read_ids(path)
    path.write_text("a b/1.bmp\t0\nc.bmp 01\n", encoding="utf-8")
    assert read_labels(path) == [("a b/1.bmp", 0), ("c.bmp", 1)]
    path.write_text(f"a.bmp {2**64}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="line 1: expected a path, a space and a label"):
        read_labels(path)
    np.savez(tmp_path / "f_cam1.npz", **{f"1/{2**64}": np.ones((1, 2))})
    with pytest.raises(ValueError, match="is not"):
        read_features(tmp_path, "f", 1)
