"""Images of noise as the content of a file, each another by its number."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def picture(number: int, colour: bool = False) -> bytes:
    """A PNG of 30 x 60 pixels, grey or in colour."""
    shape = (60, 30, 3) if colour else (60, 30)
    noise = np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    return buffer.getvalue()
