"""Names and numbers: equal accents, numbers beyond 64 bits, in data sets, galleries, stores and on consoles."""

from __future__ import annotations

import io
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from mtrl import Gallery
from mtrl.console import cli
from mtrl.data import load_data
from mtrl.data.sources.folder.load import Row, to_samples
from mtrl.labels.names import canonical, printable, whole_number
from mtrl.retrieval import Filter
from mtrl.retrieval.stores.factory import create_store
from tests.helpers import trees

COMPOSED, APART = (unicodedata.normalize(form, "José") for form in ("NFC", "NFD"))


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
        with pytest.raises(ValueError, match="must fit into 64 bits"):
            Filter(cameras=(value,))
    gallery = Gallery(features, ("a",), identities=(-(2**63),), cameras=(2**63 - 1,))
    assert Filter(cameras=(2**63 - 1,), identities=(str(-(2**63)),)).rows(gallery).tolist() == [0]


@pytest.mark.parametrize("kind", ["exact", "faiss", "milvus"])
def test_accents_and_spaces_in_every_store(tmp_path: Path, kind: str) -> None:
    pytest.importorskip({"exact": "torch", "faiss": "faiss", "milvus": "milvus_lite"}[kind])
    names = (f"{APART}.jpg", "a\u202fb", "a\u00a0b", "a b", "tab\tline\n")
    people: tuple[str | int, ...] = (APART, "x\u2009y", "x y", 7, "\u200b")
    gallery = Gallery(normalize(torch.eye(5)), names, identities=people)
    store = create_store(kind, str(tmp_path / "s"), gallery)
    for row, (name, person) in enumerate(zip(names, people, strict=True)):
        for where in (Filter(names=(name,)), Filter(identities=(str(person),))):
            found = store.find(gallery.features[row], 5, where)[0]
            assert [(match.name, match.identity) for match in found] == [(name, person)]
    composed = Filter(names=(f"{COMPOSED}.jpg",), identities=(COMPOSED,))
    assert [match.name for match in store.find(gallery.features[0], 5, composed)[0]] == [names[0]]
    again = Gallery(gallery.features[:1], (f"{COMPOSED}.jpg",), identities=("new",))
    store.upsert(again)
    assert len(store) == 5 and store.find(gallery.features[0], 1)[0][0].name == f"{COMPOSED}.jpg"
    with pytest.raises(ValueError, match="two entries are named"):
        store.upsert(Gallery(gallery.features[:2], (COMPOSED, APART), identities=("a", "b")))
    assert store.delete(Filter(names=(names[0],))) == 1
    assert store.delete(Filter(identities=("x\u2009y",))) == 1 and len(store) == 3
    store.close()


def test_zeros_at_the_end_of_a_name_count() -> None:
    """NumPy drops them."""
    gallery = Gallery(normalize(torch.eye(2)), ("a", "a\0"), identities=("b\0", "b"))
    assert Filter(names=("a",)).rows(gallery).tolist() == [0]
    assert Filter(identities=("b",)).rows(gallery).tolist() == [1]


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
