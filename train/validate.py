"""Metrics of both directions: on held-out training identities, by which a run chooses its best model, or on others."""

from __future__ import annotations

import numpy as np

from eval.evaluate import evaluate_settings
from eval.protocols import Setting
from mtrl.data.imageset import ImageSet
from mtrl.models.reid import MTRL

DIRECTIONS = ("ir2vis", "vis2ir")


def held_out_metrics(model: MTRL, images: ImageSet, protocol: str) -> tuple[float, dict[str, float]]:
    """(mean mAP of both directions, what is logged: mAP and rank-1 of each direction and the modality gap)."""
    values, gaps = {}, []
    for done in evaluate_settings(model, images, [Setting(protocol, direction) for direction in DIRECTIONS]):
        direction, metrics = done.report.setting.direction, done.report.mean
        values[f"map_{direction}"] = metrics["map"]
        values[f"rank1_{direction}"] = metrics["cmc"]["1"]
        gaps.append(done.report.modality_gap)
    score = (values["map_ir2vis"] + values["map_vis2ir"]) / 2
    return score, values | {"modality_gap": float(np.mean(gaps))}
