"""Metrics per trial from features: distances, ranking metrics and the modality gap."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from eval.protocols import Setting, Trial
from mtrl.labels.reading import as_array, integer_labels
from mtrl.models.config import Modality
from mtrl.retrieval.metrics.ranking import one_less, query_blocks, rank_blocks
from mtrl.retrieval.metrics.rerank import k_reciprocal_blocks

DISTANCES = ("cosine", "euclidean")
_SHARED_ELEMENTS = 1 << 25  # the largest matrix kept for all trials together: 256 MiB in float64

# Gives the distances of some queries to the whole gallery, [B, G], for a slice of the queries.
Distances: TypeAlias = Callable[[slice], NDArray[Any]]


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureSet:
    """Features of the images that take part, with their labels.

    features    [M, D] float32 or float64, not normalised
    identities, cameras  int64 [M];  modalities  uint8 [M]
    rows        int64 [M], their rows in the image set
    """

    features: NDArray[Any]
    identities: NDArray[np.int64]
    cameras: NDArray[np.int64]
    modalities: NDArray[np.uint8]
    rows: NDArray[np.int64]

    def __post_init__(self) -> None:
        """Labels may come as any sequence of integers, taken by position; see `mtrl.labels.reading`."""
        for field in ("identities", "cameras"):
            object.__setattr__(self, field, integer_labels(getattr(self, field), field))
        for field in ("features", "modalities", "rows"):
            object.__setattr__(self, field, as_array(getattr(self, field)))


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
    """Metrics of one trial as fractions.

    cmc               float64 [R], the whole curve
    valid             number of queries with a right gallery image
    ap, first         [num_query], of each query: see `mtrl.retrieval.metrics.ranking.RankMetrics`
    """

    map: float
    minp: float
    cmc: NDArray[np.float64]
    num_query: int
    num_gallery: int
    valid: int
    ap: NDArray[np.float64]
    first: NDArray[np.int64]


def distance_matrix(query: NDArray[Any], gallery: NDArray[Any], metric: str = "cosine") -> NDArray[Any]:
    """[Q, D], [G, D] -> [Q, G] in the features' precision for "cosine" (1 - cosine), float64 for "euclidean".

    Euclidean distances are summed from differences, not expanded into products: equal features are at equal
    distances, exactly. Raises ValueError for another metric.
    """
    return distance_blocks(query, gallery, metric)(slice(0, len(query)))


def distance_blocks(query: NDArray[Any], gallery: NDArray[Any], metric: str) -> Distances:
    """`distance_matrix`, made for some queries at a time."""
    if metric == "cosine":
        left, right = _unit(query), _unit(gallery)
        return lambda part: one_less(left[part] @ right.T)
    if metric == "euclidean":
        sides = [torch.from_numpy(np.asarray(side, dtype=np.float64)) for side in (query, gallery)]
        exact = "donot_use_mm_for_euclid_dist"
        return lambda part: torch.cdist(sides[0][part], sides[1], compute_mode=exact).numpy()
    raise ValueError(f"distance must be one of {', '.join(DISTANCES)}, not {metric!r}")


def score_trials(
    feature_set: FeatureSet, trials: Sequence[Trial], setting: Setting, metric: str = "cosine"
) -> tuple[Scores, ...]:
    """The metrics of each trial; the trials hold rows of the feature set."""
    made = _trial_distances(feature_set, trials, metric)
    return tuple(_score(feature_set, trial, setting, next(made)) for trial in trials)


def score_reranked(
    feature_set: FeatureSet,
    trials: Sequence[Trial],
    setting: Setting,
    metric: str = "cosine",
    variant: str = "paper",
) -> tuple[Scores, ...]:
    """The same after k-reciprocal re-ranking within each trial's queries and gallery, by one of its two variants.

    "released" squares Euclidean distances, as that code does; 1 - cosine is a squared distance as it is. Distances of
    many images are made block by block, two or three times, so that memory does not grow with their square.
    """
    scores = []
    for trial in trials:
        together = feature_set.features[np.concatenate([trial.query, trial.gallery])]
        blocks = distance_blocks(together, together, metric)
        if len(together) ** 2 <= _SHARED_ELEMENTS:
            blocks = blocks(slice(0, len(together))).__getitem__
        squared = variant == "released" and metric == "euclidean"

        def positive(part: slice, blocks: Distances = blocks, squared: bool = squared) -> NDArray[Any]:
            made = np.maximum(blocks(part), 0)
            return made**2 if squared else made

        reranked = k_reciprocal_blocks(positive, len(together), len(trial.query), variant=variant)
        scores.append(_score(feature_set, trial, setting, reranked))
    return tuple(scores)


def modality_gap(feature_set: FeatureSet, trials: Sequence[Trial], metric: str = "cosine") -> float:
    """Mean visible-infrared distance within identities over the mean between identities; lower is better.

    Over every pair of images that take part in a trial. NaN when there are no such pairs.
    """
    used = np.unique(np.concatenate([rows for trial in trials for rows in (trial.query, trial.gallery)]))
    sides = [
        used[feature_set.modalities[used] == int(kind)] for kind in (Modality.VISIBLE, Modality.INFRARED)
    ]
    sums, counts = np.zeros(2), np.zeros(2)
    if not all(map(len, sides)):
        return float("nan")
    blocks = distance_blocks(feature_set.features[sides[0]], feature_set.features[sides[1]], metric)
    for part in query_blocks(len(sides[0]), len(sides[1])):
        distances = blocks(part)
        same = feature_set.identities[sides[0][part]][:, None] == feature_set.identities[sides[1]]
        for slot, mask in enumerate((same, ~same)):
            sums[slot] += distances.sum(where=mask, dtype=np.float64)
            counts[slot] += np.count_nonzero(mask)
    if not counts.all() or sums[1] <= 0:
        return float("nan")
    return float((sums[0] / counts[0]) / (sums[1] / counts[1]))


def _trial_distances(feature_set: FeatureSet, trials: Sequence[Trial], metric: str) -> Iterator[Distances]:
    """Those of each trial; where the queries stay the same, all galleries' union is compared once, if it is small."""
    query = trials[0].query
    union = np.unique(np.concatenate([trial.gallery for trial in trials]))
    same = all(np.array_equal(trial.query, query) for trial in trials)
    if same and len(trials) > 1 and len(query) * len(union) <= _SHARED_ELEMENTS:
        shared = distance_matrix(feature_set.features[query], feature_set.features[union], metric)
        for trial in trials:
            yield shared[:, np.searchsorted(union, trial.gallery)].__getitem__
    else:
        for trial in trials:
            yield distance_blocks(
                feature_set.features[trial.query], feature_set.features[trial.gallery], metric
            )


def _score(feature_set: FeatureSet, trial: Trial, setting: Setting, distances: Distances) -> Scores:
    query, gallery = trial.query, trial.gallery
    identities, cameras = feature_set.identities, feature_set.cameras
    size = len(query), len(gallery)
    labels = identities[query], identities[gallery], cameras[query], cameras[gallery]
    metrics = rank_blocks(distances, size, labels, setting.protocol, cmc_level=setting.level)
    means = metrics.mean_ap, metrics.mean_inp
    return Scores(*means, metrics.cmc, *size, metrics.valid, metrics.ap, metrics.first)


def _unit(features: NDArray[Any]) -> NDArray[Any]:
    norm = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(norm > 0, norm, 1)
