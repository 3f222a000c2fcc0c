"""Input and output of the augmentation: which images a batch is cut from, and how its values are scaled."""

from __future__ import annotations

import dataclasses

from torch import Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Selection:
    """B images chosen from an array.

    images  uint8 (255 is white) or float32 (1 is white)
            for `batched`: [N,3,H,W + 2 pad] on any device, made by `pad_columns`
            for `per_image`: contiguous [N,H,W,3] on the CPU, which may be a memory map
    rows    int64 [B], on the CPU, which of them
    """

    images: Tensor
    rows: Tensor


@dataclasses.dataclass(frozen=True)
class Scale:
    """Normalisation: output = (input - mean) / std for each of R, G, B. By default it changes nothing."""

    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
