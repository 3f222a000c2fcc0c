"""Corrupted test images, in the manner of SYSU-MM01-C and ImageNet-C: noise, blur, weather and digital faults.

Each image gets one corruption and one of five levels, drawn from (seed, row), so that the same seed gives the same
images. Infrared images get those that a sensor with one channel has: no change of saturation, and noise that is equal
in all three channels. Levels of noise, contrast and compression are those of ImageNet-C; lengths are its own at 224
rows and shrink with the image. Its glass, zoom, snow, frost, spatter and elastic changes are left out.
"""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from mtrl.data.imageset import ImageSet
from mtrl.models.config import Modality

LEVELS = 5
_ROWS = 224  # of the images that the lengths below are for

# image float [3,H,W] in [0,1], level 0 to 4, generator -> image; results may leave [0,1], they are cut off
Corruption = Callable[[Tensor, int, torch.Generator], Tensor]


class CorruptedPixels:
    """Stands for the pixels of an image set, uint8 [N,H,W,3], corrupted when rows are read."""

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(self, images: ImageSet, seed: int) -> None:
        self.images, self.seed = images, seed
        self.shape = images.images.shape

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: NDArray[np.int64] | slice) -> NDArray[np.uint8]:
        chosen = np.arange(len(self))[rows]
        result = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        for place, row in enumerate(chosen):
            result[place] = self._corrupted(int(row))
        return result

    def _corrupted(self, row: int) -> NDArray[np.uint8]:
        seed = int(np.random.SeedSequence((self.seed, row)).generate_state(1)[0])
        generator = torch.Generator().manual_seed(seed)
        name, level = draw(Modality(int(self.images.modalities[row])), generator)
        image = torch.from_numpy(np.array(self.images.images[row])).permute(2, 0, 1).float() / 255
        infrared = self.images.modalities[row] == int(Modality.INFRARED)
        output = corrupt(image, name, level, generator, grey=bool(infrared))
        return output.mul(255).round().byte().permute(1, 2, 0).numpy()


def corrupted(images: ImageSet, seed: int) -> ImageSet:
    """The same set with corrupted pixels; they are made batch by batch and take no memory."""
    pixels: Any = CorruptedPixels(images, seed)
    return dataclasses.replace(images, images=pixels)


def draw(modality: Modality, generator: torch.Generator) -> tuple[str, int]:
    """The name and the level, 1 to 5, of an image's corruption."""
    names = [name for name in CORRUPTIONS if modality == Modality.VISIBLE or name not in COLOUR_ONLY]
    number = int(torch.randint(len(names), (), generator=generator))
    return names[number], 1 + int(torch.randint(LEVELS, (), generator=generator))


def corrupt(image: Tensor, name: str, level: int, generator: torch.Generator, grey: bool = False) -> Tensor:
    """float [3,H,W] in [0,1] -> the same, corrupted; `grey` keeps the channels of a grey image equal.

    Raises ValueError for an unknown name or a level outside 1 to 5.
    """
    if name not in CORRUPTIONS or not 1 <= level <= LEVELS:
        raise ValueError(
            f"a corruption is one of {', '.join(CORRUPTIONS)} at level 1 to 5, not {name} at {level}"
        )
    output = CORRUPTIONS[name](image[:1] if grey else image, level - 1, generator)
    return output.clamp(0, 1).expand_as(image)


def _gaussian_noise(image: Tensor, level: int, generator: torch.Generator) -> Tensor:
    return image + (0.08, 0.12, 0.18, 0.26, 0.38)[level] * torch.randn(image.shape, generator=generator)


def _shot_noise(image: Tensor, level: int, generator: torch.Generator) -> Tensor:
    photons = (60, 25, 12, 5, 3)[level]
    return torch.poisson(image * photons, generator=generator) / photons


def _impulse_noise(image: Tensor, level: int, generator: torch.Generator) -> Tensor:
    share, draws = (0.03, 0.06, 0.09, 0.17, 0.27)[level], torch.rand(image.shape, generator=generator)
    return torch.where(draws < share, (draws < share / 2).to(image.dtype), image)


def _speckle_noise(image: Tensor, level: int, generator: torch.Generator) -> Tensor:
    return image * (1 + (0.15, 0.2, 0.35, 0.45, 0.6)[level] * torch.randn(image.shape, generator=generator))


def _gaussian_blur(image: Tensor, level: int, generator: torch.Generator) -> Tensor:
    sigma = _length(image, (1, 2, 3, 4, 6)[level])
    return tv.gaussian_blur(image, [2 * math.ceil(3 * sigma) + 1] * 2, [sigma] * 2)


def _defocus_blur(image: Tensor, level: int, generator: torch.Generator) -> Tensor:
    radius = _length(image, (3, 4, 6, 8, 10)[level])
    steps = torch.arange(-math.ceil(radius), math.ceil(radius) + 1).float()
    distance = (steps[:, None].square() + steps.square()).sqrt()
    return _filtered(image, (radius + 0.5 - distance).clamp(0, 1))  # a disk with a smooth edge


def _motion_blur(image: Tensor, level: int, generator: torch.Generator) -> Tensor:
    length = max(2.0, _length(image, (10, 15, 15, 20, 25)[level]) * (1, 1, 1.3, 1.2, 1.2)[level])
    angle = (
        (torch.rand((), generator=generator).item() - 0.5) * math.pi / 2
    )  # up to 45 degrees from the horizontal
    half = math.ceil(length / 2)
    steps = torch.arange(-half, half + 1).float()
    along = steps[None, :] * math.cos(angle) + steps[:, None] * math.sin(angle)
    across = steps[:, None] * math.cos(angle) - steps[None, :] * math.sin(angle)
    return _filtered(image, (1 - across.abs()).clamp(min=0) * (along.abs() <= length / 2))


def _fog(image: Tensor, level: int, generator: torch.Generator) -> Tensor:
    density, height, width = (1.5, 2.0, 2.5, 2.5, 3.0)[level], *image.shape[1:]
    cloud = torch.zeros(1, 1, height, width)
    for octave in range(1, 6):  # coarse to fine, each half as strong
        size = min(height, 2**octave + 1), min(width, 2**octave + 1)
        grid = torch.rand(1, 1, *size, generator=generator)
        cloud += F.interpolate(grid, (height, width), mode="bilinear", align_corners=True) / 2**octave
    brightest = image.max()
    return (image + density * cloud[0]) * brightest / (brightest + density)


def _rain(image: Tensor, level: int, generator: torch.Generator) -> Tensor:
    share, light = (0.002, 0.005, 0.01, 0.018, 0.03)[level], (0.96, 0.93, 0.9, 0.86, 0.82)[level]
    drops = (torch.rand(1, *image.shape[1:], generator=generator) < share).float()
    length = max(2, round(_length(image, 24)))
    tilt = torch.rand((), generator=generator).item() - 0.5
    kernel = torch.zeros(2 * length + 1, 2 * length + 1)
    for step in range(length):
        kernel[length + step, length + round(tilt * step)] = 1
    streaks = F.conv2d(drops[None], kernel[None, None], padding=length)[0].clamp(0, 1)
    return light * image * (1 - 0.6 * streaks) + 0.5 * streaks


def _brightness(image: Tensor, level: int, generator: torch.Generator) -> Tensor:
    return image + (0.1, 0.2, 0.3, 0.4, 0.5)[level]


def _contrast(image: Tensor, level: int, generator: torch.Generator) -> Tensor:
    middle = image.mean(dim=(1, 2), keepdim=True)
    return middle + (0.4, 0.3, 0.2, 0.1, 0.05)[level] * (image - middle)


def _pixelate(image: Tensor, level: int, generator: torch.Generator) -> Tensor:
    size = [max(1, round((0.6, 0.5, 0.4, 0.3, 0.25)[level] * length)) for length in image.shape[1:]]
    small = F.interpolate(image[None], size, mode="area")
    return F.interpolate(small, image.shape[1:], mode="nearest")[0]


def _jpeg(image: Tensor, level: int, generator: torch.Generator) -> Tensor:
    pixels = image.clamp(0, 1).mul(255).round().byte().expand(3, -1, -1).permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    whole = Image.fromarray(pixels).convert("RGB" if len(image) == 3 else "L")
    whole.save(buffer, "JPEG", quality=(25, 18, 15, 10, 7)[level])
    decoded = torch.from_numpy(np.array(Image.open(buffer).convert("RGB")))
    return decoded.permute(2, 0, 1)[: len(image)].float() / 255


def _saturate(image: Tensor, level: int, generator: torch.Generator) -> Tensor:
    return tv.adjust_saturation(image, (0.3, 0.1, 2.0, 5.0, 20.0)[level])


def _length(image: Tensor, pixels: float) -> float:
    """A length at 224 rows, in pixels of this image."""
    return pixels * image.shape[1] / _ROWS


def _filtered(image: Tensor, kernel: Tensor) -> Tensor:
    """Each channel convolved with an odd square kernel scaled to sum 1; borders are repeated."""
    half = kernel.shape[0] // 2
    padded = F.pad(image[:, None], [half] * 4, mode="replicate")
    return F.conv2d(padded, (kernel / kernel.sum())[None, None])[:, 0]


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian noise": _gaussian_noise,
    "shot noise": _shot_noise,
    "impulse noise": _impulse_noise,
    "speckle noise": _speckle_noise,
    "gaussian blur": _gaussian_blur,
    "defocus blur": _defocus_blur,
    "motion blur": _motion_blur,
    "fog": _fog,
    "rain": _rain,
    "brightness": _brightness,
    "contrast": _contrast,
    "pixelate": _pixelate,
    "jpeg": _jpeg,
    "saturate": _saturate,
}
COLOUR_ONLY = ("saturate",)
