"""The spectra of images: infrared ones told from colour photographs, and each encoded in its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mtrl.files.levels import ValueRange
from mtrl.models.config import Modality

if TYPE_CHECKING:
    from mtrl.models.reid import MTRL

_COLOUR = (
    0.004  # mean colour, of 1, that the brightness does not explain; real colour crops have 0.008 and more
)
_FALSE_SPREAD, _FALSE_SATURATION = 0.27, 0.35  # false colours have more of both, all over the image
_STAMPED = 0.05  # share of the pixels that may have any colour: a time stamp


def detect_modality(image: Image.Image | NDArray[np.uint8]) -> Modality:
    """Infrared if the image has no colour but an even tint, or the strong ones of a thermal palette; else visible.

    image: PIL, or uint8 [H,W,3]. Decided at low resolution, where compression leaves little: a tint, and colours that
    follow the brightness, are subtracted; a few coloured pixels (a time stamp) do not count. Palettes of one hue
    (green, copper, "bone") are taken for colour, and a black-and-white photograph for infrared.
    """
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    small = image.convert("RGB").resize((48, 96), Image.Resampling.BOX)
    pixels = np.asarray(small, dtype=np.float32).reshape(-1, 3) / 255
    light = np.asarray(pixels @ np.array([0.299, 0.587, 0.114], np.float32), dtype=np.float32)
    tints = [
        _unexplained(np.asarray(pixels[:, channel] - light, dtype=np.float32), light) for channel in (0, 2)
    ]
    left = np.hypot(*tints)
    if np.sort(left)[: int(len(left) * (1 - _STAMPED))].mean() < _COLOUR:
        return Modality.INFRARED
    strongest = pixels.max(axis=1)
    spread = strongest - pixels.min(axis=1)
    saturation = spread / np.maximum(strongest, 0.1)
    false_colours = spread.mean() > _FALSE_SPREAD and np.median(saturation) > _FALSE_SATURATION
    return Modality.INFRARED if false_colours else Modality.VISIBLE


def _unexplained(colour: NDArray[Any], light: NDArray[Any]) -> NDArray[Any]:
    """Colour less its median and what is proportional to the brightness, by all pixels but the most coloured ones.

    [N], [N] -> [N].
    """
    colour = colour - np.median(colour)
    strength = np.abs(colour)
    usual = strength <= np.quantile(strength, 1 - _STAMPED)
    light = light - light[usual].mean()
    slope = float(colour[usual] @ light[usual]) / max(float(light[usual] @ light[usual]), 1e-3)
    return colour - slope * light


def encode_each(
    model: MTRL,
    images: Sequence[Any] | Tensor,
    modalities: Sequence[Modality],
    batch_size: int = 64,
    value_range: ValueRange | None = None,
    encode: Callable[..., Tensor] | None = None,
) -> Tensor:
    """`MTRL.encode` of images with a spectrum each -> float32 [N,D], in input order.

    encode  called as (images, modality, batch_size, value_range) in place of `model.encode`
    """

    def plain(images: Any, one: Modality, batch_size: int, limits: ValueRange | None) -> Tensor:
        return model.encode(images, one, batch_size, value_range=limits)

    encode = encode or plain
    if len(set(modalities)) == 1:
        return encode(images, modalities[0], batch_size, value_range)
    result = torch.empty(len(images), model.dim)
    for modality in Modality:
        rows = [row for row, value in enumerate(modalities) if value is modality]
        if rows:
            some = images[rows] if isinstance(images, Tensor) else [images[row] for row in rows]
            result[rows] = encode(some, modality, batch_size, value_range)
    return result
