"""Tables of images: one reader for data sets and indexes, CSV and Parquet; names as people write them."""

from __future__ import annotations

import importlib
import io
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trees
from torch.nn.functional import normalize

from eval.matfiles import read_features
from mtrl import Gallery, cli
from mtrl.commands.photos import read_photos
from mtrl.data import load_data
from mtrl.data.folder import Row, read_table, to_samples
from mtrl.data.listing import read_ids, read_labels
from mtrl.files.table import read_table as read_rows
from mtrl.names import canonical, printable, whole_number
from mtrl.retrieval import Where
from mtrl.retrieval.store import create_store

HEAD = "path,identity,camera,modality,split\n"
COMPOSED, APART = (unicodedata.normalize(form, "José") for form in ("NFC", "NFD"))


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


def test_whole_numbers_are_ascii_digits_of_64_bits() -> None:
    for text, number in (("007", 7), ("0", 0), (str(2**63 - 1), 2**63 - 1), ("0" * 5000 + "1", 1)):
        assert whole_number(text) == number
    for text in ("", "-1", "+1", "1.0", "²", "٣", "1_0", " 1", str(2**63), "9" * 5000):
        assert whole_number(text) is None


def test_names_of_a_table_stay_names() -> None:
    def row(path: str, identity: str, camera: str = "") -> Row:
        return Row(path, identity, camera, 1, "test")  # type: ignore[arg-type]

    for names in (("0117", "203"), ("7", "²"), ("-5", "٣"), (str(2**70), "9" * 5000), ("x", "0117")):
        samples = to_samples([row(f"{n}.jpg", name, name) for n, name in enumerate(names)])["test"]
        shown = {sample.path: (sample.shown_identity, sample.camera_name) for sample in samples}
        assert shown == {f"{n}.jpg": (name, name) for n, name in enumerate(names)}
        assert len({sample.identity for sample in samples}) == len({s.camera for s in samples}) == 2
        assert all(0 <= number < 2**63 for s in samples for number in (s.identity, s.camera))
    with pytest.warns(UserWarning, match="taken for different people: 007 and 7"):
        samples = to_samples([row("a.jpg", "007"), row("b.jpg", "7")])["test"]
    assert [sample.shown_identity for sample in samples] == ["007", "7"]
    two = to_samples([row("a.jpg", COMPOSED, APART), row("b.jpg", APART, COMPOSED)])["test"]
    assert two[0].identity == two[1].identity and two[0].camera == two[1].camera
    assert [sample.identity_name for sample in two] == [COMPOSED, APART]


def test_a_data_set_keeps_its_names(tmp_path: Path) -> None:
    root = tmp_path / "own"
    for kind in ("visible", "infrared"):
        for name in ("0117", "cat", APART if kind == "visible" else COMPOSED):
            trees.draw(root, f"query/{kind}/{name}/a.png")
    test = load_data("folder", root, image_size=(8, 4), cache_dir=tmp_path / "c", parts=("test",)).test
    assert sorted({canonical(test.identity_name(i)) for i in test.identities}) == ["0117", COMPOSED, "cat"]
    assert {test.camera_name(camera) for camera in test.cameras} == {""}
    assert test.take(np.array([0])).identity_name(test.identities[0]) == test.identity_name(
        test.identities[0]
    )
    sysu = load_data("sysu", trees.sysu(tmp_path / "s"), image_size=(8, 4), cache_dir=tmp_path / "c")
    assert sysu.test.identity_name(7) == "0007" and sysu.test.camera_name(3) == "3"


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


@pytest.mark.parametrize("identity", [str(2**63), "9" * 400, "9" * 20])
def test_folders_beyond_64_bits(tmp_path: Path, identity: str) -> None:
    """A number that fits nowhere is a name in one's own data, and a stray folder in a published set."""
    root = tmp_path / "own"
    for kind in ("visible", "infrared"):
        trees.draw(root, f"train/{kind}/{identity[:250]}/a.png")
        trees.draw(root, f"train/{kind}/7/a.png")
    train = load_data("folder", root, image_size=(8, 4), cache_dir=tmp_path / "c", parts=("train",)).train
    assert {train.identity_name(i) for i in train.identities} == {identity[:250], "7"}


def test_labels_of_galleries_fit_64_bits() -> None:
    features = normalize(torch.ones(1, 4))
    for value in (2**63, -(2**63) - 1, 10**5000):
        for field in ("identities", "cameras"):
            with pytest.raises(ValueError, match="must fit into 64 bits"):
                Gallery(features, ("a",), **{field: (value,)})
        with pytest.raises(ValueError, match="a camera must fit into 64 bits"):
            Where(cameras=(value,))
    gallery = Gallery(features, ("a",), identities=(-(2**63),), cameras=(2**63 - 1,))
    assert Where(cameras=(2**63 - 1,), identities=(str(-(2**63)),)).rows(gallery).tolist() == [0]


@pytest.mark.parametrize("kind", ["exact", "faiss", "milvus"])
def test_accents_and_spaces_in_every_store(tmp_path: Path, kind: str) -> None:
    pytest.importorskip({"exact": "torch", "faiss": "faiss", "milvus": "milvus_lite"}[kind])
    names = (f"{APART}.jpg", "a\u202fb", "a\u00a0b", "a b", "tab\tline\n")
    people: tuple[str | int, ...] = (APART, "x\u2009y", "x y", 7, "\u200b")
    gallery = Gallery(normalize(torch.eye(5)), names, identities=people)
    store = create_store(kind, str(tmp_path / "s"), gallery)
    for row, (name, person) in enumerate(zip(names, people, strict=True)):
        for where in (Where(names=(name,)), Where(identities=(str(person),))):
            found = store.find(gallery.features[row], 5, where)[0]
            assert [(match.name, match.identity) for match in found] == [(name, person)]
    composed = Where(names=(f"{COMPOSED}.jpg",), identities=(COMPOSED,))
    assert [match.name for match in store.find(gallery.features[0], 5, composed)[0]] == [names[0]]
    again = Gallery(gallery.features[:1], (f"{COMPOSED}.jpg",), identities=("new",))
    store.put(again)
    assert len(store) == 5 and store.find(gallery.features[0], 1)[0][0].name == f"{COMPOSED}.jpg"
    with pytest.raises(ValueError, match="two entries are named"):
        store.put(Gallery(gallery.features[:2], (COMPOSED, APART), identities=("a", "b")))
    assert store.delete(Where(names=(names[0],))) == 1
    assert store.delete(Where(identities=("x\u2009y",))) == 1 and len(store) == 3
    store.close()


def test_zeros_at_the_end_of_a_name_count() -> None:
    """NumPy drops them."""
    gallery = Gallery(normalize(torch.eye(2)), ("a", "a\0"), identities=("b\0", "b"))
    assert Where(names=("a",)).rows(gallery).tolist() == [0]
    assert Where(identities=("b",)).rows(gallery).tolist() == [1]


def test_printable_names() -> None:
    assert printable("é\u202f漢 b") == "é\u202f漢 b"
    assert printable("a\x1b[2J\u202e\n\udcff") == "a\\x1b[2J\\u202e\\n\\udcff"


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
@pytest.mark.parametrize("fails", [False, True])
def test_a_narrow_console_loses_nothing(monkeypatch: pytest.MonkeyPatch, encoding: str, fails: bool) -> None:
    said, complained = io.BytesIO(), io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(said, encoding))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(complained, encoding))

    def main() -> int:
        print("mAP ± 1, 漢字 → \udcff")
        print("the last line")
        if fails:
            raise ValueError("→ is wrong")
        return 0

    with pytest.raises(SystemExit) as ended:
        cli.run(main)
    sys.stdout.flush(), sys.stderr.flush()
    assert ended.value.code == (2 if fails else 0)
    assert said.getvalue().endswith(b"the last line\n") and rb"\udcff" in said.getvalue()
    assert (rb"\u2192" in said.getvalue()) == (encoding != "utf-8")
    assert complained.getvalue().startswith(b"error: ") == fails


def test_a_replaced_output_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    with pytest.raises(SystemExit):
        cli.run(lambda: print("é"))
    monkeypatch.setattr(sys, "stdout", None)  # a program without a console
    with pytest.raises(SystemExit):
        cli.run(lambda: 0)
