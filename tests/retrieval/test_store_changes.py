"""Stores that are changed: replaced entries are found by their new features, and no store hides another."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from mtrl import Gallery
from mtrl.retrieval.filters import Filter
from mtrl.retrieval.stores import faiss_store
from mtrl.retrieval.stores.factory import check_target, create_store, open_store
from mtrl.retrieval.stores.faiss_store import ApproximateStore

COUNT = 2000


def people(seed: int, rows: range = range(COUNT)) -> Gallery:
    features = normalize(torch.randn(COUNT, 16, generator=torch.Generator().manual_seed(seed)))[list(rows)]
    return Gallery(features, tuple(f"{row}.png" for row in rows), "infrared", model="m")  # type: ignore[arg-type]


@pytest.mark.parametrize("rows", [range(COUNT), range(COUNT - 1, COUNT), range(COUNT - 300, COUNT)])
def test_replaced_entries_are_found_by_their_new_features(tmp_path: Path, rows: range) -> None:
    pytest.importorskip("faiss")
    store = create_store("faiss", str(tmp_path / "store"), people(1))
    new = people(2, rows)
    store.upsert(new)
    again = open_store(str(tmp_path / "store"))
    assert isinstance(again, ApproximateStore)
    asked = new.features[:: max(1, len(new) // 100)]
    names = list(new.names[:: max(1, len(new) // 100)])
    for one in (store, again):
        found = one.find(asked, 1)
        assert [matches[0].name for matches in found] == names
        assert min(matches[0].score for matches in found) > 0.999


def test_added_entries_leave_the_lists_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    store = create_store("faiss", str(tmp_path / "store"), people(1, range(1000)))
    monkeypatch.setattr(ApproximateStore, "_rebuild", None)
    store.upsert(people(1, range(1000, COUNT)))
    assert store.find(people(1).features[1500:1501], 1)[0][0].name == "1500.png"


@pytest.mark.parametrize(("first", "second"), [("milvus", "exact"), ("milvus", "faiss"), ("exact", "milvus")])
def test_no_store_hides_another(tmp_path: Path, first: str, second: str) -> None:
    pytest.importorskip("milvus_lite")
    pytest.importorskip("faiss")
    target = str(tmp_path / "store")
    create_store(first, target, people(1, range(20))).close()
    with pytest.raises(ValueError, match="add to it with --add, or choose another folder"):
        create_store(second, target, people(2, range(10)))
    store = open_store(target)
    assert len(store) == 20
    store.close()


def test_what_stands_in_the_way_is_told_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    for kind in ("exact", "faiss", "milvus"):
        with pytest.raises(ValueError, match="is a file; a gallery is a folder"):
            check_target(kind, str(tmp_path / "file"))
    with pytest.raises(ValueError, match="a store is one of"):
        check_target("annoy", str(tmp_path / "new"))

    def missing() -> None:
        raise ImportError("approximate search needs faiss")

    monkeypatch.setattr(faiss_store, "require_faiss", missing)
    create_store("exact", str(tmp_path / "old"), people(1, range(20)))
    with pytest.raises(ImportError, match="needs faiss"):
        ApproximateStore.create(tmp_path / "old", people(2, range(10)))
    assert len(open_store(str(tmp_path / "old"))) == 20, "nothing is written before"


def test_a_collection_that_exists_is_told_first(tmp_path: Path) -> None:
    pytest.importorskip("milvus_lite")
    target = str(tmp_path / "store")
    check_target("milvus", target)
    create_store("milvus", target, people(1, range(5)), "one").close()
    check_target("milvus", target, "two")
    with pytest.raises(ValueError, match="has a collection 'one' already"):
        check_target("milvus", target, "one")


@pytest.mark.parametrize("kind", ["exact", "milvus"])
@pytest.mark.parametrize(
    ("where", "count"),
    [
        (Filter(only="images"), 3),
        (Filter(modalities=("infrared",)), 3),  # type: ignore[arg-type]
        (Filter(only="tracks"), 0),
        (Filter(modalities=("visible",)), 0),  # type: ignore[arg-type]
    ],
)
def test_all_of_a_kind_can_be_deleted(tmp_path: Path, kind: str, where: Filter, count: int) -> None:
    pytest.importorskip("milvus_lite")
    store = create_store(kind, str(tmp_path / "store"), people(1, range(3)))
    assert store.delete(where) == count and len(store) == 3 - count
    store.close()
