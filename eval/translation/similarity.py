"""Similarity to the true infrared image: PSNR by pixels, SSIM by windows.

    PSNR = 10 log10( 1 / mean (x - y)^2 )

    SSIM = mean over windows of  (2 mx my + c1) (2 sxy + c2) / ((mx^2 + my^2 + c1) (sx^2 + sy^2 + c2))

mx, my      means in a window
sx^2, sy^2  variances in a window; sxy is the covariance
c1, c2      0.01^2 and 0.03^2, for values in [0, 1]

SSIM is that of Wang et al. 2004, with a Gaussian window of 11 x 11 pixels and deviation 1.5. Only windows that lie
within the image count.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW, DEVIATION = 11, 1.5
C1, C2 = 0.01**2, 0.03**2


def psnr(first: Tensor, second: Tensor) -> Tensor:
    """PSNR of two image batches [N,1,H,W] in [0, 1] -> [N] decibels, at most 100, which equal images get."""
    error = (first - second).square().mean(dim=(1, 2, 3))
    return -10 * torch.log10(error.clamp(min=1e-10))


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """SSIM of two image batches [N,1,H,W] in [0, 1], H and W at least 11 -> [N]; 1 for equal images."""
    mean_a, mean_b = _window(first), _window(second)
    var_a = _window(first * first) - mean_a * mean_a
    var_b = _window(second * second) - mean_b * mean_b
    both = _window(first * second) - mean_a * mean_b
    top = (2 * mean_a * mean_b + C1) * (2 * both + C2)
    return (top / ((mean_a**2 + mean_b**2 + C1) * (var_a + var_b + C2))).mean(dim=(1, 2, 3))


def _window(image: Tensor) -> Tensor:
    """Gaussian-weighted means of images [N,1,H,W] over all windows within them -> [N,1,H-10,W-10]."""
    x = torch.arange(WINDOW, dtype=image.dtype, device=image.device) - WINDOW // 2
    weights = torch.exp(-x.square() / (2 * DEVIATION**2))
    weights = weights / weights.sum()
    return F.conv2d(F.conv2d(image, weights[None, None, :, None]), weights[None, None, None, :])
