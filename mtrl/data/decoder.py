"""One image file to an array of a given size: what the cache of decoded images holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mtrl.images import read_image


def decode(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] of a file: RGB, upright, antialiased bilinear. Raises as `read_image`."""
    image = read_image(path)
    if image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(image)
