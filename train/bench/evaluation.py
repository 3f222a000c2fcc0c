"""Speed of metrics, of whole evaluations from cached features, and of re-ranking, compared with plain loops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.benchmark import CASES, plain_loop
from eval.protocols import Setting, Trial, make_trials
from eval.score import FeatureSet, distance_matrix, score_trials
from mtrl.retrieval.metrics.ranking import rank_features, rank_metrics
from mtrl.retrieval.metrics.rerank import k_reciprocal
from train.bench.peak_memory import features_problem
from train.bench.rerank_loop import rerank_loop
from train.bench.table import Line, Options, paired

DIM = 512
LOOP = "a loop over queries"


def lines(options: Options) -> Iterator[Line]:
    """Measures one trial of each data set, all trials of two of them, `rank_features`, and k-reciprocal re-ranking."""
    shrink = 10 if options.quick else 1
    for case in CASES:
        yield _one_trial(case, shrink, options)
    sysu = [Setting("sysu", mode=mode, shots=shots) for mode in ("all", "indoor") for shots in (1, 10)]
    yield _whole("SYSU-MM01, 10 trials, 2 modes, 1 and 10 shots", _sysu_features(shrink), sysu, options)
    llcm = [Setting("llcm", direction=direction) for direction in ("ir2vis", "vis2ir")]
    yield _whole("LLCM, 10 trials, both directions", _llcm_features(shrink), llcm, options)
    yield _features(1000 if options.quick else 10_000, options)
    yield from _reranking(options)


def _one_trial(case: tuple[Any, ...], shrink: int, options: Options) -> Line:
    name, queries, gallery, identities, protocol, query_cameras, gallery_cameras = case
    queries, gallery = queries // shrink, gallery // shrink
    random = np.random.default_rng(0)
    problem = (
        random.random((queries, gallery), dtype=np.float32),
        random.integers(0, identities, queries),
        random.integers(0, identities, gallery),
        random.choice(query_cameras, queries),
        random.choice(gallery_cameras, gallery),
        protocol,
    )
    apart = abs(rank_metrics(*problem).mean_ap - plain_loop(*problem))
    ours, theirs = paired(lambda: _quiet(rank_metrics(*problem)), lambda: _quiet(plain_loop(*problem)),
                          options.repeats)  # fmt: skip
    what = f"{name}: {queries:,} x {gallery:,}, one trial"
    return Line("evaluation", what, ours, theirs, LOOP, "s", False, f"mAP apart by {apart:.0e}")


def _features(size: int, options: Options) -> Line:
    """Time of `rank_features`, which works in blocks, compared with `rank_metrics` of the whole distance matrix."""
    problem = features_problem(size, size)
    query, gallery, labels = problem[0], problem[1], problem[2:]

    def whole() -> float:
        return rank_metrics(1 - query @ gallery.T, *labels).mean_ap

    apart = abs(rank_features(*problem).mean_ap - whole())
    ours, theirs = paired(
        lambda: _quiet(rank_features(*problem)), lambda: _quiet(whole()), min(options.repeats, 3)
    )
    what = f"rank_features, {size:,} x {size:,} x {DIM}"
    return Line("evaluation", what, ours, theirs, "rank_metrics of the whole matrix, matrix included", "s", False,
                f"mAP apart by {apart:.0e}; {4 * size * size / 1e6:,.0f} MB of matrix that are not made")  # fmt: skip


def _whole(what: str, feature_set: FeatureSet, settings: Sequence[Setting], options: Options) -> Line:
    """Time from cached features to the metrics of every trial. The baseline runs only once, since it is slow."""
    runs = [
        (s, make_trials(feature_set.identities, feature_set.cameras, feature_set.modalities, s))
        for s in settings
    ]
    ours, _ = paired(
        lambda: _quiet([score_trials(feature_set, trials, s) for s, trials in runs]), None, options.repeats
    )
    theirs, _ = paired(lambda: _quiet([_trial_by_loop(feature_set, t, s) for s, trials in runs for t in trials]), None,
                       1, warmup=0)  # fmt: skip
    return Line("evaluation", what, ours, theirs, f"{LOOP}, once", "s", False, f"{DIM} dimensions")


def _trial_by_loop(feature_set: FeatureSet, trial: Trial, setting: Setting) -> float:
    query, gallery = trial.query, trial.gallery
    distances = distance_matrix(feature_set.features[query], feature_set.features[gallery])
    labels = feature_set.identities, feature_set.cameras
    return plain_loop(distances, labels[0][query], labels[0][gallery], labels[1][query], labels[1][gallery],
                      setting.protocol)  # fmt: skip


def _reranking(options: Options) -> Iterator[Line]:
    """Time of re-ranking. The baseline is measured only on a smaller problem, since it is slow."""
    for total, compared in ((400 if options.quick else 800, True), (1000 if options.quick else 5007, False)):
        random = np.random.default_rng(0)
        people = random.standard_normal((max(8, total // 52), DIM))
        features = people[random.integers(0, len(people), total)] + random.standard_normal((total, DIM))
        distances = np.maximum(distance_matrix(features.astype(np.float32), features.astype(np.float32)), 0)
        queries = round(total * 3803 / 5007)
        note = f"{queries} queries, {total - queries} gallery images"
        if compared:
            apart = np.abs(k_reciprocal(distances, queries) - rerank_loop(distances, queries)).max()
            note += f"; apart by {apart:.0e}"
        ours, theirs = paired(
            lambda d=distances, q=queries: _quiet(k_reciprocal(d, q)),  # type: ignore[misc]
            (lambda d=distances, q=queries: _quiet(rerank_loop(d, q))) if compared else None,  # type: ignore[misc]
            min(options.repeats, 3),
        )
        yield Line("evaluation", f"k-reciprocal re-ranking, {total:,} images", ours, theirs,
                   "a loop over images" if compared else "", "s", False, note)  # fmt: skip


def _quiet(result: Any) -> None:
    """Returns None, so that the benchmark reports the time of a task and not its result."""


def _sysu_features(shrink: int) -> FeatureSet:
    """Features of as many images as SYSU-MM01's test set has: 96 people, 3803 queries, 301 pairs of identity and camera
    in the gallery.
    """
    visible = [(person, camera) for camera in (1, 2) for person in range(56)]
    visible += [(person, camera) for camera in (4, 5) for person in range(95)][:-1]
    pairs = [pair for pair in visible for _ in range(22 if shrink == 1 else 10)]
    infrared = [(row % 96, 3 + 3 * (row % 2)) for row in range(3803 // shrink)]
    return _feature_set(pairs, infrared)


def _llcm_features(shrink: int) -> FeatureSet:
    """Features of as many images as LLCM's test set has: 351 people, 8680 visible and 7166 infrared images."""
    visible = [(row % 351, 1 + (row // 351) % 6) for row in range(8680 // shrink)]
    infrared = [(row % 351, 1 + (row // 351) % 5) for row in range(7166 // shrink)]
    return _feature_set(visible, infrared)


def _feature_set(visible: Sequence[tuple[int, int]], infrared: Sequence[tuple[int, int]]) -> FeatureSet:
    labels: NDArray[np.int64] = np.array([*visible, *infrared], dtype=np.int64)
    random = np.random.default_rng(0)
    people = random.standard_normal((labels[:, 0].max() + 1, DIM), dtype=np.float32)
    features = people[labels[:, 0]] + 2 * random.standard_normal((len(labels), DIM), dtype=np.float32)
    modalities = np.repeat(np.array([0, 1], dtype=np.uint8), [len(visible), len(infrared)])
    return FeatureSet(features, labels[:, 0], labels[:, 1], modalities, np.arange(len(labels)))
