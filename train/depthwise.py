"""Depthwise convolutions of a training on a CPU, where torch (2.14) has two slow ones.

- In bfloat16 their backward pass is ten times slower than in float32, while all other convolutions gain.
  EfficientNet-Lite0, 96 images of 128 x 64, one thread of an EPYC: 2.15 s a step in bfloat16, 1.56 s in float32,
  1.05 s so.
- With a kernel larger than the map, as 5 x 5 on the 3 x 2 places that 96 x 48 pixels end in, it is two to three times
  slower than on a map that was padded before (a processor with AVX2).
"""

from __future__ import annotations

import functools
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def faster_depthwise(model: nn.Module, precision: str) -> None:
    """Changes how the depthwise convolutions of `model` compute; what they compute, parameters and names stay.

    precision  of the training; with "bf16" they leave autocast and compute in float32
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            module.__class__ = _faster(type(module), precision == "bf16")  # type: ignore[arg-type]


@functools.cache
def _faster(base: type[nn.Conv2d], float32: bool) -> type[nn.Conv2d]:
    class Depthwise(base):  # type: ignore[misc, valid-type]
        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast(x.device.type, enabled=False) if float32 else nullcontext():
                y = x.float() if float32 else x
                y = self._padded(y) if base is nn.Conv2d and self._larger_than(y) else super().forward(y)
            return y.to(x.dtype)

        def _larger_than(self, x: Tensor) -> bool:
            """Whether the kernel is higher or wider than the map [N, C, H, W], and zeros are put around the map."""
            height, width = self.kernel_size
            larger = height > x.shape[2] or width > x.shape[3]
            return larger and self.padding_mode == "zeros" and isinstance(self.padding, tuple)

        def _padded(self, x: Tensor) -> Tensor:
            height, width = self.padding
            x = F.pad(x, (width, width, height, height))
            return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)

    return Depthwise
