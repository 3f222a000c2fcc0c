"""What stands beside a model's figures: chance, and features that were never trained on people."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from eval.evaluate import Evaluation, evaluate_settings, score_features
from eval.features import Extraction
from eval.protocols import Permutations, Setting
from eval.report import Report
from mtrl.data.imageset import ImageSet
from mtrl.models.config import ModelConfig
from mtrl.models.pretrained import read_origin
from mtrl.models.reid import MTRL

IMAGENET_BACKBONE = "tf_efficientnet_lite0"
CHANCE_SEEDS = 3
_CHANCE_DIM = 256
_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_BLOCK = 256  # images that are made grey at once


def beside(evaluations: Sequence[Evaluation], reports: Sequence[Report]) -> list[Evaluation]:
    """The evaluations with what stands beside them: chance under protocol "clip", since it is high among the few people
    of a clip, and the `reports` of `imagenet`, one for each evaluation, if there are any.
    """
    others: list[dict[str, Report]] = [
        {"chance": chance(evaluation)} if evaluation.report.setting.protocol == "clip" else {}
        for evaluation in evaluations
    ]
    for other, report in zip(others, reports, strict=bool(reports)):
        other["ImageNet, grey"] = report
    return [
        dataclasses.replace(evaluation, report=dataclasses.replace(evaluation.report, beside=other))
        for evaluation, other in zip(evaluations, others, strict=True)
    ]


def chance(evaluation: Evaluation) -> Report:
    """The same trials with features drawn at random, a trial for each of three seeds."""
    feature_set, setting = evaluation.feature_set, evaluation.report.setting
    shape = (len(feature_set.features), _CHANCE_DIM)
    drawn = [
        dataclasses.replace(feature_set, features=np.random.default_rng(seed).standard_normal(shape))
        for seed in range(CHANCE_SEEDS)
    ]
    metric = evaluation.report.distance
    reports = [score_features(features, evaluation.trials, setting, metric) for features in drawn]
    trials = tuple(scores for report in reports for scores in report.trials)
    gap = float(np.mean([report.modality_gap for report in reports]))
    return dataclasses.replace(evaluation.report, trials=trials, reranked=(), corrupted=(), modality_gap=gap)


def imagenet(
    weights: str | Path,
    images: ImageSet,
    settings: Sequence[Setting],
    how: Extraction,
    *,
    metric: str = "cosine",
    permutations: Permutations | None = None,
    device: torch.device | str = "cpu",
) -> list[Report]:
    """A report per setting for EfficientNet-Lite0's ImageNet features of the images in grey.

    weights  a file of timm's, as `python -m train imagenet` writes it. `metric` and `permutations` as in
             `evaluate_settings`
    Raises FileNotFoundError or ValueError for a file that does not hold them.
    """
    origin = read_origin(weights)
    half = (0.5, 0.5, 0.5)  # what these weights expect, where the file does not say
    height, width = images.images.shape[1:3]
    config = ModelConfig(
        IMAGENET_BACKBONE, (height, width), origin.mean or half, origin.std or half, pooling="avg"
    )
    model = MTRL(config, pretrained=weights).to(device).eval()
    grey = _grey(images)
    done = evaluate_settings(model, grey, settings, how=how, metric=metric, permutations=permutations)
    return [evaluation.report for evaluation in done]


def _grey(images: ImageSet) -> ImageSet:
    grey = np.empty(images.images.shape[:3], dtype=np.uint8)
    for start in range(0, len(grey), _BLOCK):
        grey[start : start + _BLOCK] = np.rint(images.images[start : start + _BLOCK] @ _LUMINANCE)
    return dataclasses.replace(images, images=np.broadcast_to(grey[..., None], images.images.shape))
