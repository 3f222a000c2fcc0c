"""Augmentation on a CPU: images are cut out of bytes, then converted, coloured and normalised, a few at a time.

A few, so that they stay in the processor's caches between one operation and the next, and yet are enough for all of
its cores. Pixels lie as [H, W, 3], so that a row is one run of bytes. What `mtrl.data.augment` does on whole batches,
up to rounding, except blur and noise.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import cache
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from mtrl.data.augment import Geometry

# Images number `start` to `stop` of a batch, of its caller's own: uint8 or float32 [stop - start,H,W,3].
Pictures: TypeAlias = Callable[[int, int], Tensor]

_GROUP = 2**20  # values that are worked on at a time: 1 MiB as bytes


@dataclasses.dataclass(frozen=True, eq=False)
class Colours:
    """How each of B images changes; None where nothing of the kind is switched on.

    matrices  float [B,3,3], see `mtrl.translate.photometric.mix_channels`
    levels    float [2,B], brightness and contrast of `mtrl.translate.photometric.jitter`
    """

    matrices: Tensor | None = None
    levels: Tensor | None = None


@dataclasses.dataclass(frozen=True)
class Scale:
    """Output = (input - mean) / std for each of R, G, B; by default the input itself."""

    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)


def cut(images: Tensor, rows: Tensor, geometry: Geometry, pad: int) -> Pictures:
    """Moved and mirrored images of bytes, borders repeated, cut out of contiguous uint8 [N,H,W,3] on the CPU.

    rows  int64 [B], which images. `geometry` counts in images with `pad` more pixels on every side. Raises IndexError
    for rows that are not there.
    """
    _, height, width, channels = images.shape
    if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < len(images):
        raise IndexError(f"rows {int(rows.min())} to {int(rows.max())} of {len(images)} images")
    across = (geometry.left - pad).clamp(1 - width, width - 1)
    lines = (torch.arange(height) + geometry.top[:, None] - pad).clamp(0, height - 1)
    # Every line is a run of bytes; one that is moved sideways begins or ends in a line beside it.
    run, last = channels * width, images.numel() - channels * width
    starts = channels * ((rows[:, None] * height + lines) * width + across[:, None])
    outside = ((starts < 0) | (starts > last)).nonzero().tolist()  # lines of the first and of the last image
    starts = starts.clamp(0, last)
    shifts, mirrored = across.tolist(), _together(geometry.mirrored.tolist())

    def some(start: int, stop: int) -> Tensor:
        if start == stop:
            return images.new_empty(0, height, width, channels)
        runs = images.view(-1).as_strided((last + 1, run), (1, 1))
        moved = runs.index_select(0, starts[start:stop].flatten()).view(stop - start, height, run)
        pixels = moved.numpy().view(f"V{channels}")  # each as one thing
        for number, line in outside:
            if start <= number < stop:
                pixels[number - start, line] = np.roll(pixels[number - start, line], -shifts[number])
        for picture, by in zip(pixels, shifts[start:stop], strict=True):
            if by < 0:
                picture[:, :-by] = picture[:, -by : 1 - by]
            elif by > 0:
                picture[:, width - by :] = picture[:, width - by - 1 : width - by]
        moved = moved.view(stop - start, height, width, channels)
        planes = moved.permute(0, 3, 1, 2)  # torch mirrors bytes in vectors if they are channels-last images
        for first, end in mirrored:
            if max(first, start) < min(end, stop):
                part = planes[max(first, start) - start : min(end, stop) - start]
                part.copy_(part.flip(3))
        return moved

    return some


def _together(numbers: list[int]) -> list[tuple[int, int]]:
    """Ascending numbers as ranges [first, end): what is done to neighbours at once costs less."""
    breaks = [at for at in range(1, len(numbers)) if numbers[at] != numbers[at - 1] + 1]
    edges = zip([0, *breaks], [*breaks, len(numbers)], strict=True)
    return [(numbers[a], numbers[b - 1] + 1) for a, b in edges if a < b]


def finish(
    pictures: Pictures, white: float, colours: Colours, geometry: Geometry, scale: Scale, out: Tensor
) -> None:
    """Colours, then erased boxes, then `scale`, into `out`, float32 [B,H,W,3], written as a whole.

    pictures  0 is black and `white` is white
    geometry  whose boxes are erased
    """
    count, height, width, _ = out.shape
    factor, shift, black, bright = _scaled(scale, white, width)
    matrices = None if colours.matrices is None else colours.matrices.tolist()
    lines = out.view(count, height, 3 * width)
    group = max(1, _GROUP // (height * 3 * width))
    scratch = torch.empty(min(group, count), height, width, 3)
    for start in range(0, count, group):
        stop = min(start + group, count)
        made = pictures(start, stop)
        others = {} if matrices is None else _exchange_(made, matrices[start:stop])
        few = scratch[: stop - start].copy_(made)
        for number, matrix in others.items():
            few[number] = _mix(few[number], torch.tensor(matrix))
        pixels = few.view(stop - start, height, 3 * width)
        if colours.levels is None:
            torch.addcmul(shift, pixels, factor, out=lines[start:stop])
            continue
        gains, lifts = _jitter(pixels, colours.levels[:, start:stop])
        torch.addcmul(shift + lifts * factor, pixels, gains * factor, out=pixels)
        torch.clamp(pixels, black, bright, out=lines[start:stop])
    fill = np.tile(((geometry.fill.double().numpy() - scale.mean) / scale.std).astype(np.float32), width)
    painted = lines.numpy()
    for number, top, left, tall, wide in geometry.boxes:
        painted[number, top : top + tall, 3 * left : 3 * (left + wide)] = fill[number, : 3 * wide]


@cache
def _scaled(scale: Scale, white: float, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For a line of R, G, B, R, ...: the factor and shift that scale it, and what black and white become."""
    mean, std = np.array(scale.mean), np.array(scale.std)
    values = np.stack([1 / white / std, -mean / std, (0 - mean) / std, (1 - mean) / std])
    factor, shift, black, bright = torch.from_numpy(np.tile(values, width)).float()
    return factor, shift, black, bright


def _jitter(pixels: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """Brightness and contrast are gain x pixels + lift; returns both, [B,1,1]. Levels [2,B]."""
    brightness, contrast = levels
    lifts = brightness * (1 - contrast) * pixels.flatten(1).mean(dim=1)
    return (brightness * contrast)[:, None, None], lifts[:, None, None]


def _exchange_(pictures: Tensor, matrices: list[list[list[float]]]) -> dict[int, list[list[float]]]:
    """Copies one channel to all where a matrix says so, in place; returns the other matrices, by image.

    Images of floats are left alone, and so are matrices that change nothing.
    """
    others = {}
    for number, rows in enumerate(matrices):
        if rows == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]:
            continue
        if rows[0] == rows[1] == rows[2] and 1 in rows[0] and pictures.dtype == torch.uint8:
            pixels, chosen = pictures[number].view(-1, 3).numpy(), rows[0].index(1)
            for channel in {0, 1, 2} - {chosen}:
                pixels[:, channel] = pixels[:, chosen]
        else:
            others[number] = rows
    return others


def _mix(picture: Tensor, matrix: Tensor) -> Tensor:
    """Pixels of float [H,W,3] under a colour matrix [3,3]: of several at once, since a product of threes is slow."""
    several = math.gcd(picture.shape[1], 4)
    wide = torch.block_diag(*[matrix.T] * several)
    return (picture.view(-1, 3 * several) @ wide).view(picture.shape)
