"""The sampler: what a batch and an epoch hold, and that seeds and resuming do what they say."""

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtrl.data.sampler import Batch, IdentitySampler
from mtrl.models.config import Modality


def labels(counts: dict[int, tuple[int, int]], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """identity -> (visible, infrared) counts, as shuffled rows."""
    rows = [(i, m) for i, pair in counts.items() for m in (0, 1) for _ in range(pair[m])]
    table = np.random.default_rng(seed).permutation(np.array(rows, dtype=np.int64).reshape(-1, 2))
    return table[:, 0], table[:, 1].astype(np.uint8)


def same(a: Batch, b: Batch) -> bool:
    return all(np.array_equal(getattr(a, f), getattr(b, f)) for f in ("visible", "infrared", "identities"))


EVEN = {i * 10: (8, 6) for i in range(12)}


@settings(max_examples=40, deadline=None)
@given(
    counts=st.dictionaries(
        st.integers(-50, 10**6), st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12
    ),
    p=st.integers(1, 5),
    k=st.integers(1, 5),
    seed=st.integers(0, 2**40),
)
@pytest.mark.filterwarnings("ignore:.*left out")
def test_every_batch_is_p_by_k_of_both_modalities(
    counts: dict[int, tuple[int, int]], p: int, k: int, seed: int
) -> None:
    ids, modalities = labels(counts)
    usable = sorted(i for i, pair in counts.items() if min(pair) > 0)
    if len(usable) < p:
        with pytest.raises(ValueError, match="identities"):
            IdentitySampler(ids, modalities, p, k, seed)
        return
    sampler = IdentitySampler(ids, modalities, p, k, seed)
    assert sampler.classes.tolist() == usable
    assert sampler.skipped == sum(1 for pair in counts.values() if max(pair) > 0 and min(pair) == 0)
    batches = list(sampler.epoch(3))
    visible = sum(counts[i][0] for i in usable)
    assert len(batches) == len(sampler) == max(1, round(visible / (p * k)))
    for batch in batches:
        assert batch.visible.dtype == batch.infrared.dtype == batch.identities.dtype == np.int64
        people = batch.identities.reshape(p, k)
        assert (people == people[:, :1]).all() and len(set(people[:, 0].tolist())) == p
        for side, rows in enumerate((batch.visible, batch.infrared)):
            assert (modalities[rows] == side).all()
            assert (ids[rows] == sampler.classes[batch.identities]).all()
            for run, label in zip(rows.reshape(p, k), people[:, 0], strict=True):
                available = counts[usable[label]][side]
                times = Counter(run.tolist())
                assert len(times) == min(k, available)
                assert max(times.values()) - min(times.values()) <= 1


def test_identities_and_images_come_round_before_they_repeat() -> None:
    ids, modalities = labels(EVEN)
    sampler = IdentitySampler(ids, modalities, 5, 3, seed=1)  # 12 identities are not a multiple of 5
    batches = list(sampler.epoch(0))
    people = np.concatenate([b.identities[::3] for b in batches])
    assert set(people[:12].tolist()) == set(range(12))
    for name, per_identity in (("visible", 8), ("infrared", 6)):
        for label in range(12):
            dealt = np.concatenate([getattr(b, name)[b.identities == label] for b in batches])
            head = dealt[: per_identity - per_identity % 3]
            assert len(set(head.tolist())) == len(head)


def test_an_epoch_uses_most_images() -> None:
    ids, modalities = labels(EVEN)
    sampler = IdentitySampler(ids, modalities, 4, 4)
    assert len(sampler) == 6  # 96 visible images
    used = np.concatenate([b.visible for b in sampler.epoch(0)])
    assert len(set(used.tolist())) == 96  # 12 identities x 2 visits x 4 of 8 images


def test_seed_and_epoch_alone_decide() -> None:
    ids, modalities = labels(EVEN)
    one, two = (IdentitySampler(ids, modalities, 4, 4, seed=7) for _ in range(2))
    list(one.epoch(0))  # earlier epochs leave no trace
    assert all(same(a, b) for a, b in zip(one.epoch(5), two.epoch(5), strict=True))
    assert not all(same(a, b) for a, b in zip(one.epoch(5), one.epoch(6), strict=True))
    other = IdentitySampler(ids, modalities, 4, 4, seed=8)
    assert not all(same(a, b) for a, b in zip(one.epoch(5), other.epoch(5), strict=True))


@pytest.mark.parametrize("start", [0, 1, 5, 6, 9])
def test_resuming_gives_the_rest_of_the_epoch(start: int) -> None:
    ids, modalities = labels(EVEN)
    sampler = IdentitySampler(ids, modalities, 4, 4)
    whole, rest = list(sampler.epoch(2)), list(sampler.epoch(2, start=start))
    assert len(rest) == max(0, 6 - start)
    assert all(same(a, b) for a, b in zip(whole[start:], rest, strict=True))


def test_the_global_generator_is_left_alone() -> None:
    ids, modalities = labels(EVEN)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    list(IdentitySampler(ids, modalities, 4, 4).epoch(0))
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_identities_of_one_modality_are_left_out_with_a_warning() -> None:
    ids, modalities = labels({1: (4, 4), 2: (4, 0), 3: (0, 4), 4: (2, 2)})
    with pytest.warns(UserWarning, match="2 identities"):
        sampler = IdentitySampler(ids, modalities, 2, 2)
    assert sampler.skipped == 2 and sampler.classes.tolist() == [1, 4]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert IdentitySampler(*labels(EVEN), 2, 2).skipped == 0


def test_too_few_identities_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="lower the identities per batch to 12"):
        IdentitySampler(*labels(EVEN), 13, 2)


@pytest.mark.parametrize(
    ("p", "k", "seed"), [(0, 2, 0), (2, 0, 0), (2, 2, -1)], ids=["no identity", "no image", "negative seed"]
)
def test_impossible_settings_are_refused(p: int, k: int, seed: int) -> None:
    with pytest.raises(ValueError, match="at least"):
        IdentitySampler(*labels(EVEN), p, k, seed)


def test_arrays_must_match() -> None:
    with pytest.raises(ValueError, match="equal length"):
        IdentitySampler([1, 2, 3], [Modality.VISIBLE, Modality.INFRARED], 1, 1)
    with pytest.raises(ValueError, match="at least 0"):
        next(IdentitySampler(*labels(EVEN), 2, 2).epoch(-1))
