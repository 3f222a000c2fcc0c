"""Season, hour and sky at the moment of a thermal image."""

from __future__ import annotations

import dataclasses

import numpy as np

from mtrl.data.synthetic.cameras import Camera

INDOOR = ("corridor", "room")


@dataclasses.dataclass(frozen=True)
class Weather:
    """Temperatures in degrees Celsius, or differences of them.

    air      of the air
    still    resistance of the air at a surface in clo: the more wind, the less
    sun      by how much the sun warms a black surface that faces it
    sky      by how much a clear sky is colder than the air
    stored   by how much walls and ground are warmer than the air: what the day, or the night, left in them
    patches  how uneven they are
    sources  of lamps, screens and windows, above the walls
    """

    air: float
    still: float
    sun: float
    sky: float
    stored: float
    patches: float
    sources: float


def draw_weather(rng: np.random.Generator, camera: Camera, winter: bool, scale: float) -> Weather:
    """The weather at a camera in a season; `scale` multiplies how much it varies between images."""
    if camera.scene in INDOOR:
        return Weather(
            air=20.0 + 2.0 * (not winter) + scale * float(rng.normal(0, 1.8)),
            still=float(rng.uniform(0.65, 0.9)),
            sun=float(rng.uniform(0.0, 1.5)),
            sky=0.0,
            stored=scale * float(rng.normal(0, 1.2)),
            patches=float(rng.uniform(0.2, 0.8)),
            sources=float(rng.uniform(0, 6)),
        )
    mean, spread = (6.0, 5.0) if winter else (21.0, 4.0)
    day, clear = rng.random() < 0.55, float(rng.random())
    return Weather(
        air=mean + scale * spread * float(np.clip(rng.standard_normal(), -2, 2)),
        still=float(rng.uniform(0.35, 0.8)),
        sun=day * (16.0 if winter else 22.0) * scale * max(clear - 0.35, 0.0),
        sky=6.0 + 24.0 * clear,
        stored=scale * float(rng.normal(1.0, 2.5)),
        patches=float(rng.uniform(0.5, 2.5)),
        sources=float(rng.uniform(-4, 5) if day else rng.uniform(1, 12)),
    )
