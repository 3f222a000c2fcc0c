"""Evaluation of a model on an image set, from within a program. Nothing is printed here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eval.features import Extraction, extract
from eval.protocols import Permutations, Setting, Trial, make_trials
from eval.report import Report
from eval.score import DISTANCES, FeatureSet, modality_gap, score_reranked, score_trials
from mtrl.data.imageset import ImageSet
from mtrl.models.reid import MTRL


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """A report with what it was computed from: features, and trials as rows of the feature set."""

    report: Report
    feature_set: FeatureSet
    trials: tuple[Trial, ...]


def evaluate(
    model: MTRL,
    images: ImageSet,
    protocol: str = "sysu",
    direction: str = "ir2vis",
    trials: int = 10,
    *,
    rows: NDArray[np.int64] | None = None,
    mode: str = "all",
    shots: int = 1,
    batch_size: int = 64,
    bf16: bool = False,
    progress: bool = False,
) -> Report:
    """The report of one setting, with features after the neck and cosine distance.

    rows  evaluate these rows of the set only, e.g. those of held-out training identities; None: all
    The model's mode and device stay as they are. Raises ValueError for a setting that does not exist or a set
    that cannot be evaluated in it.
    """
    setting = Setting(protocol, direction, mode, shots, trials=trials)
    how = Extraction(batch_size=batch_size, bf16=bf16, progress=progress)
    return evaluate_settings(model, images, [setting], rows=rows, how=how)[0].report


def evaluate_settings(
    model: MTRL,
    images: ImageSet,
    settings: Sequence[Setting],
    *,
    rows: NDArray[np.int64] | None = None,
    how: Extraction | None = None,
    metric: str = "cosine",
    rerank: str | None = None,
    permutations: Permutations | None = None,
) -> list[Evaluation]:
    """Several settings (both directions, say) on features that are computed once.

    Each image that any trial of any setting needs is encoded exactly once. Arguments and errors as in `evaluate`;
    `metric` "cosine" | "euclidean" compares features, `rerank` "paper" | "released" adds metrics after k-reciprocal
    re-ranking by that variant, `permutations` are for the official gallery.
    """
    how = how or Extraction()
    if metric not in DISTANCES:
        raise ValueError(f"distance must be one of {', '.join(DISTANCES)}, not {metric!r}")
    subset = np.arange(len(images)) if rows is None else np.asarray(rows, dtype=np.int64)
    identities, cameras = images.identities[subset], images.cameras[subset]
    modalities = images.modalities[subset]
    subsets = None if images.subsets is None else images.subsets[subset]
    drawn = [
        make_trials(identities, cameras, modalities, setting, permutations, subsets) for setting in settings
    ]
    needed = _used([trial for trials in drawn for trial in trials])
    position = np.full(len(subset), -1, dtype=np.int64)
    position[needed] = np.arange(len(needed))
    features = extract(model, images, subset[needed], how)
    feature_set = FeatureSet(
        features, identities[needed], cameras[needed], modalities[needed], subset[needed]
    )
    result = []
    for setting, trials in zip(settings, drawn, strict=True):
        placed = [Trial(position[trial.query], position[trial.gallery]) for trial in trials]
        report = score_features(feature_set, placed, setting, metric, rerank)
        report = dataclasses.replace(report, feature=how.feature, flip=how.flip)
        result.append(Evaluation(report, feature_set, tuple(placed)))
    return result


def score_features(
    feature_set: FeatureSet,
    trials: Sequence[Trial],
    setting: Setting,
    metric: str = "cosine",
    rerank: str | None = None,
) -> Report:
    """The report of trials that hold rows of the feature set. `metric` and `rerank` as in `evaluate_settings`."""
    return Report(
        setting,
        score_trials(feature_set, trials, setting, metric),
        score_reranked(feature_set, trials, setting, metric, rerank) if rerank else (),
        modality_gap=modality_gap(feature_set, trials, metric),
        distance=metric,
        rerank=rerank,
    )


def _used(trials: Sequence[Trial]) -> NDArray[np.int64]:
    return np.unique(np.concatenate([rows for trial in trials for rows in (trial.query, trial.gallery)]))
