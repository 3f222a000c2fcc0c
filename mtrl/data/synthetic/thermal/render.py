"""The thermal image of a moment."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mtrl.data.synthetic.cameras import Camera
from mtrl.data.synthetic.difficulty import Difficulty
from mtrl.data.synthetic.raycast import Hits, Part
from mtrl.data.synthetic.shading import Light, sun_direction
from mtrl.data.synthetic.thermal.scenery import SAMPLE_AREA, frame_samples, scenery_temperatures
from mtrl.data.synthetic.thermal.sensor import expose_thermal
from mtrl.data.synthetic.thermal.temperature import surface_temperatures
from mtrl.data.synthetic.thermal.weather import draw_weather

Array = NDArray[Any]
_PEOPLE = 3
"""People in the frame, for its gain: this one and others like it."""


def thermal_image(
    parts: list[Part],
    hits: Hits,
    shape: tuple[int, int],
    camera: Camera,
    box: tuple[float, float, float, float],
    light: Light,
    openness: Array,
    winter: bool,
    rng: np.random.Generator,
    difficulty: Difficulty,
) -> NDArray[np.uint8]:
    """uint8 [HEIGHT, WIDTH, 3] of the `hits` on `parts` inside a box of the frame, cast at `shape` (height, width)."""
    weather = draw_weather(rng, camera, winter, difficulty.illumination)
    fold = int(rng.integers(512))
    piece, inner = scenery_temperatures(camera, box, weather, difficulty.background_clutter)
    view = Image.fromarray(piece).resize((shape[1], shape[0]), Image.Resampling.BICUBIC, box=inner)
    seen = np.array(view)
    rotation = camera.rotation
    sun = rotation @ sun_direction(camera, light)
    warm = surface_temperatures(hits, parts, weather, rotation[:, 1], sun, openness, fold)
    seen.reshape(-1)[hits.pixels] = warm
    frame = frame_samples(camera, weather, difficulty.background_clutter)
    area = _PEOPLE * (box[2] - box[0]) * (box[3] - box[1]) / SAMPLE_AREA  # of the crop, in samples
    step = max(1, round(seen.size / max(area, 1.0)))
    return expose_thermal(seen, np.concatenate([frame, seen.ravel()[::step]]), box, rng, difficulty)
