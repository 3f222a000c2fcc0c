"""From linear light to a stored picture: exposure, tone, resolution, blur, noise, JPEG."""

from __future__ import annotations

import functools
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from mtrl.data.synthetic.cameras import Camera
from mtrl.data.synthetic.difficulty import HEIGHT, WIDTH

Array = NDArray[Any]
_STEPS = 4096
_TRUTH_NOISE = 0.012  # of visible cameras seen in infrared: the reference should show more signal than noise


@functools.lru_cache(maxsize=1)
def _display() -> Array:
    """uint8 [2 * _STEPS]: linear light in [0, 2) to display values, with a soft shoulder above 0.7."""
    x = (np.arange(2 * _STEPS) + 0.5) / _STEPS
    y = np.where(x < 0.7, x, 0.7 + 0.3 * (1 - np.exp(-(x - 0.7) / 0.3)))
    return np.clip(255 * y ** (1 / 2.2) + 0.5, 0, 255).astype(np.uint8)


@functools.lru_cache(maxsize=1)
def linear_of() -> Array:
    """float32 [256]: display values to linear light."""
    return ((np.arange(256) / 255) ** 2.2).astype(np.float32)


def develop(
    light: Array, camera: Camera, infrared: bool, rng: np.random.Generator, exposure: float, scale: float
) -> Array:
    """Linear light float32 [h, w, 1 or 3] to uint8 [HEIGHT, WIDTH, 3]. `scale` multiplies all defects.

    Draws from `rng` in a fixed order, whatever the light is.
    """
    codes = np.minimum(light * np.float32(exposure * _STEPS), 2 * _STEPS - 1).astype(np.int16)
    display = _display()[codes]
    image = Image.fromarray(display[:, :, 0] if display.shape[2] == 1 else display)
    low, high = camera.resolution
    share = 1 - scale * (1 - float(rng.uniform(low, high)))
    share = float(np.clip(share, 0.3, 1.0))
    moving, shift = rng.random() < 0.3 * min(scale, 1.0), int(rng.integers(2, 6))
    blur = float(rng.uniform(0.2, 0.8)) * scale
    grain = _TRUTH_NOISE if infrared and not camera.infrared else camera.noise
    sigma = 255 * grain * scale * float(np.exp(rng.normal(0, 0.3)))
    quality = int(rng.integers(*camera.quality))
    image = image.resize((round(WIDTH * share), round(HEIGHT * share)), Image.Resampling.BOX)
    image = image.filter(ImageFilter.GaussianBlur(blur * share))
    image = image.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    pixels = np.asarray(image).astype(np.float32)
    if moving:
        pixels = smear(pixels, shift)
    pixels = pixels + _grain(rng, pixels.shape, sigma, pixels)
    pixels = np.clip(pixels + 0.5, 0, 255).astype(np.uint8)
    if scale > 0:
        pixels = jpeg(pixels, quality)
    return np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels


def smear(pixels: Array, length: int) -> Array:
    """The average of `length` copies, each a pixel further to the side: a person who moved."""
    total = pixels.copy()
    for step in range(1, length):
        total += np.roll(pixels, step - length // 2, axis=1)
    return total / (length)


def _grain(rng: np.random.Generator, shape: tuple[int, ...], sigma: float, pixels: Array) -> Array:
    """Noise with a coarse part (compression of the stream) and a fine one, stronger in the dark."""
    fine = rng.standard_normal(shape, dtype=np.float32)
    coarse = rng.standard_normal((shape[0] // 2, shape[1] // 2), dtype=np.float32).repeat(2, 0).repeat(2, 1)
    if len(shape) == 3:
        coarse = coarse[:, :, None]
    return np.float32(sigma) * (0.7 * fine + 0.6 * coarse) * (1.15 - pixels / 510)


def jpeg(pixels: Array, quality: int) -> Array:
    """uint8 pixels after compression."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    buffer.seek(0)
    return np.asarray(Image.open(buffer))
