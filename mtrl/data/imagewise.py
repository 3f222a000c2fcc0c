"""Augmentation on a CPU, image by image: moved as bytes, then converted, coloured and normalised while in its cache.

Pixels lie as [H, W, 3], so that a row is one run of bytes. What `mtrl.data.augment` does on whole batches, up to
rounding, except blur and noise.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtrl.data.augment import Geometry


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


def pad_borders(images: NDArray[np.uint8], pad: int) -> NDArray[np.uint8]:
    """uint8 [N,H,W,3] -> [N,H + 2 pad,W + 2 pad,3], borders repeated: what `cut` cuts from."""
    count, height, width, channels = images.shape
    padded = np.empty((count, height + 2 * pad, width + 2 * pad, channels), np.uint8)
    padded[:, pad : pad + height, pad : pad + width] = images
    padded[:, pad : pad + height, :pad] = images[:, :, :1]
    padded[:, pad : pad + height, pad + width :] = images[:, :, -1:]
    padded[:, :pad] = padded[:, pad : pad + 1]
    padded[:, pad + height :] = padded[:, pad + height - 1 : pad + height]
    return padded


def cut(padded: Tensor, positions: Tensor, geometry: Geometry, size: Sequence[int]) -> Iterator[Tensor]:
    """uint8 [H,W,3] of each output in turn, moved and mirrored, from images that `pad_borders` made.

    What is yielded is overwritten by the next one.
    """
    height, width = size
    scratch = torch.empty(height, width, 3, dtype=torch.uint8)
    pixels, source = scratch.numpy(), padded.numpy()
    mirrored = set(geometry.mirrored.tolist())
    places = zip(positions.tolist(), geometry.top.tolist(), geometry.left.tolist(), strict=True)
    for number, (position, top, left) in enumerate(places):
        pixels[:] = source[position, top : top + height, left : left + width]
        if number in mirrored:  # torch mirrors channels-last bytes in vectors if it sees a batch
            yield scratch.permute(2, 0, 1)[None].flip(3)[0].permute(1, 2, 0)
        else:
            yield scratch


def finish(
    pictures: Iterable[Tensor],
    white: float,
    colours: Colours,
    geometry: Geometry | None,
    scale: Scale,
    out: Tensor,
) -> None:
    """Colours, then erased boxes, then `scale`, into `out`, float32 [B,H,W,3]; each image is written as a whole.

    pictures  [H,W,3], uint8 or float32, of each image; 0 is black and `white` is white
    geometry  whose boxes are erased; None for none
    """
    width = out.shape[2]
    mean, std = np.array(scale.mean), np.array(scale.std)
    factor, shift = _row(1 / white / std, width), _row(-mean / std, width)
    boxes = {} if geometry is None else {box[0]: box[1:] for box in geometry.boxes}
    mixing = _mixing(colours.matrices)
    levels = None if colours.levels is None else colours.levels.T.tolist()
    for number, (target, picture) in enumerate(zip(out.unbind(), pictures, strict=True)):
        flat = target.view(-1, 3 * width)
        pixels = flat.copy_(picture.reshape(flat.shape))
        if number in mixing:
            pixels = _mix(flat, mixing[number])
        if levels is not None:
            bright, spread = levels[number]
            lift = bright * (1 - spread) * float(pixels.mean())
            pixels.mul_(bright * spread).add_(lift).clamp_(0, white)
        torch.addcmul(shift, pixels, factor, out=flat)
        if number in boxes:
            assert geometry is not None
            top, left, tall, wide = boxes[number]
            colour = (geometry.fill[number].double().numpy() - mean) / std
            flat[top : top + tall, 3 * left : 3 * (left + wide)] = _row(colour, wide)


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


def _row(colour: NDArray[np.float64], width: int) -> Tensor:
    """R, G, B repeated: float32 [3 width]."""
    return torch.from_numpy(np.tile(colour.astype(np.float32), width))
