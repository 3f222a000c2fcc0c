"""Encodes images of both spectra in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mtrl.files.levels import ValueRange
from mtrl.models.config import Modality

if TYPE_CHECKING:
    from mtrl.models.reid import MTRL


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
    result = torch.empty(len(images), model.dim)
    for modality in Modality:
        rows = [row for row, value in enumerate(modalities) if value is modality]
        if rows:
            some = images[rows] if isinstance(images, Tensor) else [images[row] for row in rows]
            if encode is None:
                result[rows] = model.encode(some, modality, batch_size, value_range=value_range)
            else:
                result[rows] = encode(some, modality, batch_size, value_range)
    return result
