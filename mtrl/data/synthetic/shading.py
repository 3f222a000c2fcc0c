"""Light on figures and ground: daylight or lamps in the visible, the camera's own lamp in infrared."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrl.data.synthetic.backgrounds import illuminator
from mtrl.data.synthetic.cameras import Camera
from mtrl.data.synthetic.raycast import Hits

Array = NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Light:
    """How the light of one moment differs from the camera's usual light. All but `turn` are factors; 1: no change.

    key, ambient  of the main light and of the ambient light
    tint          of red, green and blue, in visible images only
    turn          radians by which the main light is turned about the vertical axis
    lamp          of the camera's infrared lamp
    exposure      of the picture's exposure
    """

    key: float
    ambient: float
    tint: tuple[float, float, float]
    turn: float
    lamp: float
    exposure: float


def draw_light(rng: np.random.Generator, scale: float) -> Light:
    """Random light; `scale` multiplies its variation."""
    tint = np.exp(scale * rng.normal(0, 0.05, 3) * np.array([1.0, 0.3, 1.2]))
    return Light(
        key=float(np.exp(scale * rng.normal(0, 0.35))),
        ambient=float(np.exp(scale * rng.normal(0, 0.15))),
        tint=(float(tint[0]), float(tint[1]), float(tint[2])),
        turn=float(scale * rng.normal(0, 0.5)),
        lamp=float(np.exp(scale * rng.normal(0, 0.20))),
        exposure=float(np.exp(scale * rng.normal(0, 0.20))),
    )


def sun_direction(camera: Camera, light: Light) -> Array:
    """Unit vector towards the main light in world coordinates."""
    x, y, z = camera.sun
    c, s = np.cos(light.turn), np.sin(light.turn)
    sun = np.array([c * x + s * z, y, c * z - s * x])
    return sun / np.linalg.norm(sun)


def occlusion(hits: Hits, shape: tuple[int, int], radius: int = 9) -> Array:
    """How open the surroundings of each hit are: float [n] from 0.35 (in a hollow) to 1 (open).

    A hit that is farther from the camera than the mean depth of the square around it (`radius` pixels each way) gets
    less.
    """
    ground = np.full(shape[0] * shape[1], np.nan, dtype=np.float32)
    far = hits.depth.max() if len(hits.depth) else 1.0
    ground[:] = far
    ground[hits.pixels] = hits.depth
    image = np.pad(ground.reshape(shape), ((radius + 1, radius), (radius + 1, radius)), mode="edge").astype(
        np.float64
    )
    total = image.cumsum(0)
    total = total[2 * radius + 1 :] - total[: -2 * radius - 1]
    total = total.cumsum(1)
    total = total[:, 2 * radius + 1 :] - total[:, : -2 * radius - 1]
    mean = (total / (2 * radius + 1) ** 2).astype(np.float32).ravel()[hits.pixels]
    return np.clip(1 - 5.0 * np.maximum(hits.depth - mean - 0.004, 0), 0.35, 1)


def shade_visible(hits: Hits, camera: Camera, light: Light, openness: Array) -> Array:
    """Linear colour float32 [n, 3] of the hits in visible light."""
    rotation = camera.rotation.astype(np.float32)
    sun = rotation @ sun_direction(camera, light).astype(np.float32)
    up = rotation[:, 1]
    lit = np.clip((_along(hits.normal, sun) + 0.15) / 1.15, 0, 1) * (0.4 + 0.6 * openness)
    sky = (0.62 + 0.38 * (_along(hits.normal, up))) * openness
    key = np.asarray(camera.key, dtype=np.float32) * np.float32(light.key)
    ambient = np.asarray(camera.ambient, dtype=np.float32) * np.float32(light.ambient)
    half = sun + np.array([0, 0, -1], dtype=np.float32)
    glint = hits.shine * _power(np.maximum(_along(hits.normal, half / np.linalg.norm(half)), 0), 4)
    return np.stack(
        [hits.albedo[k] * (lit * key[k] + sky * ambient[k]) + glint * key[k] for k in range(3)], axis=1
    )


def shade_infrared(hits: Hits, light: Light, xs: Array, ys: Array, openness: Array) -> Array:
    """Linear brightness float32 [n, 1] of the hits under the camera's infrared lamp."""
    x, y = xs[hits.pixels % len(xs)], ys[hits.pixels // len(xs)]
    off = x * x + y * y
    facing = -(hits.normal[0] * x + hits.normal[1] * y + hits.normal[2]) / np.sqrt(1 + off)
    facing = np.clip(facing, 0, 1)
    strength = illuminator(hits.depth, np.sqrt(off)) * np.float32(light.lamp)
    bright = hits.albedo[3] * (0.12 + 0.88 * facing) * (0.6 + 0.4 * openness) + 0.35 * hits.shine * _power(
        facing, 5
    )
    return (bright * strength)[:, None]


def _along(normal: Array, direction: Array) -> Array:
    return normal[0] * direction[0] + normal[1] * direction[1] + normal[2] * direction[2]


def _power(x: Array, doublings: int) -> Array:
    for _ in range(doublings):
        x = x * x
    return x


def ground_shadow(
    camera: Camera, light: Light, feet: list[Array], height: float, xs: Array, ys: Array, infrared: bool
) -> Array:
    """float32 [H,W] to multiply the ground's brightness by: 1 without shadow, less around and behind a person's feet.

    feet      world points of the two ankles
    height    the person's, in metres
    xs, ys    ray directions of the columns [W] and rows [H]
    infrared  True: only the dark around the feet; False: also the shadow that the main light casts
    """
    rotation = camera.rotation.astype(np.float32)
    shadow = np.ones((len(ys), len(xs)), dtype=np.float32)
    fall = rotation[1, 1] * ys + rotation[2, 1]
    near = np.flatnonzero(fall < -0.08)
    if len(near) == 0:
        return shadow
    y = ys[near]
    t = np.float32(-camera.place[1]) / fall[near]
    px = camera.place[0] + t[:, None] * (
        (rotation[0, 0] * xs + rotation[2, 0])[None, :] + (rotation[1, 0] * y)[:, None]
    )
    pz = camera.place[2] + t[:, None] * (
        (rotation[0, 2] * xs + rotation[2, 2])[None, :] + (rotation[1, 2] * y)[:, None]
    )
    dark = np.zeros_like(px)
    for foot in feet:
        square = (px - np.float32(foot[0])) ** 2 + (pz - np.float32(foot[2])) ** 2
        dark = np.maximum(dark, 0.75 * np.exp(square / -0.02) + 0.35 * np.exp(square / -0.09))
    if not infrared:
        sun = sun_direction(camera, light)
        centre, cast = 0.5 * (feet[0] + feet[1]), -sun[[0, 2]] / max(float(sun[1]), 0.25) * height
        length = float(np.linalg.norm(cast)) + 1e-6
        ax, az = cast / length
        along = (px - np.float32(centre[0])) * ax + (pz - np.float32(centre[2])) * az
        across = (px - np.float32(centre[0])) * az - (pz - np.float32(centre[2])) * ax
        beyond = np.maximum(np.maximum(-along, along - length), 0)
        strength = light.key * camera.key[1] / (light.key * camera.key[1] + light.ambient * camera.ambient[1])
        dark = np.maximum(
            dark, np.float32(0.8 * strength) * np.exp(-((across / 0.17) ** 2) - (beyond / 0.12) ** 2)
        )
    shadow[near] = 1 - dark * (0.6 if infrared else 0.85)
    return shadow
