"""What must hold of every ranking and every search, whatever the distances, ties, cameras and sizes."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mtrl.retrieval import nearest as searching
from mtrl.retrieval.metrics import ranking
from mtrl.retrieval.metrics.ranking import RankMetrics, rank_metrics, skipped
from mtrl.retrieval.metrics.rerank import k_reciprocal
from mtrl.retrieval.nearest import nearest
from tests.reference.ranking import loop_reference

seeds = st.integers(0, 10**6)


def few(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None, derandomize=True)


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """Whole-numbered distances, so that ties are common and every order-preserving map of them is exact."""

    distances: np.ndarray
    query_ids: np.ndarray
    gallery_ids: np.ndarray
    query_cameras: np.ndarray
    gallery_cameras: np.ndarray
    protocol: str
    level: str

    def change(self, **parts: Any) -> Problem:
        return dataclasses.replace(self, **parts)

    def gallery(self, columns: np.ndarray) -> Problem:
        return self.change(
            distances=self.distances[:, columns],
            gallery_ids=self.gallery_ids[columns],
            gallery_cameras=self.gallery_cameras[columns],
        )

    def queries(self, rows: np.ndarray) -> Problem:
        return self.change(
            distances=self.distances[rows],
            query_ids=self.query_ids[rows],
            query_cameras=self.query_cameras[rows],
        )

    def labels(self) -> tuple[Any, ...]:
        return self.query_ids, self.gallery_ids, self.query_cameras, self.gallery_cameras, self.protocol

    def mean(self, values: np.ndarray, found: np.ndarray) -> float:
        """Over the queries that are found; under "clip" over each person's first."""
        people = set(self.query_ids[found].tolist()) if self.protocol == "clip" else []
        groups = [found & (self.query_ids == person) for person in people] or [found]
        return float(np.mean([values[group].mean() for group in groups]))

    def rank(self) -> RankMetrics | None:
        """None where no query has a right image."""
        try:
            return rank_metrics(self.distances, *self.labels(), cmc_level=self.level)
        except ValueError as error:
            assert "no query has a right" in str(error)
            return None


def same(a: RankMetrics | None, b: RankMetrics | None) -> bool:
    if a is None or b is None:
        return a is b
    whole = np.array_equal(a.cmc[:20], b.cmc[:20]) and (a.mean_ap, a.mean_inp) == (b.mean_ap, b.mean_inp)
    return whole and per_query(a) == per_query(b)


def per_query(metrics: RankMetrics) -> list[tuple[float, float, int]]:
    rows = zip(np.nan_to_num(metrics.ap), np.nan_to_num(metrics.inp), metrics.first, strict=True)
    return [(float(ap), float(inp), int(first)) for ap, inp, first in rows]


@st.composite
def problems(draw: st.DrawFn, largest: int = 6) -> Problem:
    rng = np.random.default_rng(draw(seeds))
    queries, gallery, people = draw(st.integers(1, 8)), draw(st.integers(1, 24)), draw(st.integers(1, 6))
    distances = rng.integers(0, largest, (queries, gallery)).astype(
        draw(st.sampled_from([np.float32, np.float64]))
    )
    ids, cameras = (lambda n: rng.integers(0, people, n)), (lambda n: rng.integers(1, 7, n))
    protocol, level = draw(st.sampled_from(ranking.PROTOCOLS)), draw(st.sampled_from(ranking.CMC_LEVELS))
    return Problem(distances, ids(queries), ids(gallery), cameras(queries), cameras(gallery), protocol, level)


@few(60)
@given(problems())
def test_figures_are_shares_and_one_only_for_a_perfect_ranking(problem: Problem) -> None:
    result = problem.rank()
    assume(result is not None)
    assert result is not None and len(result.cmc) >= 20 and result.cmc[-1] == 1
    assert (np.diff(result.cmc) >= 0).all() and result.cmc[0] >= 0
    found = ~np.isnan(result.ap)
    assert result.valid == found.sum() and np.array_equal(found, result.first > 0)
    for values, mean in ((result.ap, result.mean_ap), (result.inp, result.mean_inp)):
        assert (values[found] > 0).all() and (values[found] <= 1).all()
        assert mean == pytest.approx(problem.mean(values, found), abs=1e-12)
    # All right images first: either figure says it, and then the first one is right.
    assert np.array_equal(result.ap[found] == 1, result.inp[found] == 1)
    assert (result.first[found][result.ap[found] == 1] == 1).all()
    assert result.cmc[0] == pytest.approx(problem.mean(result.first == 1, found), abs=1e-12)
    perfect = problem.change(distances=(problem.query_ids[:, None] != problem.gallery_ids) * 1.0).rank()
    assert perfect is not None and perfect.mean_ap == perfect.mean_inp == perfect.cmc[0] == 1


@few(80)
@given(problems())
def test_equals_the_loop(problem: Problem) -> None:
    """Block by block as well: a query's figures do not depend on who is asked beside it."""
    labels = [x.tolist() if isinstance(x, np.ndarray) else x for x in problem.labels()]
    expected, result = loop_reference(problem.distances.tolist(), *labels, problem.level), problem.rank()
    assert (expected is None) == (result is None)
    if expected is None or result is None:
        return
    np.testing.assert_allclose(result.cmc, expected[0], rtol=0, atol=1e-12)
    assert (result.mean_ap, result.mean_inp) == pytest.approx(expected[1:3], abs=1e-12)
    whole = ranking._BLOCK_ELEMENTS
    try:
        for elements in (1, 3 * problem.distances.shape[1]):
            ranking._BLOCK_ELEMENTS = elements
            assert same(problem.rank(), result)
    finally:
        ranking._BLOCK_ELEMENTS = whole
    singles = [problem.queries(np.array([row])).rank() for row in range(len(problem.query_ids))]
    assert per_query(result) == [(0, 0, 0) if one is None else per_query(one)[0] for one in singles]


@few(60)
@given(problems(), seeds)
def test_only_the_order_of_distances_matters(problem: Problem, seed: int) -> None:
    rng, result = np.random.default_rng(seed), problem.rank()
    steps = np.cumsum(rng.exponential(size=6)) - 3
    for table in (steps, np.exp(steps), np.append(steps[:-1], np.inf)):
        stretched = table[problem.distances.astype(int)]
        assert same(problem.change(distances=stretched).rank(), result)
        assert same(problem.change(distances=torch.from_numpy(stretched)).rank(), result)
    # Equal distances rank in gallery order: as if each were a little farther than the one before.
    width = problem.distances.shape[1]
    assert same(problem.change(distances=problem.distances * width + np.arange(width)).rank(), result)


@few(60)
@given(problems(10**6), seeds)
def test_order_and_names_do_not_matter(problem: Problem, seed: int) -> None:
    rng, result = np.random.default_rng(seed), problem.rank()
    assume(all(len(set(row)) == len(row) for row in problem.distances.tolist()))  # ties rank in gallery order
    shuffled = problem.gallery(rng.permutation(len(problem.gallery_ids))).rank()
    assert same(shuffled, result)
    rows = rng.permutation(len(problem.query_ids))
    turned = problem.queries(rows).rank()
    assert turned is None if result is None else turned is not None
    if result is not None and turned is not None:
        assert per_query(turned) == [per_query(result)[row] for row in rows]
        assert turned.mean_ap == pytest.approx(result.mean_ap, abs=1e-12)
    names = rng.permutation(["zoe", "b", "abc", "", "x1", "x10"])
    renamed = problem.change(query_ids=names[problem.query_ids], gallery_ids=names[problem.gallery_ids])
    assert same(renamed.rank(), result)


@few(60)
@given(problems())
def test_skipped_images_are_as_if_they_were_not_there(problem: Problem) -> None:
    mask = skipped(*problem.labels())
    room = {3: 2} if problem.protocol == "sysu" else {}
    for q, (person, camera) in enumerate(zip(problem.query_ids, problem.query_cameras, strict=True)):
        for g, (other, place) in enumerate(zip(problem.gallery_ids, problem.gallery_cameras, strict=True)):
            near = room.get(camera, camera) == room.get(place, place)
            rule = {"sysu": near, "llcm": near and person == other, "regdb": False, "clip": camera != place}
            assert mask[q, g] == rule[problem.protocol]
    result = problem.rank()
    for row in range(len(problem.query_ids)):
        left, alone = np.flatnonzero(~mask[row]), problem.queries(np.array([row]))
        reduced = alone.gallery(left).change(protocol="regdb").rank() if len(left) else None
        figures = (0, 0, 0) if result is None else per_query(result)[row]
        assert figures == ((0, 0, 0) if reduced is None else per_query(reduced)[0])


@few(40)
@given(problems(), st.integers(1, 3))
def test_what_stands_behind_the_last_right_image_does_not_count(problem: Problem, more: int) -> None:
    result = problem.rank()
    assume(result is not None)
    wider = problem.change(
        distances=np.pad(problem.distances, ((0, 0), (0, more)), constant_values=np.inf),
        gallery_ids=np.append(problem.gallery_ids, [99] * more),
        gallery_cameras=np.append(problem.gallery_cameras, [5] * more),
    ).rank()
    assert result is not None and wider is not None and per_query(wider) == per_query(result)
    assert np.array_equal(wider.cmc[:20], result.cmc[:20])
    # Cameras 2 and 3 of SYSU-MM01 are one place: exchanging them is nothing.
    if problem.protocol == "sysu":
        other = np.array([0, 1, 3, 2, 4, 5, 6])
        cameras = {
            f"{side}_cameras": other[getattr(problem, f"{side}_cameras")] for side in ("query", "gallery")
        }
        assert same(problem.change(**cameras).rank(), result)


@st.composite
def galleries(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """(queries [Q,3], gallery [G,3]) of few whole values: products are exact, and many scores are equal."""
    rng = np.random.default_rng(draw(seeds))
    queries, rows = draw(st.integers(1, 5)), draw(st.integers(1, 40))
    return tuple(torch.from_numpy(rng.integers(-2, 3, (n, 3)).astype(np.float32)) for n in (queries, rows))


@few(60)
@given(galleries(), st.integers(1, 45), st.sampled_from([1, 5, 64]), seeds)
def test_a_search_in_blocks_is_the_whole_and_begins_with_every_shorter_one(
    case: tuple[torch.Tensor, torch.Tensor], k: int, block: int, seed: int
) -> None:
    queries, features = case
    scores, rows = nearest(queries, features, k)
    order = (queries @ features.T).sort(dim=1, descending=True, stable=True)
    assert torch.equal(scores, order.values[:, :k]) and torch.equal(rows, order.indices[:, :k])
    whole = searching._BLOCK_ELEMENTS, searching._VALUE_ELEMENTS, searching._QUERIES
    try:
        searching._BLOCK_ELEMENTS, searching._VALUE_ELEMENTS, searching._QUERIES = block, 2 * block, 2
        parts = nearest(queries, features, k)
        longer = nearest(queries, features, k + 1)
    finally:
        searching._BLOCK_ELEMENTS, searching._VALUE_ELEMENTS, searching._QUERIES = whole
    width = min(k, len(features))
    for a, b, c in zip((scores, rows), parts, longer, strict=True):
        assert torch.equal(a, b) and torch.equal(a, c[:, :width])
    assert all(torch.equal(a, b) for a, b in zip(parts, nearest(queries, features.half(), k), strict=True))
    kept = torch.from_numpy(np.flatnonzero(np.random.default_rng(seed).random(len(features)) < 0.5))
    chosen, places = nearest(queries, features, k, kept)
    alone, within = nearest(queries, features[kept], k)
    assert torch.equal(chosen, alone) and torch.equal(places, kept[within])


@few(25)
@given(seeds, st.integers(1, 6), st.integers(2, 14), st.integers(1, 8), st.integers(1, 4), st.floats(0, 1))
def test_re_ranking_follows_its_images(
    seed: int, queries: int, gallery: int, k1: int, k2: int, weight: float
) -> None:
    """Distances lie in [0, 1], and neither the order of the gallery nor the unit of distance matters."""
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((queries + gallery, 3))
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    result = k_reciprocal(distances, queries, k1, k2, weight)
    assert result.shape == (queries, gallery) and result.min() > -1e-6 and result.max() < 1 + 1e-6
    order = np.concatenate([np.arange(queries), queries + rng.permutation(gallery)])
    moved = k_reciprocal(distances[np.ix_(order, order)], queries, k1, k2, weight)
    np.testing.assert_allclose(moved, result[:, order[queries:] - queries], atol=1e-5)
    np.testing.assert_allclose(k_reciprocal(8 * distances, queries, k1, k2, weight), result, atol=1e-6)
    plain = distances[:queries] / distances[:queries].max(axis=1, keepdims=True)
    np.testing.assert_allclose(k_reciprocal(distances, queries, k1, k2, 1.0), plain[:, queries:], atol=1e-6)
