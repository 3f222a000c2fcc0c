"""Decodes one image file to an array of a given size: the form in which the image cache stores it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mtrl.files.images import read_image
from mtrl.files.levels import ValueRange


def decode(path: Path, size: tuple[int, int], value_range: ValueRange | None = None) -> NDArray[np.uint8]:
    """An image file as RGB, upright, uint8 [H,W,3], resized to `size` = (H, W) by antialiased bilinear interpolation.

    Raises as `read_image`.
    """
    image = read_image(path, value_range=value_range)
    if image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(image)
