"""The random choices for one batch: where each image is cropped, how its colours change, what is erased.

`draw_plan` draws all of them from one generator. The modules `batched` and `per_image` apply them to images.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from torch import Tensor

from mtrl.models.config import IMAGENET_MEAN
from mtrl.translate.photometric import LUMA, draw_seed

CHANNEL_MODES = ("none", "exchange", "adapt", "adapt_gray", "mix", "blend", "grey")
ERASE_FILLS = ("mean", "random")
ERASE_TRIES = 10


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """Settings of the augmentation. Probabilities are per image; 0 switches a step off.

    pad                   largest shift of the crop, in pixels, in each direction (borders are repeated)
    flip                  probability of mirroring left and right
    erase                 probability of erasing a box. Its area, as a share of the image, is uniform in `erase_area`;
                          its height / width is log-uniform in `erase_aspect`
    erase_fill            colour of the box: "mean": the colour `mean`; "random": one random colour per image
    mean                  RGB in [0, 1]: the mean of the model's normalisation, so that an erased box becomes 0
    channel               colour change of visible images, applied with probability `channel_prob`:
                          "exchange"   all channels become one of R, G, B
                          "adapt"      one of R, G, B, or unchanged, 1/4 each
                          "adapt_gray" one of R, G, B, 1/4 each, else grey or unchanged, 1/8 each
                          "mix"        all channels become one random convex mixture of R, G, B
                          "blend"      the image is mixed in random proportion with one of its channels
                          "grey"       all channels become the grey of the image
    brightness, contrast  factors uniform in 1 - x .. 1 + x, for every image of either modality
    blur                  probability of a light blur (sigma up to 0.7 pixels)
    noise                 largest standard deviation of grey noise; each image draws its own below it
    """

    pad: int = 4
    flip: float = 0.5
    erase: float = 0.5
    erase_area: tuple[float, float] = (0.02, 0.4)
    erase_aspect: tuple[float, float] = (0.3, 3.3)
    erase_fill: str = "mean"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    channel: str = "none"
    channel_prob: float = 0.5
    brightness: float = 0.0
    contrast: float = 0.0
    blur: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        for name in ("erase_area", "erase_aspect", "mean"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.pad < 0:
            raise ValueError(f"pad must be at least 0, not {self.pad}")
        for name in ("flip", "erase", "channel_prob", "brightness", "contrast", "blur", "noise"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], not {getattr(self, name)}")
        if not 0 < self.erase_area[0] <= self.erase_area[1] <= 1:
            raise ValueError(f"erase_area must be two shares in (0, 1], smaller first, not {self.erase_area}")
        if not 0 < self.erase_aspect[0] <= self.erase_aspect[1]:
            raise ValueError(
                f"erase_aspect must be two positive ratios, smaller first, not {self.erase_aspect}"
            )
        if self.erase_fill not in ERASE_FILLS:
            raise ValueError(f"erase_fill must be one of {ERASE_FILLS}, not {self.erase_fill!r}")
        if len(self.mean) != 3 or not all(0 <= value <= 1 for value in self.mean):
            raise ValueError(f"mean must be three values in [0, 1], not {self.mean}")
        if self.channel not in CHANNEL_MODES:
            raise ValueError(f"channel must be one of {CHANNEL_MODES}, not {self.channel!r}")


@dataclasses.dataclass(frozen=True, eq=False)
class Geometry:
    """Where each of B outputs is cut out, and what is erased in it. All tensors are on the CPU.

    top       int64 [B], the first source row, counted in images with `pad` more rows above and below
    left      int64 [B], the first source column, counted in images with `pad` more columns on either side
    mirrored  int64 [M], which outputs are mirrored
    boxes     one (output, top, left, height, width) per erased box
    fill      float [B,3], the colour of the boxes
    """

    top: Tensor
    left: Tensor
    mirrored: Tensor
    boxes: tuple[tuple[int, int, int, int, int], ...]
    fill: Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Colours:
    """How the colours of B images change; None for a change that is switched off. All tensors are on the CPU.

    matrices  float [B,3,3], see `mtrl.translate.photometric.mix_channels`
    levels    float [2,B], brightness and contrast of `mtrl.translate.photometric.jitter`
    blur      float [B], the amount of `mtrl.translate.photometric.soft_blur`
    noise     float [B], the standard deviation of `mtrl.translate.photometric.grey_noise`
    seed      seed of that noise
    """

    matrices: Tensor | None = None
    levels: Tensor | None = None
    blur: Tensor | None = None
    noise: Tensor | None = None
    seed: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Draw:
    """The changes of all visible, transition or infrared images of a batch: first crops, then colours, then boxes."""

    geometry: Geometry
    colours: Colours


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """The random choices for one batch. A transition image has the geometry of its visible image, and its own colours.

    pad  as in `AugmentConfig`; positions of the geometry are in images with `pad` more pixels on every side
    """

    visible: Draw
    infrared: Draw
    transition: Draw | None
    pad: int

    @property
    def blur_or_noise(self) -> bool:
        """Whether any image may be blurred or noisy."""
        return self.visible.colours.blur is not None or self.visible.colours.noise is not None


def draw_plan(
    config: AugmentConfig,
    visible: int,
    infrared: int,
    size: tuple[int, int],
    generator: torch.Generator,
    transition: bool = False,
) -> Plan:
    """Draws the plan of a batch.

    visible, infrared  numbers of images
    size               (height, width) of the images in pixels
    generator          on the CPU; the same state gives the same plan
    transition         whether there are transition images; the plan of the others does not depend on it
    """
    geometry = _geometry(config, visible, *size, generator), _geometry(config, infrared, *size, generator)
    matrices = _matrices(config, visible, generator)
    first = Draw(geometry[0], dataclasses.replace(_colours(config, visible, generator), matrices=matrices))
    second = Draw(geometry[1], _colours(config, infrared, generator))
    third = Draw(geometry[0], _colours(config, visible, generator)) if transition else None
    return Plan(first, second, third, config.pad)


def _geometry(
    config: AugmentConfig, count: int, height: int, width: int, generator: torch.Generator
) -> Geometry:
    shift = torch.randint(0, 2 * config.pad + 1, (2, count), generator=generator)
    mirrored = torch.rand(count, generator=generator) < config.flip
    fill = torch.tensor(config.mean).expand(count, 3)
    boxes: tuple[tuple[int, int, int, int, int], ...] = ()
    if config.erase > 0:
        boxes = _boxes(config, count, height, width, generator)
        if config.erase_fill == "random":
            fill = torch.rand(count, 3, generator=generator)
    return Geometry(shift[0], shift[1], mirrored.nonzero().flatten(), boxes, fill)


def _boxes(
    config: AugmentConfig, count: int, height: int, width: int, generator: torch.Generator
) -> tuple[tuple[int, int, int, int, int], ...]:
    """One (image, top, left, height, width) for each image that gets a box.

    Several sizes are drawn for each image, and the first that fits is taken. If none fits, the last is cut to fit.
    """
    draws = torch.rand(2, count, ERASE_TRIES, generator=generator).numpy()
    place = torch.rand(3, count, generator=generator).numpy()
    low, high = config.erase_area
    area = (low + (high - low) * draws[0]) * (height * width)
    low, high = map(math.log, config.erase_aspect)
    aspect = np.exp(low + (high - low) * draws[1])
    tall, wide = np.rint(np.sqrt(area * aspect)), np.rint(np.sqrt(area / aspect))
    fits = (tall <= height) & (wide <= width)
    fits[:, -1] = True
    number, first = np.arange(count), fits.argmax(axis=1)
    tall, wide = tall[number, first].clip(1, height), wide[number, first].clip(1, width)
    top = np.floor(place[0] * (height - tall + 1))
    left = np.floor(place[1] * (width - wide + 1))
    table = np.stack([number, top, left, tall, wide], axis=1)[place[2] < config.erase]
    return tuple(map(tuple, table.astype(np.int64).tolist()))


def _matrices(config: AugmentConfig, count: int, generator: torch.Generator) -> Tensor | None:
    """The colour change of visible images, float [count,3,3]; None if it is switched off."""
    if config.channel == "none":
        return None
    matrices = _channel_matrices(config.channel, count, generator)
    applied = torch.rand(count, 1, 1, generator=generator) < config.channel_prob
    return torch.where(applied, matrices, torch.eye(3))


def _colours(config: AugmentConfig, count: int, generator: torch.Generator) -> Colours:
    """Brightness, contrast, blur and noise. The number of random draws does not depend on what is switched on."""
    draws = torch.rand(5, count, generator=generator)
    levels = blur = noise = None
    if config.brightness or config.contrast:
        reach = torch.tensor([[config.brightness], [config.contrast]])
        levels = 1 + (2 * draws[:2] - 1) * reach
    if config.blur > 0:
        blur = draws[2] / 4 * (draws[3] < config.blur)
    if config.noise > 0:
        noise = config.noise * draws[4]
    return Colours(None, levels, blur, noise, draw_seed(generator) if noise is not None else 0)


def _channel_matrices(mode: str, count: int, generator: torch.Generator) -> Tensor:
    """Random colour matrices [count,3,3] of a channel mode. Each row sums to 1."""
    eye = torch.eye(3)
    copies = eye[:, None, :].expand(3, 3, 3)  # copies[c] turns every channel into channel c
    if mode == "mix":
        weights = torch.rand(count, 3, generator=generator) + 1e-6
        return (weights / weights.sum(dim=1, keepdim=True))[:, None, :].expand(count, 3, 3)
    if mode == "blend":
        chosen = copies[torch.randint(3, (count,), generator=generator)]
        return torch.lerp(chosen, eye.expand_as(chosen), torch.rand(count, 1, 1, generator=generator))
    grey = torch.tensor(LUMA).expand(1, 3, 3)
    table = {
        "exchange": copies,
        "grey": grey,
        "adapt": torch.cat([copies, eye[None]]),
        "adapt_gray": torch.cat([copies, copies, grey, eye[None]]),
    }[mode]
    return table[torch.randint(len(table), (count,), generator=generator)]
