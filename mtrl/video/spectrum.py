"""Tells infrared images from colour photographs: grey ones, and thermal ones in false colours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mtrl.models.config import Modality

_GREY = 0.02  # mean spread between the channels, of 1


def detect_modality(image: Image.Image | NDArray[np.uint8]) -> Modality:
    """Infrared if the channels are nearly equal everywhere, else visible.

    Compression leaves a little colour in a grey image, and a few coloured pixels (a time stamp) do not make
    an image visible, so the mean spread between channels decides, at low resolution.
    """
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    pixels = np.asarray(image.convert("RGB").resize((48, 96), Image.Resampling.BOX), dtype=np.float32) / 255
    spread = pixels.max(axis=2) - pixels.min(axis=2)
    return Modality.INFRARED if spread.mean() < _GREY else Modality.VISIBLE
