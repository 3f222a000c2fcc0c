"""Labels of images: exact, by position, and refused where equality would surprise."""

from __future__ import annotations

import enum
import re
import unicodedata
import uuid
from decimal import Decimal

import numpy as np
import pytest
import torch

from eval.protocols import Setting, make_trials
from eval.score import FeatureSet, score_trials
from mtrl.data.imageset import ImageSet
from mtrl.labels.reading import integer_labels, read_labels
from mtrl.retrieval import rank_metrics
from mtrl.retrieval.metrics.ranking import skipped

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "José") for form in ("NFC", "NFD"))
# Query q asks for identity q; the gallery holds both, the right one second.
DISTANCES = np.array([[0.2, 0.1], [0.1, 0.2]])


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


def first_of_two(query, gallery, **options):
    """Ranks of the right images of two queries, whose identities stand in the gallery in the same order."""
    return rank_metrics(DISTANCES, query, gallery, protocol="regdb", **options).first.tolist()


@pytest.mark.parametrize(
    "pair",
    [
        [7, 9],
        [2**63, 2**63 + 1],
        [1, 2**32 + 1],
        [-1, 2**64 - 1],
        ["ann", "bob"],
        [b"ann", b"bob"],
        [True, False],
        [(1, "a"), (1, "b")],
        [7.0, 9.0],
        [Colour.RED, Colour.BLUE],
        [uuid.UUID(int=1), uuid.UUID(int=2)],
        [Decimal("1.5"), Decimal("2.5")],
        np.array([7, 9], dtype=np.uint8),
        np.array([2**64 - 1, 2**64 - 2], dtype=np.uint64),
        np.array(["ann", "bob"]),
        np.array(["ann", "bob"], dtype=object),
        np.array([b"ann", b"bob"]),
        np.array([7, 9], dtype=object),
        np.array([(1, "a"), (1, "b")], dtype=[("x", int), ("y", "U1")]),
        torch.tensor([7, 9]),
        torch.tensor([7.0, 9.0], requires_grad=True),
        torch.tensor([7.0, 9.0], dtype=torch.bfloat16),
        [torch.tensor(7), torch.tensor(9)],
        [np.int64(7), np.int32(9)],
        range(7, 9),
    ],
    ids=repr,
)
def test_labels_of_every_form_are_compared_exactly(pair):
    assert first_of_two(pair, pair) == [2, 2]
    assert first_of_two(pair[::-1] if not torch.is_tensor(pair) else pair.flip(0), pair) == [1, 1]


def test_columns_of_pandas_are_taken_by_position():
    pandas = pytest.importorskip("pandas")
    for values in (["ann", "bob"], [7, 9]):
        column = pandas.Series(values, index=[1, 0])
        for held in (column, column.astype("category"), pandas.Categorical(values), pandas.Index(values)):
            assert first_of_two(held, values) == first_of_two(values, held) == [2, 2]
    whole = pandas.Series([7, 9], dtype="Int64", index=[1, 0])
    assert first_of_two(whole, [7, 9]) == [2, 2]
    for missing in (pandas.Series([7, None], dtype="Int64"), pandas.Series(["a", None]), [pandas.NaT, "a"]):
        with pytest.raises(ValueError, match="query_ids"):
            first_of_two(missing, [7, 9])
    with pytest.raises(ValueError, match="shape"):
        first_of_two(pandas.DataFrame({"a": [7, 9], "b": [1, 2]}), [7, 9])


def test_new_text_arrays_of_numpy_and_arrow_columns():
    if hasattr(np.dtypes, "StringDType"):
        assert first_of_two(np.array(["ann", "bob"], dtype=np.dtypes.StringDType()), ["ann", "bob"]) == [2, 2]
    arrow = pytest.importorskip("pyarrow")
    assert first_of_two(arrow.array(["ann", "bob"]), ["ann", "bob"]) == [2, 2]


def test_composed_and_decomposed_accents_are_one_person():
    assert COMPOSED != DECOMPOSED
    assert first_of_two([COMPOSED, "bob"], [DECOMPOSED, "bob"]) == [2, 2]
    assert first_of_two([("a", COMPOSED), ("a", "b")], [("a", DECOMPOSED), ("a", "b")]) == [2, 2]


def test_cameras_are_compared_exactly():
    cameras = [1, 2**32 + 1]
    assert not skipped([5, 5], [5, 5], cameras, cameras[::-1], "llcm").diagonal().any()
    assert skipped([5, 5], [5, 5], cameras, cameras, "sysu").tolist() == [[True, False], [False, True]]
    # Any labels serve where cameras are only compared; "sysu" has to know which of them are 2 and 3.
    assert skipped([5], [5, 5], ["hall"], ["hall", "yard"], "llcm").tolist() == [[True, False]]
    assert not skipped([5], [5], ["hall"], ["hall"], "regdb").any()
    with pytest.raises(ValueError, match=r"cameras 2 and 3 .* must be integers, not text"):
        skipped([5], [5], ["3"], ["2"], "sysu")
    with pytest.raises(ValueError, match="query_cameras are text but gallery_cameras are integers"):
        skipped([5], [5], ["3"], [2], "llcm")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([float("inf"), 1], r"query_ids\[0\] is inf"),
        ([1, float("nan")], r"query_ids\[1\] is nan"),
        (np.array([np.inf, np.inf]), r"query_ids\[0\] is inf"),
        ([1.5, 2], r"query_ids\[0\] is 1.5"),
        ([None, 1], r"query_ids\[0\] is missing"),
        ([1, "1"], "mix integers and text"),
        ([1, True], "mix booleans and integers"),
        ([(1,), ("1",)], r"mix tuples of \(integers\) and tuples of \(text\)"),
        ([Decimal("NaN"), Decimal(1)], r"query_ids\[0\] is missing"),
        (np.array([2.0**53, 1.0]), "floating point"),
        (np.array([2.0**24, 1.0], dtype=np.float32), "floating point"),
        (torch.tensor([256.0, 1.0], dtype=torch.bfloat16), "floating point"),
        ([np.float32(2**24), 1], "floating point"),
        ([[1], [2]], "cannot be compared"),
        ([object(), object()], "no equality of its own"),
        ([torch.tensor([1]), torch.tensor([2])], "an array of shape"),
        (np.array(["2026-11-28", "NaT"], dtype="datetime64[ns]"), "dates as text"),
        ([np.datetime64("2026-11-28"), 1], "dates as text"),
        (np.ma.masked_array([1, 2], [True, False]), "missing"),
        ("ab", "sequence"),
        ({1, 2}, "sequence"),
        ({1: 2, 3: 4}, "sequence"),
        (iter([1, 2]), "make a list"),
        (7, "sequence"),
        (np.array(7), "shape"),
        (np.ones((2, 1), dtype=int), "shape"),
        ([1], "has shape"),
    ],
    ids=lambda value: re.sub(" at 0x[0-9a-f]+", "", repr(value)),  # the same in every process
)
def test_what_equality_would_surprise_with_is_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        first_of_two(labels, [1, 2])


def test_sides_of_different_kinds_are_refused():
    for query, gallery in ((["1", "2"], [1, 2]), ([b"1", b"2"], ["1", "2"]), ([True, False], [1, 0])):
        with pytest.raises(ValueError, match=r"query_ids are .* but gallery_ids are"):
            first_of_two(query, gallery)


def test_integers_of_data_sets_are_read_by_position_and_fit_64_bits():
    pandas = pytest.importorskip("pandas")
    column = pandas.Series([5, 6, 7], index=[2, 0, 1])
    assert integer_labels(column, "identities").tolist() == [5, 6, 7]
    for wrong, message in (([2**63], "64 bits"), (["5"], "must be integers"), ([1.5], "integers or strings")):
        with pytest.raises(ValueError, match=message):
            integer_labels(wrong, "identities")
    assert read_labels(np.array([2**64 - 1], dtype=np.uint64), "x") == [2**64 - 1]


def test_a_whole_evaluation_takes_shuffled_columns_by_position():
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    identities, cameras = np.repeat(np.arange(6), 4), np.tile([1, 4, 3, 6], 6)
    modalities = np.tile([0, 0, 1, 1], 6).astype(np.uint8)
    features = rng.standard_normal((24, 5)).astype(np.float32)
    order = rng.permutation(24)

    def columns(*arrays):
        return [pandas.Series(array, index=order) for array in arrays]

    setting = Setting(trials=2)
    scores = []
    for labels in ((identities, cameras, modalities), columns(identities, cameras, modalities)):
        trials = make_trials(*labels, setting)
        scores.append(score_trials(FeatureSet(features, *labels, np.arange(24)), trials, setting))
    assert [(s.map, s.minp) for s in scores[0]] == [(s.map, s.minp) for s in scores[1]]
    pixels = np.zeros((24, 4, 2, 3), dtype=np.uint8)
    images = ImageSet(pixels, *columns(identities, cameras, modalities), tuple(map(str, range(24))))
    assert images.take(np.array([5, 1])).identities.tolist() == [1, 0]
    with pytest.raises(ValueError, match="identities must be integers"):
        ImageSet(pixels, list("abcdefghijklmnopqrstuvwx"), cameras, modalities, tuple(map(str, range(24))))
