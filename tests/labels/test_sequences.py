"""Sequences of a caller are taken by position: a label-based index must never pair an image with another's name."""

from __future__ import annotations

import array
from collections import UserList, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mtrl import MTRL, Gallery
from mtrl.files.images import iter_batches, to_batch
from mtrl.labels.sequences import by_position
from mtrl.models.config import ModelConfig
from mtrl.retrieval.filters import Filter

torch.manual_seed(0)
MODEL = MTRL(ModelConfig("test_resnet", (64, 32))).eval()


class Column:
    """A column of a table after sorting: `[label]` asks the index, iteration follows the rows."""

    ndim = 1

    def __init__(self, values: list[Any], labels: list[int]) -> None:
        self.values, self.labels = values, labels

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, label: int) -> Any:
        return self.values[self.labels.index(label)]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)


class Places:
    """By position only, as a data set of torch."""

    def __init__(self, values: list[Any]) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, place: int) -> Any:
        return self.values[place % len(self.values)]  # never an IndexError


class Arrow:
    """A column of pyarrow: its elements are scalars of its own."""

    def __init__(self, values: list[Any]) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Any]:
        return (object() for _ in self.values)

    def to_pylist(self) -> list[Any]:
        return list(self.values)


def shuffled(values: list[Any]) -> Column:
    """The labels do not follow the rows: what stands first is labelled last."""
    return Column(values, list(range(len(values)))[::-1])


def filtered(values: list[Any]) -> Column:
    return Column(values, [10 * row + 7 for row in range(len(values))])


COLUMNS: list[Callable[[list[Any]], Any]] = [
    list, tuple, deque, UserList, shuffled, filtered, Places, Arrow,
    lambda values: np.array(values, dtype=object),
]  # fmt: skip


@pytest.mark.parametrize("column", COLUMNS)
def test_elements_come_by_position(column: Callable[[list[Any]], Any]) -> None:
    assert by_position(column(["hal", "eve", "ann"]), "names") == ["hal", "eve", "ann"]
    assert by_position(column([]), "names") == []


def test_numbers_come_as_numbers() -> None:
    for values in (range(3), np.arange(3), torch.arange(3), array.array("q", [0, 1, 2]), torch.arange(3.0)):
        assert by_position(values, "cameras") == [0, 1, 2]


class Table(Column):
    columns = ("path", "who")


@pytest.mark.parametrize(
    "wrong",
    [
        "ann", b"ann", {"a": 1}, {"a": 1}.keys(), {1, 2}, frozenset(), (x for x in "ab"), iter([1]), map(str, "ab"),
        zip("a", "b", strict=True), 5, None, list, Path("a"), np.zeros((2, 2)), np.array(3), torch.zeros(2, 2),
        Table([1], [0]), memoryview(b"ab"),
    ],
)  # fmt: skip
def test_what_has_no_order_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"cameras must be a list .* not " + type(wrong).__name__):
        by_position(wrong, "cameras")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, rng = tmp_path_factory.mktemp("people"), np.random.default_rng(0)
    paths = [folder / f"{name}.png" for name in ("hal", "eve", "ann", "bob", "cem")]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (60, 30, 3), dtype=np.uint8)).save(path)
    return paths


@pytest.mark.parametrize("column", COLUMNS)
def test_names_stay_with_their_images(column: Callable[[list[Any]], Any], people: list[Path]) -> None:
    names = [path.stem for path in people]
    wanted = MODEL.encode(people)
    assert torch.equal(MODEL.encode(column(people), batch_size=2), wanted)
    assert torch.equal(to_batch(column(people), (8, 4)), to_batch(people, (8, 4)))
    assert torch.equal(torch.cat(list(iter_batches(column(people), (8, 4), 2))), to_batch(people, (8, 4)))
    numbers = [float(row) for row in range(5)]
    gallery = Gallery.build(
        MODEL,
        column(people),
        identities=column(names),
        cameras=column([1, 2, 3, 4, 5]),
        names=column(names),
        times=column(numbers),
    )
    for path in people:
        match = gallery.matches(MODEL.encode([path]), 1)[0]
        row = names.index(path.stem)
        assert (match.identity, match.name, match.camera, match.time) == (path.stem, path.stem, row + 1, row)
    direct = Gallery(wanted, column(names), identities=column(names), cameras=column([1, 2, 3, 4, 5]))  # type: ignore[arg-type]
    assert direct.names == direct.identities == tuple(names)
    assert Gallery.build(MODEL, column(people)).names == tuple(map(str, people))
    assert gallery.select(column([3, 1])).names == ("bob", "eve")
    more = gallery.add(
        MODEL, column(people), column(names), column([9] * 5), column(names), times=column(numbers)
    )
    assert more.identities == (*names, *names)
    assert Filter(identities=column(["eve", "bob"]), cameras=column([2])).rows(gallery).tolist() == [1]


def test_wrong_labels_are_refused(people: list[Path]) -> None:
    gallery = Gallery(MODEL.encode(people), tuple("abcde"))
    for labels in (
        {"identities": "abcde"},
        {"identities": dict.fromkeys("abcde")},
        {"identities": {1, 2, 3, 4, 5}},
        {"cameras": iter([1, 2, 3, 4, 5])},
        {"names": "abcde"},
        {"names": [None] * 5},
        {"names": [1.5] * 5},
        {"cameras": torch.tensor([1.5] * 5)},
        {"cameras": np.array([True] * 5)},
        {"times": np.array([5] * 5, "M8[ns]")},
        {"times": np.array([5] * 5, "m8[s]")},
    ):
        with pytest.raises(ValueError, match=r"must be|integer"):
            Gallery.build(MODEL, people, **labels)
    for rows in ([True, False], np.array([True]), [0.5], torch.tensor([0.5]), "0", [9], {0}):
        with pytest.raises(ValueError, match="row"):
            gallery.select(rows)  # type: ignore[arg-type]
    for where in ({"names": "bob"}, {"identities": {"a": 1}}, {"cameras": "12"}, {"cameras": [1.5]}):
        with pytest.raises(ValueError, match=r"must be|integer"):
            Filter(**where)  # type: ignore[arg-type]
    for images in (
        {"a": people[0]},
        set(people),
        iter(people),
        str(people[0]),
        people[0],
        np.zeros((5, 5, 3)),
    ):
        with pytest.raises(ValueError, match="images must be a list"):
            MODEL.encode(images)  # type: ignore[arg-type]
    for queries in ([0.5], None, np.zeros(3)):
        with pytest.raises(ValueError, match="floating tensor"):
            gallery.search(queries)  # type: ignore[arg-type]


def test_columns_of_pandas_and_arrow(people: list[Path]) -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(
        {"path": list(map(str, people)), "who": [path.stem for path in people], "camera": 3}
    )
    wanted = dict(zip(table.path, MODEL.encode(list(table.path)), strict=True))
    for rows in (
        table.sort_values("who"),
        table.sample(frac=1, random_state=3),
        table[table.who != "hal"],
        table.set_index("who", drop=False),
        table.astype({"who": "category"}).sort_values("path"),
    ):
        gallery = Gallery.build(MODEL, rows.path, identities=rows.who, cameras=rows.camera, names=rows.path)
        for path, who, feature in zip(gallery.names, gallery.identities or (), gallery.features, strict=True):
            assert Path(path).stem == who and torch.allclose(feature, wanted[path], atol=1e-6)
        assert torch.equal(MODEL.encode(rows.path), gallery.features)
    assert by_position(table.set_index("who").index, "names") == [path.stem for path in people]
    with pytest.raises(ValueError, match=r"identities must be a list .* not DataFrame"):
        Gallery.build(MODEL, people, identities=table)
    with pytest.raises(ValueError, match="integer"):
        Gallery.build(MODEL, people, identities=table.who.where(table.who != "eve"))
    pyarrow = pytest.importorskip("pyarrow")
    assert by_position(pyarrow.array(["b", "a"]), "names") == ["b", "a"]
    assert by_position(pyarrow.chunked_array([[2], [1]]), "cameras") == [2, 1]
    with pytest.raises(ValueError, match="Table"):
        by_position(pyarrow.table({"a": [1]}), "names")
