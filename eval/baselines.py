"""What stands beside a model's figures: chance, and features that were never trained on people."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eval.evaluate import Evaluation, evaluate_settings, score_features
from eval.features import Extraction
from eval.protocols import Setting
from eval.report import Report
from mtrl.data.imageset import ImageSet
from mtrl.models.config import ModelConfig
from mtrl.models.pretrained import read_origin
from mtrl.models.reid import MTRL

IMAGENET_BACKBONE = "tf_efficientnet_lite0"
CHANCE_SEEDS = 3
_CHANCE_DIM = 256
_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def beside(
    evaluations: Sequence[Evaluation], images: ImageSet, weights: str | None, how: Extraction
) -> list[Evaluation]:
    """The evaluations with what stands beside them: chance under protocol "clip", since it is high among the few people
    of a clip, and with `weights` ImageNet features, as in `imagenet`.
    """
    settings = [evaluation.report.setting for evaluation in evaluations]
    others: list[dict[str, Report]] = [
        {"chance": chance(evaluation)} if evaluation.report.setting.protocol == "clip" else {}
        for evaluation in evaluations
    ]
    if weights:
        for other, report in zip(others, imagenet(weights, images, settings, how), strict=True):
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
    reports = [score_features(features, evaluation.trials, setting) for features in drawn]
    trials = tuple(scores for report in reports for scores in report.trials)
    gap = float(np.mean([report.modality_gap for report in reports]))
    return dataclasses.replace(evaluation.report, trials=trials, reranked=(), corrupted=(), modality_gap=gap)


def imagenet(
    weights: str | Path, images: ImageSet, settings: Sequence[Setting], how: Extraction
) -> list[Report]:
    """A report per setting for EfficientNet-Lite0's ImageNet features of the images in grey.

    weights  a file of timm's, as `python -m train imagenet` writes it
    Raises FileNotFoundError or ValueError for a file that does not hold them.
    """
    origin = read_origin(weights)
    half = (0.5, 0.5, 0.5)  # what these weights expect, where the file does not say
    height, width = images.images.shape[1:3]
    config = ModelConfig(
        IMAGENET_BACKBONE, (height, width), origin.mean or half, origin.std or half, pooling="avg"
    )
    model = MTRL(config, pretrained=weights).eval()
    return [done.report for done in evaluate_settings(model, _grey(images), settings, how=how)]


def _grey(images: ImageSet) -> ImageSet:
    grey = np.empty(images.images.shape[:3], dtype=np.uint8)
    for row, image in enumerate(images.images):
        grey[row] = np.rint(image @ _LUMINANCE)
    return dataclasses.replace(images, images=np.broadcast_to(grey[..., None], images.images.shape))
