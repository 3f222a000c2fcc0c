"""k-reciprocal re-ranking against its definition as loops, in both variants."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval import score
from eval.protocols import Setting, Trial
from eval.score import FeatureSet, distance_matrix, score_reranked
from mtrl.retrieval.metrics import rerank
from mtrl.retrieval.metrics.ranking import rank_metrics
from mtrl.retrieval.metrics.rerank import k_reciprocal, k_reciprocal_blocks
from train.bench.rerank_loop import rerank_loop


@settings(max_examples=12, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from([(20, 6, 0.3), (6, 3, 0.3), (5, 1, 0.0), (3, 2, 0.5), (50, 40, 0.3)]),
    st.sampled_from(["paper", "released"]),
)
def test_rerank_equals_the_definition(seed, parameters, variant):
    rng = np.random.default_rng(seed)
    people = rng.integers(0, 6, 36)
    features = rng.standard_normal((6, 8))[people] + 0.7 * rng.standard_normal((36, 8))
    distances = distance_matrix(features, features, "euclidean")
    expected = rerank_loop(distances, 11, *parameters, variant)
    np.testing.assert_allclose(k_reciprocal(distances, 11, *parameters, variant), expected, atol=2e-6)


def test_the_two_variants_of_re_ranking_differ_at_exactly_two_thirds():
    rng = np.random.default_rng(5)
    features = rng.standard_normal((8, 8))[rng.integers(0, 8, 40)] + rng.standard_normal((40, 8))
    distances = distance_matrix(features, features, "euclidean")
    paper, released = (k_reciprocal(distances, 10, 10, 6, variant=name) for name in ("paper", "released"))
    assert np.abs(paper - released).max() > 0.01
    np.testing.assert_allclose(released, rerank_loop(distances, 10, 10, 6, 0.3, "released"), atol=2e-6)


def test_released_re_ranking_squares_euclidean_distances():
    """Cosine of unit features, and Euclidean distances of the same, are then one ranking."""
    rng = np.random.default_rng(6)
    features = rng.standard_normal((6, 8))[np.repeat(np.arange(6), 6)] + 0.8 * rng.standard_normal((36, 8))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    feature_set = FeatureSet(
        features, np.repeat(np.arange(6), 6), np.ones(36), np.arange(36) % 2, np.arange(36)
    )
    trial = Trial(np.arange(0, 36, 2), np.arange(1, 36, 2))
    maps = {
        (metric, variant): score_reranked(feature_set, [trial], Setting("regdb"), metric, variant)[0].map
        for metric in ("cosine", "euclidean")
        for variant in ("paper", "released")
    }
    assert maps["cosine", "released"] == pytest.approx(maps["euclidean", "released"], abs=1e-6)
    direct = k_reciprocal(
        distance_matrix(*[features[np.r_[trial.query, trial.gallery]]] * 2, "euclidean") ** 2,
        18,
        variant="released",
    )
    labels = feature_set.identities[trial.query], feature_set.identities[trial.gallery]
    assert maps["euclidean", "released"] == rank_metrics(direct, *labels, protocol="regdb").mean_ap


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("variant", ["paper", "released"])
def test_distances_made_in_blocks_give_the_same(monkeypatch, metric, variant):
    rng = np.random.default_rng(7)
    features = rng.standard_normal((6, 8))[rng.integers(0, 6, 50)] + 0.8 * rng.standard_normal((50, 8))
    distances = distance_matrix(features, features, metric)
    whole = k_reciprocal(distances, 20, variant=variant)
    feature_set = FeatureSet(features, np.arange(50) % 6, np.ones(50), np.arange(50) >= 20, np.arange(50))
    arguments = feature_set, [Trial(np.arange(20), np.arange(20, 50))], Setting("regdb"), metric, variant
    expected = score_reranked(*arguments)[0]

    asked = []
    monkeypatch.setattr(rerank, "_BLOCK_ELEMENTS", 7 * 50)
    monkeypatch.setattr(score, "_SHARED_ELEMENTS", 0)
    blocks = k_reciprocal_blocks(lambda part: asked.append(part) or distances[part], 50, 20, variant=variant)
    assert max(part.stop - part.start for part in asked) == 7 and len(asked) == 2 * 8
    parts = [blocks(slice(0, 3)), blocks(slice(3, 20))]
    assert (
        max(part.stop - part.start for part in asked) == 7
    )  # of the queries too, however many are asked at once
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-6)
    found = score_reranked(*arguments)[0]
    assert found.map == pytest.approx(expected.map, abs=1e-6) and (found.first == expected.first).all()


def test_rerank_refuses_the_impossible():
    broken = np.zeros((5, 5))
    broken[3, 1] = np.nan
    with pytest.raises(ValueError, match="finite"):
        k_reciprocal(broken, 2)
    for arguments in ((np.zeros((3, 4)), 1), (np.zeros((3, 3)), 3), (np.zeros((3, 3)), 1, 0)):
        with pytest.raises(ValueError, match=r"re-ranking|distances must"):
            k_reciprocal(*arguments)
    with pytest.raises(ValueError, match="one of paper, released, not 'matlab'"):
        k_reciprocal(np.zeros((5, 5)), 2, variant="matlab")
    assert np.isfinite(k_reciprocal(np.zeros((5, 5)), 2)).all()
