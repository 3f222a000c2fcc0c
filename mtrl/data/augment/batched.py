"""Augmentation of whole batches: every image draws its own, a visible image and its transition alike."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from torch import Tensor

from mtrl.models.config import IMAGENET_MEAN
from mtrl.translate.interface import check_images
from mtrl.translate.photometric import LUMA, draw_seed, grey_noise, jitter, mix_channels, soft_blur

CHANNEL_MODES = ("none", "exchange", "adapt", "adapt_gray", "mix", "blend")
ERASE_FILLS = ("mean", "random")
ERASE_TRIES = 10


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """What `PairedAugment` does. Probabilities are per image; 0 switches a step off.

    pad                   pixels by which the crop may shift in each direction (borders are repeated)
    flip                  probability of mirroring left and right
    erase                 probability of erasing a box; its area is a share of the image, uniform in
                          `erase_area`, its height / width log-uniform in `erase_aspect`
    erase_fill            "mean": the colour `mean`; "random": one random colour per image
    mean                  RGB in [0, 1]: the mean of the model's normalisation, which makes an erased box 0
    channel               colour of visible images, applied with probability `channel_prob`:
                          "exchange"   all channels become one of R, G, B
                          "adapt"      one of R, G, B, or unchanged, 1/4 each
                          "adapt_gray" one of R, G, B, 1/4 each, else grey or unchanged, 1/8 each
                          "mix"        all channels become one random convex mixture of R, G, B
                          "blend"      the image is mixed in random proportion with one of its channels
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
    """Where each of B outputs is cut out, and what is erased in it. On the CPU, where it was drawn.

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
class Plan:
    """The geometry of one batch; a visible image and its transition share theirs."""

    visible: Geometry
    infrared: Geometry


class PairedAugment:
    """Augments visible images, their transitions and infrared images, on whatever device they are.

    A visible image and its transition share crop, mirroring and erased box; their photometric changes are
    drawn apart. The draws of visible and infrared images do not depend on whether there are transitions.

    All at once: call it. In steps, so that pixels are moved while they are bytes: `draw`, `crop`, `colour_`.
    """

    def __init__(self, config: AugmentConfig) -> None:
        self.config = config

    def __call__(
        self, visible: Tensor, transition: Tensor | None, infrared: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Float [N,3,H,W] (twice) and [M,3,H,W] in [0, 1] -> the same shapes, dtypes and range.

        `generator` lives on the CPU; the same state gives the same images. Raises ValueError for integer
        images, other shapes, or transitions that do not match the visible images.
        """
        check_images(visible)
        check_images(infrared)
        if transition is not None:
            check_images(transition)
            if transition.shape != visible.shape:
                raise ValueError(
                    f"transition {list(transition.shape)} must match visible {list(visible.shape)} in shape"
                )
        plan = self.draw(visible.shape, infrared.shape, generator)

        def move(images: Tensor, geometry: Geometry) -> Tensor:
            padded = pad_columns(images, self.config.pad)
            return crop(padded, images.shape[3], torch.arange(len(images)), geometry)

        moved = None if transition is None else move(transition, plan.visible)
        return self.colour_(
            move(visible, plan.visible), moved, move(infrared, plan.infrared), plan, generator
        )

    def draw(self, visible: tuple[int, ...], infrared: tuple[int, ...], generator: torch.Generator) -> Plan:
        """Crops, mirrorings and boxes for batches of these shapes [N,3,H,W]."""
        return Plan(self._draw_geometry(visible, generator), self._draw_geometry(infrared, generator))

    def colour_(
        self,
        visible: Tensor,
        transition: Tensor | None,
        infrared: Tensor,
        plan: Plan,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Colours of images that are already moved, then their erased boxes. May work in place."""
        visible = _erase_(self._photometric(self._channels(visible, generator), generator), plan.visible)
        infrared = _erase_(self._photometric(infrared, generator), plan.infrared)
        if transition is not None:
            transition = _erase_(self._photometric(transition, generator), plan.visible)
        return visible, transition, infrared

    def _draw_geometry(self, shape: tuple[int, ...], generator: torch.Generator) -> Geometry:
        count, _, height, width = shape
        pad = self.config.pad
        shift = torch.randint(0, 2 * pad + 1, (2, count), generator=generator)
        mirrored = torch.rand(count, generator=generator) < self.config.flip
        fill = torch.tensor(self.config.mean).expand(count, 3)
        boxes: tuple[tuple[int, int, int, int, int], ...] = ()
        if self.config.erase > 0:
            boxes = self._draw_boxes(count, height, width, generator)
            if self.config.erase_fill == "random":
                fill = torch.rand(count, 3, generator=generator)
        return Geometry(shift[0], shift[1], mirrored.nonzero().flatten(), boxes, fill)

    def _draw_boxes(
        self, count: int, height: int, width: int, generator: torch.Generator
    ) -> tuple[tuple[int, int, int, int, int], ...]:
        """(image, top, left, height, width) of the images that get a box.

        Of several sizes drawn for each image the first that fits is taken; if none does, the last is cut.
        """
        draws = torch.rand(2, count, ERASE_TRIES, generator=generator).numpy()
        place = torch.rand(3, count, generator=generator).numpy()
        low, high = self.config.erase_area
        area = (low + (high - low) * draws[0]) * (height * width)
        low, high = map(math.log, self.config.erase_aspect)
        aspect = np.exp(low + (high - low) * draws[1])
        tall, wide = np.rint(np.sqrt(area * aspect)), np.rint(np.sqrt(area / aspect))
        fits = (tall <= height) & (wide <= width)
        fits[:, -1] = True
        number, first = np.arange(count), fits.argmax(axis=1)
        tall, wide = tall[number, first].clip(1, height), wide[number, first].clip(1, width)
        top = np.floor(place[0] * (height - tall + 1))
        left = np.floor(place[1] * (width - wide + 1))
        table = np.stack([number, top, left, tall, wide], axis=1)[place[2] < self.config.erase]
        return tuple(map(tuple, table.astype(np.int64).tolist()))

    def draw_matrices(self, count: int, generator: torch.Generator) -> Tensor | None:
        """The colour change of visible images, float [count,3,3]; None if it is switched off."""
        if self.config.channel == "none":
            return None
        matrices = _channel_matrices(self.config.channel, count, generator)
        applied = torch.rand(count, 1, 1, generator=generator) < self.config.channel_prob
        return torch.where(applied, matrices, torch.eye(3))

    def draw_levels(self, count: int, generator: torch.Generator) -> tuple[Tensor | None, Tensor]:
        """Brightness and contrast, float [2,count] or None if switched off; uniform [3,count] for blur and noise."""
        draws = torch.rand(5, count, generator=generator)
        if not (self.config.brightness or self.config.contrast):
            return None, draws[2:]
        reach = torch.tensor([[self.config.brightness], [self.config.contrast]])
        return 1 + (2 * draws[:2] - 1) * reach, draws[2:]

    def _channels(self, images: Tensor, generator: torch.Generator) -> Tensor:
        matrices = self.draw_matrices(len(images), generator)
        return images if matrices is None else mix_channels(images, matrices.to(images.device))

    def _photometric(self, images: Tensor, generator: torch.Generator) -> Tensor:
        config = self.config
        levels, draws = self.draw_levels(len(images), generator)
        if levels is not None:
            images = jitter(images, *levels.to(images.device))
        if config.blur > 0:
            images = soft_blur(images, (draws[0] / 4 * (draws[1] < config.blur)).to(images.device))
        if config.noise > 0:
            images = grey_noise(images, (config.noise * draws[2]).to(images.device), draw_seed(generator))
        return images


def _channel_matrices(mode: str, count: int, generator: torch.Generator) -> Tensor:
    """Colour matrices [count,3,3] of a channel mode, rows summing to 1."""
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
        "adapt": torch.cat([copies, eye[None]]),
        "adapt_gray": torch.cat([copies, copies, grey, eye[None]]),
    }[mode]
    return table[torch.randint(len(table), (count,), generator=generator)]


def pad_columns(images: Tensor, pad: int) -> Tensor:
    """[N,C,H,W] of any type -> [N,C,H,W + 2 pad], the outer columns repeated: what `crop` cuts from."""
    count, channels, height, width = images.shape
    padded = images.new_empty(count, channels, height, width + 2 * pad)
    padded[..., pad : pad + width] = images
    padded[..., :pad] = images[..., :1]
    padded[..., pad + width :] = images[..., -1:]
    return padded


def crop(padded: Tensor, width: int, positions: Tensor, geometry: Geometry) -> Tensor:
    """Cuts [B,C,H,W] out of contiguous images [N,C,H,W + 2 pad], as `pad_columns` makes them, and mirrors some.

    positions int64 [B], on the CPU: which image each output is cut from. Pixels are copied, never interpolated.
    """
    _, channels, height, stride = padded.shape
    count = len(positions)
    if count == 0:
        return padded.new_empty(0, channels, height, width)
    # Every output row is a run of `width` values somewhere in memory: one gather of runs, no gather of pixels.
    runs = padded.as_strided((padded.numel() - width + 1, width), (1, 1))
    planes = positions[:, None] * channels + torch.arange(channels)
    pad = (stride - width) // 2
    rows = (torch.arange(height) + geometry.top[:, None] - pad).clamp(0, height - 1)
    starts = (planes[:, :, None] * height + rows[:, None, :]) * stride + geometry.left[:, None, None]
    images = runs.index_select(0, starts.flatten().to(padded.device)).view(count, channels, height, width)
    for (
        number
    ) in geometry.mirrored.tolist():  # one by one: as an indexed copy of all it takes ten times as long
        images[number] = images[number].flip(2)
    return images


def _erase_(images: Tensor, geometry: Geometry) -> Tensor:
    """Paints the boxes, in place. There are few, so painting them beats a mask over every pixel."""
    fill = geometry.fill.to(images.device, images.dtype)[:, :, None, None]
    for number, top, left, tall, wide in geometry.boxes:
        images[number, :, top : top + tall, left : left + wide] = fill[number]
    return images
