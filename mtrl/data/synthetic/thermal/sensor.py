"""A thermal camera: optics, coarse sensor with its noise, automatic gain, polarity, compression."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mtrl.data.synthetic.cameras import FRAME_HEIGHT, FRAME_WIDTH
from mtrl.data.synthetic.difficulty import HEIGHT, WIDTH, Difficulty
from mtrl.data.synthetic.sensor import jpeg, smear

Array = NDArray[Any]
_RESOLUTION = (0.2, 0.62)  # pixels of the sensor for each of the final image
_SMALLEST_SPAN = 8.0  # degrees that the gain spreads over all grey levels at least
_PATTERN = (FRAME_HEIGHT // 2, FRAME_WIDTH // 2)


def expose_thermal(
    temperatures: Array,
    frame: Array,
    box: tuple[float, float, float, float],
    rng: np.random.Generator,
    difficulty: Difficulty,
) -> NDArray[np.uint8]:
    """Degrees Celsius float32 [h, w] inside a box of the frame to uint8 [HEIGHT, WIDTH, 3] with equal channels.

    frame  temperatures float32 [n] of samples of the whole frame, which decide the gain
    Draws from `rng` in a fixed order, whatever the temperatures are.
    """
    scale = difficulty.sensor_noise
    share = float(np.clip(1 - scale * (1 - float(rng.uniform(*_RESOLUTION))), 0.2, 1.0))
    blur = scale * float(rng.uniform(0.5, 1.05))
    moving, length = rng.random() < 0.25 * min(scale, 1.0), int(rng.integers(2, 4))
    grain = scale * float(np.exp(rng.normal(np.log(0.04), 0.5)))
    stripes = scale * float(np.exp(rng.normal(np.log(0.02), 0.7)))
    low, high = float(rng.uniform(1.0, 15.0)), float(rng.uniform(97.0, 100.0))
    gamma = float(np.exp(rng.normal(-0.1, 0.3)))
    sharpening = float(rng.uniform(0.0, 0.9))
    black_hot = rng.random() < difficulty.black_hot
    quality = int(rng.integers(55, 95))
    size = (round(WIDTH * share), round(HEIGHT * share))
    seen = np.asarray(Image.fromarray(temperatures).resize(size, Image.Resampling.BOX))
    seen = blurred(seen, blur)
    if moving:
        seen = smear(seen, length)
    seen = seen + np.float32(grain) * rng.standard_normal(seen.shape, dtype=np.float32)
    seen = seen + np.float32(stripes) * _pattern(box, seen.shape)
    bottom, top = np.percentile(frame, (low, high))
    span = max(float(top - bottom), _SMALLEST_SPAN)
    bottom -= 0.2 * (span - float(top - bottom))  # what is missing is added mostly above
    shown = (seen - np.float32(bottom)) / np.float32(span)
    shown = shown + np.float32(sharpening) * (shown - blurred(shown, 1.2))
    shown = np.clip(shown, 0, 1) ** np.float32(gamma)
    shown = np.float32(0.06) + np.float32(0.90) * shown  # black and white of the video signal
    if black_hot:
        shown = 1 - shown
    pixels = (255 * shown + 0.5).astype(np.uint8)
    if scale > 0:
        pixels = jpeg(pixels, quality)
    image = Image.fromarray(pixels).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    return np.repeat(np.asarray(image)[:, :, None], 3, axis=2)


def blurred(image: Array, sigma: float) -> Array:
    """`image` float32 [h, w] after a Gaussian of `sigma` pixels; edges repeated."""
    if sigma <= 0:
        return image
    radius = int(np.ceil(2.5 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2).astype(np.float32)
    kernel /= kernel.sum()
    for axis in (0, 1):
        margin = [(0, 0), (0, 0)]
        margin[axis] = (radius, radius)
        padded, length = np.pad(image, margin, mode="edge"), image.shape[axis]
        image = sum(
            weight * (padded[k : k + length] if axis == 0 else padded[:, k : k + length])
            for k, weight in enumerate(kernel)
        )
    return image


@functools.lru_cache(maxsize=1)
def _fixed_pattern() -> Array:
    """float32 [h, w]: what stays of the differences between the sensor's pixels, mostly by column."""
    rng = np.random.default_rng(21)
    height, width = _PATTERN
    columns, rows = rng.standard_normal((1, width)), rng.standard_normal((height, 1))
    return (0.8 * columns + 0.35 * rows + 0.5 * rng.standard_normal((height, width))).astype(np.float32)


def _pattern(box: tuple[float, float, float, float], shape: tuple[int, ...]) -> Array:
    """The fixed pattern at a box of the frame, float32 `shape`."""
    pattern = _fixed_pattern()
    rows = np.linspace(box[1], box[3], shape[0], endpoint=False) * pattern.shape[0] / FRAME_HEIGHT
    columns = np.linspace(box[0], box[2], shape[1], endpoint=False) * pattern.shape[1] / FRAME_WIDTH
    rows, columns = rows.astype(np.int64) % pattern.shape[0], columns.astype(np.int64) % pattern.shape[1]
    return pattern[rows[:, None], columns[None, :]]
