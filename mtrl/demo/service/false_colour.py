"""Infrared images that were coloured afterwards: heat palettes, green night vision, a scale beside the image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE = (48, 96)
LEVELS = 24  # of brightness
MOST_SCATTER = 0.2
GLARING = 0.48  # mean difference of the channels that photographs do not reach
GREY = 0.06  # difference of the channels that compression leaves in a grey image
EDGE = 0.2  # share of the width or height that a scale takes at most

Array = NDArray[Any]


def coloured_later(image: Image.Image) -> bool:
    """Whether an image with colour looks like an infrared one that was given false colours.

    A palette gives each brightness one colour, so colours scatter little among pixels of one brightness; palettes that
    return to a brightness, such as rainbows, are more glaring than photographs. A grey image with colours in a strip at
    its edge has a scale beside it.
    """
    small = image.convert("RGB").resize(SIZE, Image.Resampling.BOX)
    pixels = np.asarray(small, dtype=np.float32) / 255
    spread = pixels.max(axis=2) - pixels.min(axis=2)
    return bool(_scatter(pixels) < MOST_SCATTER or spread.mean() > GLARING or _has_scale(spread > GREY))


def _scatter(pixels: Array) -> float:
    """How much the colours of one brightness differ, as a share of all colour; 0 for a palette, about 0.5 otherwise."""
    flat = pixels.reshape(-1, 3)
    brightness = flat @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    colour = flat - brightness[:, None]
    level = np.minimum((brightness * LEVELS).astype(int), LEVELS - 1)
    within = sum(
        float(((c - c.mean(axis=0)) ** 2).sum()) for c in (colour[level == n] for n in np.unique(level))
    )
    return float(np.sqrt(within / max(float((colour**2).sum()), 1e-9)))


def _has_scale(coloured: Array) -> bool:
    """Whether nearly all coloured pixels [H,W] lie in a strip along one edge."""
    for lines in (coloured, coloured[:, ::-1], coloured.T, coloured.T[:, ::-1]):
        strip = round(EDGE * lines.shape[1])
        if lines[:, :strip].mean() > 0.3 and lines[:, strip:].mean() < 0.02:
            return True
    return False
