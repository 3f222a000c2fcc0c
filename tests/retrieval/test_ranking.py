"""The vectorised metrics against a loop that follows the definitions word by word."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtrl.retrieval.metrics import ranking
from mtrl.retrieval.metrics.ranking import query_blocks, rank_features, rank_metrics
from tests.reference.ranking import loop_reference


def check(distances, query_ids, gallery_ids, query_cameras, gallery_cameras, protocol, level):
    arguments = (query_ids, gallery_ids, query_cameras, gallery_cameras, protocol)
    expected = loop_reference(distances.tolist(), *arguments, level)
    if expected is None:
        with pytest.raises(ValueError, match="no query has a right"):
            rank_metrics(distances, *arguments, cmc_level=level)
        return
    result = rank_metrics(distances, *arguments, cmc_level=level)
    np.testing.assert_allclose(result.cmc, expected[0], rtol=0, atol=1e-12)
    assert abs(result.mean_ap - expected[1]) < 1e-12
    assert abs(result.mean_inp - expected[2]) < 1e-12
    np.testing.assert_allclose(result.ap, expected[3], rtol=0, atol=1e-12)
    assert result.valid == sum(not np.isnan(value) for value in expected[3])


@st.composite
def problems(draw):
    num_queries, num_gallery = draw(st.integers(1, 12)), draw(st.integers(1, 30))
    num_ids = draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["random", "tied", "constant", "duplicate", "infinite"]))
    distances = rng.standard_normal((num_queries, num_gallery))
    if kind == "tied":
        distances = rng.integers(0, 4, distances.shape).astype(float)
    elif kind == "constant":
        distances[:] = 1.0
    elif kind == "duplicate":
        distances = distances[:, rng.integers(0, max(1, num_gallery // 2), num_gallery)]
    elif kind == "infinite":
        distances[rng.random(distances.shape) < 0.4] = np.inf
        distances[rng.random(distances.shape) < 0.1] = -np.inf
    cameras = draw(st.booleans())
    return (
        distances.astype(draw(st.sampled_from([np.float32, np.float64]))),
        rng.integers(0, num_ids, num_queries).tolist(),
        rng.integers(0, num_ids, num_gallery).tolist(),
        rng.integers(1, 7, num_queries).tolist() if cameras else None,
        rng.integers(1, 7, num_gallery).tolist() if cameras else None,
        draw(st.sampled_from(ranking.PROTOCOLS)),
        draw(st.sampled_from(ranking.CMC_LEVELS)),
    )


@settings(max_examples=400, deadline=None)
@given(problems())
def test_equals_the_loop(problem):
    check(*problem)


@pytest.mark.parametrize("protocol", ranking.PROTOCOLS)
@pytest.mark.parametrize("ties", [False, True])
def test_equals_the_loop_across_blocks(protocol, ties, monkeypatch):
    monkeypatch.setattr(ranking, "_BLOCK_ELEMENTS", 400)
    rng = np.random.default_rng(7)
    distances = rng.random((101, 83))
    if ties:
        distances = np.round(distances, 1)
    labels = [rng.integers(0, 25, n).tolist() for n in (101, 83)]
    cameras = [rng.choice([3, 6], 101).tolist(), rng.choice([1, 2, 4, 5], 83).tolist()]
    if protocol == "clip":  # a query searches the images of its own camera
        cameras = [rng.choice([1, 2], 101).tolist(), rng.choice([1, 2], 83).tolist()]
    for level in ranking.CMC_LEVELS:
        check(distances, *labels, *cameras, protocol, level)


def test_within_a_clip_everybody_counts_alike():
    # three queries of person 1 that find nobody else first, one of person 2 that finds person 1 first; 9 is elsewhere
    distances = np.array([[0.2, 0.3, 0.1]] * 4)
    labels = ([1, 1, 1, 2], [1, 2, 9], [5, 5, 5, 5], [5, 5, 6])
    result = rank_metrics(distances, *labels, protocol="clip")
    assert result.ap.tolist() == [1, 1, 1, 1 / 2]
    assert (result.mean_ap, result.mean_inp, result.cmc[0], result.cmc[1]) == (3 / 4, 3 / 4, 1 / 2, 1)
    assert rank_metrics(distances[:, :2], *labels[:1], [1, 2], protocol="regdb").mean_ap == 7 / 8
    # a person without a right image in their own clip does not count
    lost = rank_metrics(distances, [1, 1, 1, 9], [1, 2, 9], [5, 5, 5, 5], [5, 5, 6], protocol="clip")
    assert (lost.valid, lost.mean_ap) == (3, 1)


def test_hand_made_case():
    # ranking of query 7: 9 7 9 5 7 -> AP (1/2 + 2/5)/2, INP 2/5, second image, second identity
    distances = np.array([[0.5, 0.1, 0.3, 0.2, 0.4]])
    result = rank_metrics(distances, [7], [7, 9, 9, 7, 5], protocol="regdb")
    assert result.ap[0] == pytest.approx((1 / 2 + 2 / 5) / 2)
    assert result.mean_inp == pytest.approx(2 / 5)
    assert result.cmc[:3].tolist() == [0.0, 1.0, 1.0]
    assert result.first.tolist() == [2]


def test_identity_level_counts_each_identity_once():
    distances = np.array([[0.1, 0.2, 0.3, 0.4]])
    arguments = (distances, [1], [2, 2, 2, 1])
    assert rank_metrics(*arguments, cmc_level="identity").first.tolist() == [2]
    assert rank_metrics(*arguments, cmc_level="image").first.tolist() == [4]
    assert rank_metrics(*arguments, protocol="regdb").first.tolist() == [4]
    assert rank_metrics(*arguments, protocol="llcm").first.tolist() == [2]


def test_camera_three_skips_camera_two_whoever_it_shows():
    distances = np.array([[0.1, 0.2, 0.3]] * 2)
    result = rank_metrics(distances, [1, 1], [5, 1, 1], [3, 6], [2, 2, 1], "sysu")
    np.testing.assert_allclose(result.ap, [1.0, (1 / 2 + 2 / 3) / 2])
    back = rank_metrics(np.array([[0.1, 0.2]]), [1], [5, 1], [2], [3, 6], "sysu")
    assert back.mean_ap == 1.0


def test_llcm_keeps_other_identities_of_the_same_camera():
    result = rank_metrics(np.array([[0.1, 0.2, 0.3]]), [1], [1, 5, 1], [4], [4, 4, 2], "llcm")
    assert result.mean_ap == pytest.approx(1 / 2)


def test_queries_without_a_match_are_left_out():
    result = rank_metrics(np.array([[0.1, 0.2], [0.1, 0.2]]), [1, 8], [1, 2])
    assert result.valid == 1 and result.mean_ap == 1.0
    assert np.isnan(result.ap[1]) and result.first.tolist() == [1, 0]


def test_lengths_of_the_cmc():
    distances, identities = np.random.default_rng(0).random((4, 50)), np.arange(50) % 25
    assert len(rank_metrics(distances, [0, 1, 2, 3], identities).cmc) == 25
    assert len(rank_metrics(distances[:, :3], [0, 1, 2, 0], [0, 1, 2]).cmc) == 20
    assert len(rank_metrics(distances, [0, 1, 2, 3], identities, max_rank=7).cmc) == 7


def test_scratch_memory_is_bounded():
    rng = np.random.default_rng(0)
    distances = rng.random((3000, 1500), dtype=np.float32)
    distances[::50] = np.round(distances[::50], 1)
    labels = rng.integers(0, 300, 3000), rng.integers(0, 300, 1500)
    tracemalloc.start()
    rank_metrics(distances, *labels, rng.integers(1, 7, 3000), rng.integers(1, 7, 1500), "llcm")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * 2**20


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_takes_tensors(dtype):
    distances = torch.rand(5, 9, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
    query, gallery = torch.arange(5), torch.arange(9) % 5
    expected = rank_metrics(distances.detach().double().numpy(), query.numpy(), gallery.numpy())
    assert rank_metrics(distances, query, gallery).mean_ap == expected.mean_ap


def test_takes_strings_and_does_not_change_its_input():
    distances = np.arange(4.0).reshape(1, 4)
    copy = distances.copy()
    result = rank_metrics(distances, ["b"], ["aa", "b", "b", "c"], [3], [1, 2, 1, 1])
    assert result.mean_ap == pytest.approx(1 / 2)
    assert np.array_equal(distances, copy)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((0, 3)), [], [1, 2, 3]), "at least one"),
        ((np.zeros((2, 0)), [1, 2], []), "at least one"),
        ((np.zeros(3), [1], [1]), "at least one"),
        ((np.zeros((2, 3)), [1], [1, 2, 3]), "query_ids has shape"),
        ((np.zeros((2, 3)), [1, 2], [1, 2]), "gallery_ids has shape"),
        ((np.zeros((1, 2)), [1], [1, 2], [1]), "both"),
        ((np.zeros((1, 2)), [1], [1, 2], [1, 2], [1, 2]), "query_cameras has shape"),
        ((np.array([[0.0, np.nan]]), [1], [1, 2]), "NaN"),
        ((np.zeros((1, 2)), [1], [1, 2], None, None, "market"), "protocol must be"),
        ((np.zeros((1, 2)), [3], [1, 2]), "no query has a right"),
        ((np.zeros((1, 2)), [1], [1, 2], [3], [2, 1]), "no query has a right"),
        ((np.zeros((1, 2)), ["1"], [1, 2]), "query_ids are"),
        ((np.zeros((1, 2)), [1.5], [1, 2]), "integers or strings"),
        ((np.zeros((1, 2), dtype=complex), [1], [1, 2]), "real numbers"),
    ],
)
def test_wrong_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        rank_metrics(*arguments)


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match="cmc_level"):
        rank_metrics(np.zeros((1, 2)), [1], [1, 2], cmc_level="person")
    with pytest.raises(ValueError, match="max_rank"):
        rank_metrics(np.zeros((1, 2)), [1], [1, 2], max_rank=0)


def features_case(rng, queries=41, gallery=57, people=9):
    """Features of small whole numbers, whose products are exact: many distances are equal."""
    features = [rng.integers(-2, 3, (count, 4)).astype(np.float32) for count in (queries, gallery)]
    labels = [rng.integers(0, people, count) for count in (queries, gallery)]
    cameras = [rng.choice([1, 2, 3, 6], count) for count in (queries, gallery)]
    return features, (*labels, *cameras)


@pytest.mark.parametrize("protocol", ranking.PROTOCOLS)
@pytest.mark.parametrize("level", ranking.CMC_LEVELS)
def test_ranking_from_features_is_ranking_of_the_whole_matrix(protocol, level, monkeypatch):
    (query, gallery), labels = features_case(np.random.default_rng(3))
    whole = rank_metrics(1 - query @ gallery.T, *labels, protocol, cmc_level=level)
    # One block; blocks of five queries, the last longer; one query at a time. Ties in gallery order in each.
    for elements in (1 << 24, 5 * len(gallery), 1):
        monkeypatch.setattr(ranking, "_MADE_ELEMENTS", elements)
        parts = rank_features(query, gallery, *labels, protocol, cmc_level=level)
        for field in ("cmc", "ap", "inp", "first"):
            np.testing.assert_array_equal(getattr(parts, field), getattr(whole, field))
        assert (parts.mean_ap, parts.mean_inp, parts.valid) == (whole.mean_ap, whole.mean_inp, whole.valid)


def test_blocks_of_queries_cover_all_once_and_end_with_no_short_rest(monkeypatch):
    for queries, gallery, elements in ((10, 3, 9), (11, 3, 9), (2, 3, 9), (5, 100, 9), (1, 1, 1)):
        monkeypatch.setattr(ranking, "_MADE_ELEMENTS", elements)
        blocks = list(query_blocks(queries, gallery))
        rows = [row for block in blocks for row in range(block.start, block.stop)]
        assert rows == list(range(queries))
        assert all(block.stop - block.start >= min(queries, max(1, elements // gallery)) for block in blocks)


def test_random_features_in_any_type(monkeypatch):
    rng = np.random.default_rng(4)
    query, gallery = (rng.standard_normal((n, 64)).astype(np.float32) for n in (50, 70))
    labels = rng.integers(0, 9, 50), rng.integers(0, 9, 70)
    whole = rank_metrics(1 - query @ gallery.T, *labels)
    assert rank_features(query, gallery, *labels).ap.tolist() == whole.ap.tolist()
    monkeypatch.setattr(ranking, "_MADE_ELEMENTS", 700)
    for left, right in (
        (query, gallery),
        (torch.from_numpy(query).requires_grad_(), torch.from_numpy(gallery)),
        (query.astype(np.float64), gallery),
        (query.tolist(), gallery.tolist()),
    ):
        np.testing.assert_allclose(rank_features(left, right, *labels).ap, whole.ap, rtol=0, atol=1e-3)
    half = rank_features(query.astype(np.float16), torch.from_numpy(gallery).half(), *labels)
    expected = rank_metrics(
        1 - query.astype(np.float16).astype(np.float32) @ gallery.astype(np.float16).astype(np.float32).T,
        *labels,
    )
    np.testing.assert_allclose(half.ap, expected.ap, rtol=0, atol=1e-3)


def test_the_matrix_of_all_pairs_is_never_made(monkeypatch):
    monkeypatch.setattr(ranking, "_MADE_ELEMENTS", 1 << 17)
    monkeypatch.setattr(ranking, "_BLOCK_ELEMENTS", 1 << 16)
    rng = np.random.default_rng(0)
    features = [rng.standard_normal((2000, 8), dtype=np.float32) for _ in range(2)]
    labels = [rng.integers(0, 200, 2000) for _ in range(2)] + [
        rng.choice([1, 2, 3, 6], 2000) for _ in range(2)
    ]
    for protocol in ranking.PROTOCOLS:
        tracemalloc.start()
        rank_features(*features, *labels, protocol)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 6 * 2**20  # of float32 the matrix would be 16 MB


def test_small_and_empty_problems_from_features():
    query, gallery = np.eye(3, dtype=np.float32)[:1], np.eye(3, dtype=np.float32)
    one = rank_features(query, gallery, [7], [7, 8, 9], protocol="regdb")
    assert one.mean_ap == 1 and len(one.cmc) == 20
    assert rank_features(query, gallery[:1], [7], [7]).cmc.tolist() == [1.0] * 20
    for arguments, message in (
        ((query, gallery, [5], [7, 8, 9]), "no query has a right"),
        ((query, gallery[:0], [5], []), "at least one of each"),
        ((query[:0], gallery, [], [7, 8, 9]), "at least one of each"),
        ((query, gallery[:, :2], [7], [7, 8, 9]), "query features have 3 values, gallery features 2"),
        ((query[0], gallery, [7], [7, 8, 9]), "images, dimensions"),
        ((query * np.nan, gallery, [7], [7, 8, 9]), "query features hold NaN"),
        ((query, np.full_like(gallery, np.inf), [7], [7, 8, 9]), "gallery features hold NaN or infinity"),
        ((query.astype(complex), gallery, [7], [7, 8, 9]), "real numbers"),
        ((query, gallery, [7, 8], [7, 8, 9]), "query_ids has shape"),
    ):
        with pytest.raises(ValueError, match=message):
            rank_features(*arguments)
