"""Augmentation on a CPU: images are moved as bytes, then converted, coloured and normalised, a few at a time.

A few, so that they stay in the processor's caches between one operation and the next, and yet are enough for all of
its cores. Pixels lie as [H, W, 3], so that a row is one run of bytes. What `mtrl.data.augment` does on whole batches,
up to rounding, except blur and noise.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtrl.data.augment import Geometry

# Makes the pictures [stop - start,H,W,3] of the places from start to stop in a batch.
Pictures: TypeAlias = Callable[[int, int], Tensor]

_GROUP = 2**18  # values that are worked on at a time: 1 MiB as float32


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


def pad_borders(images: NDArray[np.uint8], rows: Iterable[int], pad: int) -> NDArray[np.uint8]:
    """The images uint8 [N,H,W,3] of some rows -> [R,H + 2 pad,W + 2 pad,3], borders repeated: what `cut` cuts from.

    Each is read once and copied once, also out of a memory map.
    """
    _, height, width, channels = images.shape
    rows = list(rows)
    padded = np.empty((len(rows), height + 2 * pad, width + 2 * pad, channels), np.uint8)
    whole = padded.view(f"V{channels}")[
        ..., 0
    ]  # a pixel as one thing: else every copy of a border is three bytes
    for number, row in enumerate(rows):
        padded[number, pad : pad + height, pad : pad + width] = images[row]
    middle = whole[:, pad : pad + height]
    middle[:, :, :pad] = middle[:, :, pad : pad + 1]
    middle[:, :, pad + width :] = middle[:, :, pad + width - 1 : pad + width]
    padded[:, :pad] = padded[:, pad : pad + 1]
    padded[:, pad + height :] = padded[:, pad + height - 1 : pad + height]
    return padded


def cut(padded: Tensor, positions: Tensor, geometry: Geometry, size: Sequence[int]) -> Pictures:
    """uint8 pictures, moved and mirrored, cut out of images that `pad_borders` made."""
    height, width = size
    source = padded.numpy()
    mirrored = set(geometry.mirrored.tolist())
    places = list(zip(positions.tolist(), geometry.top.tolist(), geometry.left.tolist(), strict=True))

    def pictures(start: int, stop: int) -> Tensor:
        pixels = np.empty((stop - start, height, width, 3), np.uint8)
        for place, (position, top, left) in enumerate(places[start:stop]):
            pixels[place] = source[position, top : top + height, left : left + width]
        turned = [place for place in range(stop - start) if start + place in mirrored]
        if turned:  # torch mirrors bytes in vectors if they are a channels-last batch
            images = torch.from_numpy(np.stack([pixels[place] for place in turned])).permute(0, 3, 1, 2)
            for place, flipped in zip(turned, images.flip(3).permute(0, 2, 3, 1).numpy(), strict=True):
                pixels[place] = flipped
        return torch.from_numpy(pixels)

    return pictures


def finish(
    pictures: Pictures, white: float, colours: Colours, geometry: Geometry, scale: Scale, out: Tensor
) -> None:
    """Colours, then erased boxes, then `scale`, into `out`, float32 [B,H,W,3], written as a whole.

    pictures  uint8 or float32; 0 is black and `white` is white
    geometry  whose boxes are erased
    """
    count, height, width, _ = out.shape
    mean, std = np.array(scale.mean), np.array(scale.std)
    factor, shift = _rows(1 / white / std, width), _rows(-mean / std, width)
    mixing = _mixing(colours.matrices)
    lines = out.view(count, height, 3 * width)
    group = max(1, _GROUP // (height * 3 * width))
    scratch = torch.empty(min(group, count), height, 3 * width)
    for start in range(0, count, group):
        stop = min(start + group, count)
        pixels = scratch[: stop - start]
        pixels.copy_(pictures(start, stop).reshape(pixels.shape))
        for number in range(start, stop):
            if number in mixing:
                pixels[number - start] = _mix(pixels[number - start], mixing[number])
        if colours.levels is None:
            torch.addcmul(shift, pixels, factor, out=lines[start:stop])
        else:
            gain, lift = _jitter_(pixels, colours.levels[:, start:stop], white)
            torch.addcmul(shift + lift * factor, pixels, gain * factor, out=lines[start:stop])
    fill = _rows((geometry.fill.double().numpy() - mean) / std, width)
    for number, top, left, tall, wide in geometry.boxes:
        lines[number, top : top + tall, 3 * left : 3 * (left + wide)] = fill[number, : 3 * wide]


def _jitter_(pixels: Tensor, levels: Tensor, white: float) -> tuple[Tensor, Tensor]:
    """Brightness and contrast are gain x pixels + lift; returns both, [B,1,1].

    Cuts the pixels, in place, so that this lies between 0 and `white`.
    """
    bright, spread = levels
    gain = (bright * spread).clamp(min=1e-6)
    lift = bright * (1 - spread) * pixels.flatten(1).mean(dim=1)
    low, high = -lift / gain, (white - lift) / gain
    for picture, least, most in zip(pixels, low.tolist(), high.tolist(), strict=True):
        if least > 0 or most < white:
            picture.clamp_(least, most)
    return gain[:, None, None], lift[:, None, None]


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
        columns = torch.arange(rows[0].index(1.0), flat.shape[1], 3).repeat_interleave(3)
        return flat.index_select(1, columns)
    return (flat.view(-1, 3) @ matrix.T).view(flat.shape)


def _rows(colours: NDArray[np.float64], width: int) -> Tensor:
    """[...,3] -> float32 [...,3 width]: R, G, B repeated."""
    return torch.from_numpy(np.tile(colours.astype(np.float32), width))
