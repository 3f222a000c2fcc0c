"""Brightness, colour, blur and noise for batches of images, each image with its own parameters.

Images are float [B,3,H,W] in [0, 1]. Parameters are tensors [B] (or [B,3,3]) on the same device.
"""

from __future__ import annotations

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def mix_channels(images: Tensor, matrices: Tensor) -> Tensor:
    """Mixes colour channels: output channel i of image b is sum_j matrices[b,i,j] x input channel j.

    Each row of a matrix must be non-negative and sum to 1. The sum is written out, since a matrix product may have
    reduced precision on a GPU, but a copied channel must stay exact.
    """
    columns = matrices.to(images.dtype)[:, :, :, None, None].unbind(dim=2)
    red, green, blue = (columns[j] * images[:, j : j + 1] for j in range(3))
    return (red + green + blue).clamp(0, 1)


def jitter(images: Tensor, brightness: Tensor, contrast: Tensor) -> Tensor:
    """Changes brightness and contrast: brightness x (mean + contrast x (image - mean)), clamped to [0, 1].

    brightness, contrast  factors [B]; the mean is that of the whole image
    """
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    gain, spread = _per_image(brightness, images), _per_image(contrast, images)
    return (gain * torch.lerp(mean, images, spread)).clamp(0, 1)


def soft_blur(images: Tensor, amount: Tensor) -> Tensor:
    """Blurs by the weights (a, 1-2a, a) along each axis, with repeated borders.

    amount  a [B] in [0, 1/4]; the blur has sigma = sqrt(2a) pixels
    """
    share = _per_image(amount, images)
    for axis in (2, 3):
        length = images.shape[axis]
        first, last = images.narrow(axis, 0, 1), images.narrow(axis, length - 1, 1)
        before = torch.cat([first, images.narrow(axis, 0, length - 1)], dim=axis)
        after = torch.cat([images.narrow(axis, 1, length - 1), last], dim=axis)
        images = torch.lerp(images, (before + after) / 2, 2 * share)
    return images


def grey_noise(images: Tensor, std: Tensor, seed: int) -> Tensor:
    """Adds Gaussian noise to images [B,C,H,W], the same in all channels, and clamps to [0, 1].

    std  standard deviation [B] of the noise
    """
    generator = torch.Generator(images.device).manual_seed(seed)
    shape = (len(images), 1, *images.shape[2:])
    noise = torch.randn(shape, generator=generator, device=images.device, dtype=torch.float32)
    return (images + noise.to(images.dtype) * _per_image(std, images)).clamp(0, 1)


def draw_seed(generator: torch.Generator) -> int:
    """Draws a seed for `grey_noise` from a CPU generator, so that the noise can be drawn on the images' device."""
    return int(torch.randint(2**62, (), generator=generator))


def _per_image(values: Tensor, images: Tensor) -> Tensor:
    return values.to(images.dtype).view(-1, 1, 1, 1)
