"""What must hold of every draw: galleries from any test set, batches from any training set, shares of any job."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from eval.protocols import Setting, Trial, group_rows, make_trials
from mtrl.data.sampler import Batch, IdentitySampler
from train.run.distributed import DistributedContext

seeds = st.integers(0, 10**6)
Set = tuple[np.ndarray, np.ndarray, np.ndarray]  # identities, cameras, modalities


def few(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None, derandomize=True)


@st.composite
def images_of_people(draw: st.DrawFn, most: int = 13) -> Set:
    """Images of some people by some of six cameras, 3 and 6 infrared, rows in no order."""
    rng = np.random.default_rng(draw(seeds))
    people = rng.choice(200, draw(st.integers(1, 6)), replace=False)
    counts = rng.integers(0, most, (len(people), 6)) * (rng.random((len(people), 6)) < 0.8)
    table = np.array(
        [(p, c + 1) for i, p in enumerate(people) for c in range(6) for _ in range(counts[i, c])]
    )
    assume(len(table) > 0)
    table = table[rng.permutation(len(table))]
    modalities = np.isin(table[:, 1], (3, 6)).astype(np.uint8)
    assume(0 < modalities.sum() < len(table))
    return table[:, 0], table[:, 1], modalities


def trials_of(images: Set, **options: object) -> list[Trial]:
    return make_trials(*images, Setting(**options))


def groups_of(images: Set, rows: np.ndarray) -> dict[tuple[int, int], list[int]]:
    """The rows of each identity and camera, keys ascending, in the order of the arrays."""
    found: dict[tuple[int, int], list[int]] = {}
    for row in sorted(rows.tolist()):
        found.setdefault((int(images[0][row]), int(images[1][row])), []).append(row)
    return dict(sorted(found.items()))


@few(50)
@given(
    images_of_people(),
    st.sampled_from(["ir2vis", "vis2ir"]),
    st.sampled_from(["sysu", "llcm"]),
    st.sampled_from(["all", "indoor"]),
    st.sampled_from([1, 10]),
)
def test_seeded_galleries(images: Set, direction: str, protocol: str, mode: str, shots: int) -> None:
    """Everybody is asked; the gallery is drawn image by image, as the documented loop draws it."""
    mode = mode if protocol == "sysu" else "all"
    _, cameras, modalities = images
    visible, infrared = (np.flatnonzero(modalities == kind) for kind in (0, 1))
    if mode == "indoor":
        visible = visible[np.isin(cameras[visible], (1, 2))]
        assume(len(visible))
    asked, searched = (infrared, visible) if direction == "ir2vis" else (visible, infrared)
    options = {"protocol": protocol, "direction": direction, "mode": mode, "shots": shots}
    trials = trials_of(images, **options, trials=4)
    people = groups_of(images, searched)
    for number, trial in enumerate(trials):
        expected_queries = [row for rows in groups_of(images, asked).values() for row in rows]
        assert trial.query.tolist() == expected_queries
        generator, expected = random.Random(number), []
        for rows in people.values():
            if shots == 1:
                expected.append(generator.choice(rows))
            else:
                expected += generator.sample(rows, min(shots, len(rows)))
        assert trial.gallery.tolist() == expected
        assert len(set(expected)) == len(expected) == sum(min(shots, len(rows)) for rows in people.values())
    # More trials are the same ones and further ones.
    for one, two in zip(trials_of(images, **options, trials=2), trials, strict=False):
        assert np.array_equal(one.gallery, two.gallery) and np.array_equal(one.query, two.query)


@few(40)
@given(images_of_people(), st.sampled_from(["all", "indoor"]), st.sampled_from([1, 10]), seeds)
def test_official_galleries(images: Set, mode: str, shots: int, seed: int) -> None:
    """Cameras ascending, identities ascending inside, the first entries of the trial's permutation."""
    identities, cameras, modalities = images
    rng, rows = np.random.default_rng(seed), np.arange(len(identities))
    groups = groups_of(images, rows)
    permutations = {
        (camera, identity): np.stack([rng.permutation(len(group)) + 1 for _ in range(3)])
        for (identity, camera), group in groups.items()
    }
    wanted = (1, 2) if mode == "indoor" else (1, 2, 4, 5)
    assume(np.isin(cameras, wanted).any())
    setting = Setting(mode=mode, shots=shots, gallery="official", trials=3)
    for number, trial in enumerate(make_trials(*images, setting, permutations)):
        expected = [
            groups[identity, camera][index - 1]
            for camera in wanted
            for identity in sorted({person for person, place in groups if place == camera})
            for index in permutations[camera, identity][number][:shots]
        ]
        assert trial.gallery.tolist() == expected
        assert set(trial.query.tolist()) == set(np.flatnonzero(modalities == 1).tolist())


@few(40)
@given(images_of_people(), st.sampled_from(["ir2vis", "vis2ir"]), seeds)
def test_whole_galleries_and_sides(images: Set, direction: str, seed: int) -> None:
    """RegDB searches everything, once; the sides of a direction are the other's, swapped; marked images keep out."""
    modalities = images[2]
    asked = 1 if direction == "ir2vis" else 0
    (trial,) = trials_of(images, protocol="regdb", direction=direction)
    assert (modalities[trial.query] == asked).all() and (modalities[trial.gallery] == 1 - asked).all()
    assert sorted([*trial.query, *trial.gallery]) == list(range(len(modalities)))
    (back,) = trials_of(images, protocol="regdb", direction="vis2ir" if asked else "ir2vis")
    assert np.array_equal(trial.query, back.gallery) and np.array_equal(trial.gallery, back.query)
    with pytest.warns(UserWarning, match="vis2ir_released"):
        released = trials_of(images, protocol="llcm", direction="vis2ir_released", trials=2)
    for swapped, straight in zip(
        released, trials_of(images, protocol="llcm", direction="vis2ir", trials=2), strict=True
    ):
        assert np.array_equal(swapped.query, straight.gallery)
        assert np.array_equal(swapped.gallery, straight.query)
    marks = np.random.default_rng(seed).integers(0, 3, len(modalities)).astype(np.int8)
    sides = (modalities == asked) & (marks != 2), (modalities != asked) & (marks != 1)
    if all(side.any() for side in sides):
        (kept,) = make_trials(*images, Setting("regdb", direction), subsets=marks)
        assert all(
            set(a) == set(np.flatnonzero(b)) for a, b in zip((kept.query, kept.gallery), sides, strict=True)
        )
    grouped = group_rows(*images[:2], np.arange(len(modalities)))
    assert {key: rows.tolist() for key, rows in grouped.items()} == groups_of(
        images, np.arange(len(modalities))
    )


@st.composite
def samplers(draw: st.DrawFn) -> tuple[IdentitySampler, np.ndarray, np.ndarray]:
    """A sampler over people with images of both modalities, P and K that fit, and the labels of its rows."""
    rng = np.random.default_rng(draw(seeds))
    p, k = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    people = rng.choice(1000, p + draw(st.integers(0, 4)), replace=False)
    rows = [(i, m) for i in people for m in (0, 1) for _ in range(rng.integers(1, 9))]
    ids, modalities = rng.permutation(np.array(rows)).T
    return IdentitySampler(ids, modalities, p, k, draw(seeds)), ids, modalities


def even(dealt: np.ndarray, cards: int) -> bool:
    """Whether at no moment one of `cards` cards was dealt twice more than another."""
    counts: Counter[int] = Counter()
    for card in dealt.tolist():
        counts[card] += 1
        if counts[card] - (min(counts.values()) if len(counts) == cards else 0) > 1:
            return False
    return True


@few(60)
@given(samplers(), st.integers(0, 5))
def test_batches_are_dealt_like_cards(
    case: tuple[IdentitySampler, np.ndarray, np.ndarray], epoch: int
) -> None:
    sampler, ids, modalities = case
    p, k = sampler.num_identities, sampler.num_instances
    batches = list(sampler.epoch(epoch))
    assert len(batches) == len(sampler) == max(1, round((modalities == 0).sum() / (p * k)))
    for batch in batches:
        people = batch.identities.reshape(p, k)
        assert (people == people[:, :1]).all() and len(set(people[:, 0].tolist())) == p
        for kind, rows in enumerate((batch.visible, batch.infrared)):
            assert (modalities[rows] == kind).all() and (ids[rows] == sampler.classes[batch.identities]).all()
    # Nobody comes again before all came, and no image of theirs before all of them (where there are K at least).
    assert even(np.concatenate([batch.identities[::k] for batch in batches]), len(sampler.classes))
    for label, identity in enumerate(sampler.classes):
        for kind, side in enumerate(("visible", "infrared")):
            dealt = np.concatenate([getattr(batch, side)[batch.identities == label] for batch in batches])
            images = int(((ids == identity) & (modalities == kind)).sum())
            if images >= k:
                assert even(dealt, images)
            for hand in dealt.reshape(-1, k):
                times = Counter(hand.tolist())
                assert len(times) == min(k, images) and max(times.values()) - min(times.values()) <= 1


def equal(a: Batch, b: Batch) -> bool:
    return all(np.array_equal(getattr(a, f), getattr(b, f)) for f in ("visible", "infrared", "identities"))


@few(40)
@given(samplers(), st.integers(0, 5), st.integers(0, 8))
def test_the_same_seed_and_epoch_give_the_same_batches_from_any_start_on(
    case: tuple[IdentitySampler, np.ndarray, np.ndarray], epoch: int, start: int
) -> None:
    sampler, ids, modalities = case
    again = IdentitySampler(ids, modalities, sampler.num_identities, sampler.num_instances, sampler.seed)
    whole = list(sampler.epoch(epoch))
    rest = list(again.epoch(epoch, start=start))
    assert len(rest) == max(0, len(whole) - start)
    assert all(equal(a, b) for a, b in zip(whole[start:], rest, strict=True))
    if len(ids) > 20:  # so many images do not fall twice in the same order
        others = (
            list(sampler.epoch(epoch + 1)),
            list(
                IdentitySampler(
                    ids, modalities, sampler.num_identities, sampler.num_instances, sampler.seed + 1
                ).epoch(epoch)
            ),
        )
        for other in others:
            assert not all(equal(a, b) for a, b in zip(whole, other, strict=True))


@few(40)
@given(samplers(), st.integers(1, 4))
def test_processes_share_a_batch_without_gap_or_overlap(
    case: tuple[IdentitySampler, np.ndarray, np.ndarray], size: int
) -> None:
    sampler, _, _ = case
    p, k = sampler.num_identities, sampler.num_instances
    batch = next(sampler.epoch(0))
    if p % size:
        with pytest.raises(ValueError, match=f"multiple of {size}"):
            DistributedContext(0, size).check_batch(p)
        return
    shares = [DistributedContext(rank, size).shard(batch) for rank in range(size)]
    for field in ("visible", "infrared", "identities"):
        parts = [getattr(share, field) for share in shares]
        assert np.array_equal(np.concatenate(parts), getattr(batch, field))
        assert {len(part) for part in parts} == {p * k // size}
    people = [set(share.identities.tolist()) for share in shares]
    assert sum(map(len, people)) == len(set.union(*people)) == p
