"""How warm the empty view of a camera is: sky, ground, walls, windows, things."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrl.data.synthetic.backgrounds import PAD, View, cut, survey
from mtrl.data.synthetic.cameras import CAMERAS, Camera
from mtrl.data.synthetic.thermal.weather import Weather

Array = NDArray[Any]
_STEP = 24
"""Pixels between the samples of a frame from which a camera takes its gain."""


def scenery_temperatures(
    camera: Camera, box: tuple[float, float, float, float], weather: Weather, clutter: float
) -> tuple[Array, tuple[float, float, float, float]]:
    """Degrees Celsius float32 [h, w] around a box of the frame, and the box in the coordinates of that piece.

    clutter  scales the differences within the scene
    """
    piece, inner = cut(traits(camera.number), box)
    return _temperatures(piece, weather, clutter), inner


def frame_samples(camera: Camera, weather: Weather, clutter: float) -> Array:
    """Temperatures float32 [n] of places all over the frame, one for each `_STEP` x `_STEP` pixels."""
    inside = traits(camera.number)[PAD:-PAD:_STEP, PAD:-PAD:_STEP]
    return _temperatures(inside, weather, clutter).ravel()


SAMPLE_AREA = _STEP * _STEP


@functools.lru_cache(maxsize=6)
def traits(number: int) -> Array:
    """uint8 [H, W, 4] of a camera's padded frame: share of the sun's heat, of the sky's cold, of a source's warmth, and
    unevenness (128: none)."""
    camera = CAMERAS[number]
    view = survey(camera)
    bright = view.albedo[:, :3].mean(1)
    sun = view.sunny * view.soak * (1 - 0.8 * np.clip(bright, 0, 1)) * np.clip(view.shade, 0.3, 1)
    cold = np.where(view.is_sky, _elevation(view, camera), 0.12 * view.upward)
    uneven = np.where(view.is_sky, 0, np.clip(view.shade, 0.5, 1.2) + 0.4 * (0.3 - bright))
    ground = ~view.is_sky
    uneven[ground] -= uneven[ground].mean()
    traits = np.stack([255 * sun, 255 * cold, 255 * view.warm, 128 + 127 * uneven], axis=1)
    return np.clip(traits + 0.5, 0, 255).astype(np.uint8).reshape(len(view.ys), len(view.xs), 4)


def _elevation(view: View, camera: Camera) -> Array:
    """How cold the sky is, from a little at the horizon to 1 above, float32 [H * W]."""
    up = camera.rotation[:, 1].astype(np.float32)
    rise = up[0] * view.xs[None, :] + (up[1] * view.ys)[:, None] + up[2]
    return np.clip(0.35 + 1.6 * rise, 0.35, 1).ravel()


def _temperatures(traits: Array, weather: Weather, clutter: float) -> Array:
    sun, cold, warm, uneven = (traits[..., k].astype(np.float32) / np.float32(255) for k in range(4))
    solid = cold < 0.3  # not the sky
    rest = weather.sun * sun - weather.sky * cold + weather.sources * warm
    rest += (weather.stored + weather.patches * 2 * (uneven - np.float32(128 / 255))) * solid
    return (weather.air + clutter * rest).astype(np.float32)
