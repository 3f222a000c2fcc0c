"""Augmentation on a CPU: images are cut out of bytes, converted, coloured and normalised, a few at a time.

A few, so that they stay in the processor's caches between one operation and the next, and yet are enough for all of
its cores. Pixels lie as [H, W, 3], so that a row is one run of bytes. What `mtrl.data.augment` does on whole batches,
up to rounding, except blur and noise.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import cache
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtrl.data.augment import Geometry

# Writes the pictures of a batch, from a number on, into float32 [n,H,W,3]: as many as it holds.
Pictures: TypeAlias = Callable[[int, Tensor], None]

_GROUP = 2**19  # values that are worked on at a time: 2 MiB as float32


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


def pad_borders(images: NDArray[np.uint8], rows: Sequence[int], pad: int) -> NDArray[np.uint8]:
    """The images uint8 [N,H,W,3] of some rows -> [R,H + 2 pad,W + 2 pad,3], borders repeated: what `cut` cuts from.

    In few, large operations: a thread that does it then seldom asks for the interpreter, which it shares.
    """
    _, height, width, channels = images.shape
    padded = np.empty((len(rows), height + 2 * pad, width + 2 * pad, channels), np.uint8)
    padded[:, pad : pad + height, pad : pad + width] = images[rows]
    # A pixel as one thing: else every copy of a border is three bytes.
    middle = padded.view(f"V{channels}")[:, pad : pad + height, :, 0]
    middle[:, :, :pad] = middle[:, :, pad : pad + 1]
    middle[:, :, pad + width :] = middle[:, :, pad + width - 1 : pad + width]
    padded[:, :pad] = padded[:, pad : pad + 1]
    padded[:, pad + height :] = padded[:, pad + height - 1 : pad + height]
    return padded


def cut(padded: Tensor, positions: Tensor, geometry: Geometry, size: Sequence[int]) -> Pictures:
    """Pictures of 0 to 255, moved and mirrored, cut out of contiguous uint8 images that `pad_borders` made."""
    height, width = size
    per_image, per_row, _, _ = padded.stride()
    mirrored = set(geometry.mirrored.tolist())
    starts = positions * per_image + geometry.top * per_row + 3 * geometry.left
    places = starts.tolist()

    def write(first: int, out: Tensor) -> None:
        lines = out.view(len(out), height, 3 * width)
        for number, line in enumerate(lines, first):
            place = places[number]
            if number in mirrored:  # torch mirrors bytes in vectors if they are channels-last images
                picture = padded.as_strided((1, 3, height, width), (per_image, 1, per_row, 3), place)
                line.copy_(picture.flip(3).permute(0, 2, 3, 1).reshape(height, 3 * width))
            else:
                line.copy_(padded.as_strided((height, 3 * width), (per_row, 1), place))

    return write


def finish(
    pictures: Pictures, white: float, colours: Colours, geometry: Geometry, scale: Scale, out: Tensor
) -> None:
    """Colours, then erased boxes, then `scale`, into `out`, float32 [B,H,W,3], written as a whole.

    pictures  0 is black and `white` is white
    geometry  whose boxes are erased
    """
    count, height, width, _ = out.shape
    mean, std = np.array(scale.mean), np.array(scale.std)
    factor, shift = _rows(1 / white / std, width), _rows(-mean / std, width)
    mixing = _mixing(colours.matrices)
    levels = None if colours.levels is None else colours.levels.double().T.tolist()
    lines = out.view(count, height, 3 * width)
    group = max(1, _GROUP // (height * 3 * width))
    scratch = torch.empty(min(group, count), height, 3 * width)
    for start in range(0, count, group):
        stop = min(start + group, count)
        pixels = scratch[: stop - start]
        pictures(start, pixels.view(stop - start, height, width, 3))
        for number in range(start, stop):
            if number in mixing:
                pixels[number - start] = _mix(pixels[number - start], mixing[number])
        factors, shifts = factor, shift
        if levels is not None:
            gains, lifts = _jitter_(pixels, levels[start:stop], white)
            factors, shifts = gains * factor, shift + lifts * factor
        torch.addcmul(torch.from_numpy(shifts), pixels, torch.from_numpy(factors), out=lines[start:stop])
    fill = _rows((geometry.fill.double().numpy() - mean) / std, width)
    painted = lines.numpy()
    for number, top, left, tall, wide in geometry.boxes:
        painted[number, top : top + tall, 3 * left : 3 * (left + wide)] = fill[number, : 3 * wide]


def _jitter_(
    pixels: Tensor, levels: Sequence[Sequence[float]], white: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Brightness and contrast are gain x pixels + lift; returns both, [B,1,1].

    Cuts the pixels, in place, so that this lies between 0 and `white`. In plain numbers: there are a few per picture.
    """
    gains, lifts = [], []
    for picture, (bright, spread), mean in zip(
        pixels, levels, pixels.flatten(1).mean(dim=1).tolist(), strict=True
    ):
        gain = max(bright * spread, 1e-6)
        lift = bright * (1 - spread) * mean
        least, most = -lift / gain, (white - lift) / gain
        if least > 0 or most < white:
            picture.clamp_(least, most)
        gains.append(gain)
        lifts.append(lift)
    shape = (len(gains), 1, 1)
    return np.array(gains, np.float32).reshape(shape), np.array(lifts, np.float32).reshape(shape)


def _mixing(matrices: Tensor | None) -> dict[int, Tensor]:
    """The matrices that change an image, by its number."""
    if matrices is None:
        return {}
    changed = (matrices != torch.eye(3)).flatten(1).any(dim=1).nonzero().flatten().tolist()
    return {number: matrices[number] for number in changed}


def _mix(flat: Tensor, matrix: Tensor) -> Tensor:
    """Pixels of float [H,3W] under a colour matrix [3,3]; one channel copied to all is gathered, which is faster."""
    rows = matrix.tolist()
    if rows[0] == rows[1] == rows[2] and 1.0 in rows[0]:
        return flat.index_select(1, _columns(rows[0].index(1.0), flat.shape[1]))
    return (flat.view(-1, 3) @ matrix.T).view(flat.shape)


@cache
def _columns(channel: int, values: int) -> Tensor:
    """Where in a line of R, G, B, R, ... each of its values finds its pixel's channel, int64 [values]."""
    return torch.arange(channel, values, 3).repeat_interleave(3)


def _rows(colours: NDArray[np.float64], width: int) -> NDArray[np.float32]:
    """[...,3] -> float32 [...,3 width]: R, G, B repeated."""
    return np.tile(colours.astype(np.float32), width)
