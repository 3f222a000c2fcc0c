"""Alignment: do the edges of the output lie where the input's edges lie, and are they as strong?

    A(x, y) = Pearson correlation over pixels of  |S * x|  and  |S * y|

S: the Sobel operators along both axes, |.| the length of the gradient. 1: the same edges; 0: unrelated. An edge that
exists in one spectrum only lowers it as well: the true infrared view has less than 1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))


def alignment(first: Tensor, second: Tensor) -> Tensor:
    """Two [N,1,H,W] with sides of at least 3 -> [N] in [-1, 1]; 0 where one of the two has no edges."""
    a, b = (edges(image).flatten(1) for image in (first, second))
    a, b = (x - x.mean(dim=1, keepdim=True) for x in (a, b))
    scale = a.square().sum(dim=1).sqrt() * b.square().sum(dim=1).sqrt()
    return (a * b).sum(dim=1) / scale.clamp(min=1e-12)


def edges(image: Tensor) -> Tensor:
    """Gradient lengths [N,1,H-2,W-2] of [N,1,H,W]."""
    across = torch.tensor(_SOBEL, dtype=image.dtype, device=image.device)
    kernels = torch.stack([across, across.T])[:, None]
    return F.conv2d(image, kernels).square().sum(dim=1, keepdim=True).sqrt()
