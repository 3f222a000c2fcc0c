"""From features and trials to figures: distances, metrics per trial, and the modality gap."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from eval.protocols import Setting, Trial
from mtrl.config import Modality
from mtrl.retrieval.ranking import rank_metrics
from mtrl.retrieval.rerank import k_reciprocal

DISTANCES = ("cosine", "euclidean")
_SHARED_ELEMENTS = 1 << 25  # the largest matrix kept for all trials together: 256 MiB in float64
_BLOCK_ROWS = 1024


@dataclasses.dataclass(frozen=True, eq=False)
class Bank:
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


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
    """Figures of one trial as fractions; `cmc` is the whole curve, `valid` the queries with a right image."""

    map: float
    minp: float
    cmc: NDArray[np.float64]
    num_query: int
    num_gallery: int
    valid: int


def distance_matrix(query: NDArray[Any], gallery: NDArray[Any], metric: str = "cosine") -> NDArray[Any]:
    """[Q, D], [G, D] -> [Q, G] in the features' precision for "cosine" (1 - cosine), float64 for "euclidean".

    Euclidean distances are summed from differences, not expanded into products: equal features are at equal
    distances, exactly. Raises ValueError for another metric.
    """
    if metric == "cosine":
        return 1 - _unit(query) @ _unit(gallery).T
    if metric == "euclidean":
        left, right = (torch.from_numpy(np.asarray(side, dtype=np.float64)) for side in (query, gallery))
        return torch.cdist(left, right, compute_mode="donot_use_mm_for_euclid_dist").numpy()
    raise ValueError(f"distance must be one of {', '.join(DISTANCES)}, not {metric!r}")


def score_trials(
    bank: Bank, trials: Sequence[Trial], setting: Setting, metric: str = "cosine"
) -> tuple[Scores, ...]:
    """The figures of each trial; the trials hold rows of the bank."""
    matrices = _trial_distances(bank, trials, metric)
    return tuple(_score(bank, trial, setting, next(matrices)) for trial in trials)


def score_reranked(
    bank: Bank, trials: Sequence[Trial], setting: Setting, metric: str = "cosine"
) -> tuple[Scores, ...]:
    """The same after k-reciprocal re-ranking within each trial's queries and gallery."""
    scores = []
    for trial in trials:
        together = bank.features[np.concatenate([trial.query, trial.gallery])]
        distances = np.maximum(distance_matrix(together, together, metric), 0)
        scores.append(_score(bank, trial, setting, k_reciprocal(distances, len(trial.query))))
    return tuple(scores)


def modality_gap(bank: Bank, trials: Sequence[Trial], metric: str = "cosine") -> float:
    """Mean visible-infrared distance within identities over the mean between identities; lower is better.

    Over every pair of images that take part in a trial. NaN when there are no such pairs.
    """
    used = np.unique(np.concatenate([rows for trial in trials for rows in (trial.query, trial.gallery)]))
    sides = [used[bank.modalities[used] == int(kind)] for kind in (Modality.VISIBLE, Modality.INFRARED)]
    sums, counts = np.zeros(2), np.zeros(2)
    for start in range(0, len(sides[0]), _BLOCK_ROWS):
        part = sides[0][start : start + _BLOCK_ROWS]
        distances = distance_matrix(bank.features[part], bank.features[sides[1]], metric)
        same = bank.identities[part][:, None] == bank.identities[sides[1]]
        for slot, mask in enumerate((same, ~same)):
            sums[slot] += distances.sum(where=mask, dtype=np.float64)
            counts[slot] += np.count_nonzero(mask)
    if not counts.all() or sums[1] <= 0:
        return float("nan")
    return float((sums[0] / counts[0]) / (sums[1] / counts[1]))


def _trial_distances(bank: Bank, trials: Sequence[Trial], metric: str) -> Iterator[NDArray[Any]]:
    """One matrix per trial; where the queries stay the same, all galleries' union is compared once."""
    query = trials[0].query
    union = np.unique(np.concatenate([trial.gallery for trial in trials]))
    same = all(np.array_equal(trial.query, query) for trial in trials)
    if same and len(trials) > 1 and len(query) * len(union) <= _SHARED_ELEMENTS:
        shared = distance_matrix(bank.features[query], bank.features[union], metric)
        for trial in trials:
            yield shared[:, np.searchsorted(union, trial.gallery)]
    else:
        for trial in trials:
            yield distance_matrix(bank.features[trial.query], bank.features[trial.gallery], metric)


def _score(bank: Bank, trial: Trial, setting: Setting, distances: NDArray[Any]) -> Scores:
    metrics = rank_metrics(
        distances,
        bank.identities[trial.query],
        bank.identities[trial.gallery],
        bank.cameras[trial.query],
        bank.cameras[trial.gallery],
        setting.protocol,
        cmc_level=setting.level,
    )
    size = distances.shape
    return Scores(metrics.mean_ap, metrics.mean_inp, metrics.cmc, size[0], size[1], metrics.valid)


def _unit(features: NDArray[Any]) -> NDArray[Any]:
    norm = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(norm > 0, norm, 1)
