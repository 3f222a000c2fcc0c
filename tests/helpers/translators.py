"""A small data set and small settings for trainings of a translator."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from mtrl.data.imageset import ImageSet
from train.translator.settings import TranslatorSettings, parse


def people(identities: int = 6, height: int = 32, width: int = 16) -> ImageSet:
    """Four visible and two infrared images per identity: coloured bars by day, the inverse with grain by night."""
    rng = np.random.default_rng(0)
    kinds = np.tile([0, 0, 0, 0, 1, 1], identities)
    images = np.empty((len(kinds), height, width, 3), np.uint8)
    for row, kind in enumerate(kinds):
        bars = np.repeat(rng.uniform(30, 220, (height // 4, 1, 3)), 4, axis=0)
        if kind:
            bars = 255 - 0.6 * bars.mean(axis=2, keepdims=True) + rng.normal(0, 12, (height, width, 1))
        images[row] = np.clip(np.broadcast_to(bars, (height, width, 3)), 0, 255)
    return ImageSet(
        images,
        np.repeat(np.arange(1, identities + 1), 6),
        np.tile([1, 2, 4, 5, 3, 6], identities),
        kinds.astype(np.uint8),
        tuple(f"{n}.png" for n in range(len(kinds))),
    )


def settings(output: Path, **changes: object) -> TranslatorSettings:
    base = parse(["--size", "tiny", "--device", "cpu", "--precision", "fp32", "--epochs", "2"])
    small = {"image_size": (32, 16), "batch_size": 4, "hold_out": 1, "width": 4, "deep": 8, "log_every": 1}
    terms = {"structure": 0.5, "identity": 5.0}
    return dataclasses.replace(base, **{**small, **terms, "output": str(output), **changes})
