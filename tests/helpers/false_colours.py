"""Palettes in which thermal cameras show their images: grey [H,W] -> RGB."""

from __future__ import annotations

import numpy as np
from PIL import Image

_KNOTS = {
    "ironbow": (
        (0, 0, 0),
        (32, 0, 140),
        (140, 0, 150),
        (204, 40, 100),
        (240, 110, 20),
        (255, 190, 0),
        (255, 255, 255),
    ),
    "rainbow": (
        (0, 0, 90),
        (0, 60, 255),
        (0, 200, 220),
        (0, 210, 60),
        (240, 240, 0),
        (255, 120, 0),
        (200, 0, 0),
    ),
    "lava": (
        (0, 0, 0),
        (0, 50, 110),
        (90, 60, 140),
        (200, 30, 60),
        (255, 120, 0),
        (255, 220, 60),
        (255, 255, 255),
    ),
    "arctic": ((20, 20, 160), (0, 110, 240), (0, 210, 230), (120, 150, 160), (230, 170, 60), (255, 210, 40)),
    "hot": ((10, 0, 0), (150, 0, 0), (255, 40, 0), (255, 170, 0), (255, 255, 60), (255, 255, 255)),
}
PALETTES = tuple(_KNOTS)


def false_coloured(image: Image.Image, palette: str) -> Image.Image:
    knots = np.array(_KNOTS[palette], float)
    place = np.linspace(0, 255, len(knots))
    table = np.stack([np.interp(np.arange(256), place, knots[:, c]) for c in range(3)], 1).astype(np.uint8)
    return Image.fromarray(table[np.asarray(image.convert("L"))])
