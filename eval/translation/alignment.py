"""Alignment: whether the edges of the output lie where the input's edges lie, and are as strong.

    A(x, y) = Pearson correlation over pixels of  |S * x|  and  |S * y|

S    Sobel operators along both axes
|.|  length of the gradient

1 means the same edges, 0 unrelated ones. An edge that exists only in one spectrum lowers it too, so that even the true
infrared view has less than 1.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))


def alignment(first: Tensor, second: Tensor) -> Tensor:
    """A of two image batches [N,1,H,W], H and W at least 3 -> [N] in [-1, 1]; 0 if one of the images has no edges."""
    a, b = (edges(image).flatten(1) for image in (first, second))
    a, b = (x - x.mean(dim=1, keepdim=True) for x in (a, b))
    scale = a.square().sum(dim=1).sqrt() * b.square().sum(dim=1).sqrt()
    return (a * b).sum(dim=1) / scale.clamp(min=1e-12)


def edges(image: Tensor) -> Tensor:
    """Images [N,1,H,W] -> lengths of their Sobel gradients [N,1,H-2,W-2]."""
    across = torch.tensor(_SOBEL, dtype=image.dtype, device=image.device)
    kernels = torch.stack([across, across.T])[:, None]
    return F.conv2d(image, kernels).square().sum(dim=1, keepdim=True).sqrt()
