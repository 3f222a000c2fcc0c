"""The loops of `mtrl.data.augment.per_image`, compiled by numba.

They release Python's global lock, so that threads can share the images of a batch.

Work on every pixel is written as a loop over one image line, with an index that counts up from 0. The compiler turns
such loops into vector instructions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

Function = TypeVar("Function", bound=Callable[..., Any])


def _compiled(function: Function) -> Function:
    """Decorator: compiles a function at its first call, and keeps the result on disk if there is a folder for that."""
    how: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return cast(Function, njit(cache=True, **how)(function))
    except RuntimeError:
        return cast(Function, njit(**how)(function))


@_compiled
def render(
    images: NDArray[Any],
    scale: NDArray[np.float32],
    jittered: bool,
    rows: NDArray[np.int64],
    shifts: NDArray[np.int64],
    mirrored: NDArray[np.bool_],
    matrices: NDArray[np.float32],
    levels: NDArray[np.float32],
    boxes: NDArray[np.int64],
    fill: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Augments B images into `out` [B,H,W,3]: moves and mirrors, recolours, scales, and erases a box.

    images    [N,H,W,3], channel values
    scale     [4, 3 W], for the values R, G, B, R, ... of one line: factor, shift, smallest and largest output
    jittered  whether brightness and contrast change
    rows      [B], which of the images
    shifts    [B,2], pixels down and right; right by less than W
    mirrored  [B], which images are flipped left to right
    matrices  [B,3,3], colour matrices, applied before `levels`
    levels    [B,2], brightness and contrast, used if `jittered`
    boxes     [B,4], top, left, height and width of the erased box; a height of 0 erases nothing
    fill      [B,3], colour of the box, in the scale of `out`
    """
    count, height, width, _ = out.shape
    moved, mixed = np.empty((height, width, 3), images.dtype), np.empty((width, 3), np.float32)
    lines, mixed_line = moved.reshape(height, 3 * width), mixed.reshape(3 * width)
    out_lines, sums = out.reshape(count, height, 3 * width), np.empty(3 * width, np.float32)
    for number in range(count):
        _move(images[rows[number]], shifts[number], mirrored[number], moved)
        matrix = matrices[number]
        copied = _exchange(moved, matrix)
        gain, lift = np.float32(1), np.float32(0)
        if jittered:
            brightness, contrast = levels[number]
            gain = brightness * contrast
            lift = np.float32(brightness * (1 - contrast) * _mean(lines, matrix, copied, sums))
        for y in range(height):
            if copied:
                _scale(lines[y], gain, lift, scale, out_lines[number, y])
            else:
                _mix(moved[y], matrix, mixed)
                _scale(mixed_line, gain, lift, scale, out_lines[number, y])
        top, left, tall, wide = boxes[number]
        for line in out[number, top : top + tall]:  # a slice ends at the image's edge
            _repeat(fill[number], line[left : left + wide])


@_compiled
def _move(picture: NDArray[Any], shift: NDArray[np.int64], mirrored: bool, moved: NDArray[Any]) -> None:
    """Writes a shifted copy of `picture` into `moved`, mirrored left to right if `mirrored`.

    Before mirroring, pixel [y, x] of `moved` is pixel [y + down, x + right] of the picture. Outside the picture, its
    nearest border pixel is repeated.
    """
    height, width, _ = picture.shape
    down, right = shift
    first, last = max(0, -right), min(width, width - right)
    flat, lines = picture.reshape(height, 3 * width), moved.reshape(height, 3 * width)
    forward = np.empty(3 * width, moved.dtype)
    for y in range(height):
        row = min(max(y + down, 0), height - 1)
        _copy(flat[row, 3 * (first + right) : 3 * (last + right)], lines[y, 3 * first : 3 * last])
        _repeat(picture[row, 0], moved[y, :first])
        _repeat(picture[row, width - 1], moved[y, last:])
        # Mirrored from a copy in the cache, since reading memory backwards takes twice as long.
        if mirrored:
            _copy(lines[y], forward)
            _reverse(forward, lines[y])


@_compiled
def _copy(values: NDArray[Any], out: NDArray[Any]) -> None:
    for x in range(len(out)):
        out[x] = values[x]


@_compiled
def _reverse(line: NDArray[Any], out: NDArray[Any]) -> None:
    """Writes the pixels of a line (three values each) into `out` in reverse order."""
    pixels = len(out) // 3
    for x in range(pixels):
        at = pixels - 1 - x
        out[3 * x], out[3 * x + 1], out[3 * x + 2] = line[3 * at], line[3 * at + 1], line[3 * at + 2]


@_compiled
def _repeat(pixel: NDArray[Any], out: NDArray[Any]) -> None:
    red, green, blue = pixel[0], pixel[1], pixel[2]
    for x in range(len(out)):
        out[x, 0], out[x, 1], out[x, 2] = red, green, blue


@_compiled
def _exchange(moved: NDArray[Any], matrix: NDArray[np.float32]) -> bool:
    """Applies, without rounding, a matrix that changes nothing or copies one channel to all three.

    Returns False for any other matrix, and then changes nothing.
    """
    if (matrix == np.eye(3)).all():
        return True
    for channel in range(3):
        if (matrix[:, channel] == 1).all() and matrix.sum() == 3:
            for y in range(len(moved)):
                _spread(moved[y], channel)
            return True
    return False


@_compiled
def _spread(pixels: NDArray[Any], channel: int) -> None:
    for x in range(len(pixels)):
        value = pixels[x, channel]
        pixels[x, 0], pixels[x, 1], pixels[x, 2] = value, value, value


@_compiled
def _mix(pixels: NDArray[Any], matrix: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    for channel in range(3):
        red, green, blue = matrix[channel, 0], matrix[channel, 1], matrix[channel, 2]
        for x in range(len(out)):
            out[x, channel] = (
                red * np.float32(pixels[x, 0])
                + green * np.float32(pixels[x, 1])
                + blue * np.float32(pixels[x, 2])
            )


@_compiled
def _mean(lines: NDArray[Any], matrix: NDArray[np.float32], copied: bool, sums: NDArray[np.float32]) -> float:
    """The mean of all values of an image after the colour matrix; `copied` says that the matrix is applied already."""
    sums[:] = 0
    for y in range(len(lines)):
        _add(lines[y], sums)
    total = 0.0
    for channel in range(3):
        total += sums[channel::3].sum() * (1.0 if copied else matrix[:, channel].sum())
    return total / lines.size


@_compiled
def _add(values: NDArray[Any], sums: NDArray[np.float32]) -> None:
    for x in range(len(sums)):
        sums[x] += np.float32(values[x])


@_compiled
def _scale(
    values: NDArray[Any],
    gain: np.float32,
    lift: np.float32,
    scale: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    factor, shift, low, high = scale[0], scale[1], scale[2], scale[3]
    for x in range(len(out)):
        scaled = (np.float32(values[x]) * gain + lift) * factor[x] + shift[x]
        out[x] = min(max(scaled, low[x]), high[x])
