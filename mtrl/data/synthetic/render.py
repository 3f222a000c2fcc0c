"""One picture: a person, a camera and a shot number decide every pixel."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mtrl.data.synthetic.backgrounds import cut, frame
from mtrl.data.synthetic.body import Body, draw_body, draw_pose, pose_skeleton
from mtrl.data.synthetic.cameras import CAMERAS, FRAME_HEIGHT, FRAME_WIDTH, Camera
from mtrl.data.synthetic.difficulty import HEIGHT, WIDTH, Difficulty
from mtrl.data.synthetic.figure import figure_parts, occluding
from mtrl.data.synthetic.occluders import occluder_parts
from mtrl.data.synthetic.raycast import Hits, Part, cast
from mtrl.data.synthetic.sensor import develop, linear_of
from mtrl.data.synthetic.shading import (
    Light,
    draw_light,
    ground_shadow,
    occlusion,
    shade_infrared,
    shade_visible,
)
from mtrl.data.synthetic.spectra import is_thermal
from mtrl.data.synthetic.thermal.clothes import dressed_for_winter, insulate
from mtrl.data.synthetic.thermal.render import thermal_image
from mtrl.data.synthetic.thermal.scenery import traits
from mtrl.data.synthetic.wardrobe import Outfit, draw_outfit

Array = NDArray[Any]
DOMAINS = {"train": 101, "test": 202}
FINE_HEIGHT, FINE_WIDTH = HEIGHT * 3 // 2, WIDTH * 3 // 2
"""Rays are cast at one and a half times the final size, for smooth edges."""


@dataclasses.dataclass(frozen=True)
class Person:
    """An identity: body and clothes, and the key of its random numbers."""

    key: tuple[int, int, int]
    body: Body
    outfit: Outfit
    difficulty: Difficulty


@dataclasses.dataclass(frozen=True)
class Moment:
    """One shot before light falls on it: parts and their surfaces seen by the rays (xs[j], ys[i], 1), and where feet
    stand."""

    camera: Camera
    parts: list[Part]
    hits: Hits
    xs: Array
    ys: Array
    box: tuple[float, float, float, float]
    feet: list[Array]
    height: float
    light: Light


def draw_person(domain: str, seed: int, identity: int, difficulty: Difficulty | None = None) -> Person:
    """The person `identity` (0, 1, ...) of a domain ("train" | "test") and seed."""
    if domain not in DOMAINS:
        raise ValueError(f"domain must be one of {sorted(DOMAINS)}, not {domain!r}")
    if seed < 0 or identity < 0:
        raise ValueError(f"seed and identity must not be negative, got {seed} and {identity}")
    difficulty = difficulty or Difficulty()
    rng = np.random.default_rng(np.random.SeedSequence((DOMAINS[domain], seed, identity)))
    body = draw_body(rng, difficulty)
    outfit = insulate(draw_outfit(rng, difficulty, body.feminine), rng.spawn(1)[0])
    return Person((DOMAINS[domain], seed, identity), body, outfit, difficulty)


def render(
    person: Person, camera: int, shot: int, infrared: bool | None = None, spectrum: str = "nir"
) -> NDArray[np.uint8]:
    """uint8 [256, 128, 3]: `person` before `camera` (1 to 6). Infrared images have three equal channels.

    infrared  overrides the camera's own modality: the same instant, posture, crop and occluder in the other one
    spectrum  of infrared images, "nir" | "thermal" | "both" (`is_thermal`)
    """
    if camera not in CAMERAS:
        raise ValueError(f"camera must be 1 to 6, not {camera!r}")
    infrared, thermal = _kind(camera, shot, infrared, spectrum)
    return expose(person, moment(person, camera, shot), shot, infrared, thermal)


def prepare(camera: int, shot: int, infrared: bool | None = None, spectrum: str = "nir") -> None:
    """Draws the empty view that `render` needs for these arguments; this process keeps it, for whom it forks too."""
    infrared, thermal = _kind(camera, shot, infrared, spectrum)
    if infrared and thermal:
        traits(camera)
    else:
        frame(camera)


def _kind(camera: int, shot: int, infrared: bool | None, spectrum: str) -> tuple[bool, bool]:
    """Whether a picture is infrared, and which: whether it is thermal."""
    return (
        CAMERAS[camera].infrared if infrared is None else bool(infrared),
        is_thermal(spectrum, camera, shot),
    )


def moment(person: Person, camera: int, shot: int) -> Moment:
    """Geometry of a shot: independent of the spectrum and of all materials."""
    view, difficulty = CAMERAS[camera], person.difficulty
    rng = np.random.default_rng(np.random.SeedSequence((*person.key, camera, shot, 1)))
    pose = draw_pose(rng, difficulty, person.outfit.carry)
    skeleton = pose_skeleton(person.body, pose)
    distance, tangent = float(rng.uniform(*view.distance)), float(rng.uniform(-view.reach, view.reach))
    place, heading = view.ground(distance, tangent), float(rng.uniform(0, 2 * np.pi))
    turn = _about_y(heading)
    parts = [part.moved(turn, place) for part in figure_parts(person.body, person.outfit, skeleton)]
    rotation, shift = view.rotation, -view.rotation @ np.asarray(view.place)
    parts = [part.moved(rotation, shift) for part in parts]
    box = _crop(parts, view, rng, difficulty.crop_jitter)
    light = draw_light(rng, difficulty.illumination)
    extra = _surroundings(rng, view, place, distance, tangent, person)
    parts += [part.moved(rotation, shift) for part in extra]
    xs, ys = _rays(view, box)
    feet = [turn @ skeleton.joints["ankle_" + side] + place for side in "rl"]
    return Moment(view, parts, cast(parts, xs, ys), xs, ys, box, feet, person.body.height, light)


def expose(
    person: Person, scene: Moment, shot: int, infrared: bool, thermal: bool = False
) -> NDArray[np.uint8]:
    """The picture of a moment in one spectrum; `thermal`: which of the infrared ones."""
    camera, difficulty, light = scene.camera, person.difficulty, scene.light
    openness = occlusion(scene.hits, (FINE_HEIGHT, FINE_WIDTH))
    if infrared and thermal:
        rng = np.random.default_rng(np.random.SeedSequence((*person.key, camera.number, shot, 4)))
        winter, shape = dressed_for_winter(person.outfit), (FINE_HEIGHT, FINE_WIDTH)
        return thermal_image(
            scene.parts, scene.hits, shape, camera, scene.box, light, openness, winter, rng, difficulty
        )
    back = _background(camera, scene.box, infrared, difficulty.background_clutter)
    back *= ground_shadow(camera, light, scene.feet, scene.height, scene.xs, scene.ys, infrared)[:, :, None]
    if infrared:
        colour = shade_infrared(scene.hits, light, scene.xs, scene.ys, openness)
        back *= np.float32(light.lamp)
        exposure = 1.35 * light.exposure
    else:
        colour = shade_visible(scene.hits, camera, light, openness)
        back *= np.float32(
            (0.55 * light.key * camera.key[1] + light.ambient * camera.ambient[1])
            / (0.55 * camera.key[1] + camera.ambient[1])
        )
        exposure = light.exposure * 1.1 / (0.55 + 0.45 * light.key)
    flat = back.reshape(-1, back.shape[2])
    flat[scene.hits.pixels] = colour
    if not infrared:
        back *= np.asarray(light.tint, dtype=np.float32)
    rng = np.random.default_rng(np.random.SeedSequence((*person.key, camera.number, shot, 2 + int(infrared))))
    return develop(back, camera, infrared, rng, exposure, difficulty.sensor_noise)


def _about_y(angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _crop(
    parts: list[Part], camera: Camera, rng: np.random.Generator, jitter: float
) -> tuple[float, float, float, float]:
    """A detector's box (left, top, right, bottom) in pixels of the frame around the person, with its errors."""
    spheres = np.concatenate([part.bounds for part in parts])
    x, y = spheres[:, 0] / spheres[:, 2], spheres[:, 1] / spheres[:, 2]
    r = 0.8 * spheres[:, 3] / spheres[:, 2]
    left, right, top, bottom = (x - r).min(), (x + r).max(), (y + r).max(), (y - r).min()
    f = camera.focal
    tall = f * float(top - bottom) * (1.06 + jitter * float(np.clip(rng.normal(0, 0.05), -0.12, 0.16)))
    wide = max(0.42 * tall, f * float(right - left) * 1.02) * (
        1 + jitter * float(np.clip(rng.normal(0.02, 0.07), -0.15, 0.2))
    )
    wide = float(np.clip(wide, 0.36 * tall, 0.62 * tall))
    middle_x = (
        FRAME_WIDTH / 2
        + f * 0.5 * float(left + right)
        + jitter * wide * float(np.clip(rng.normal(0, 0.05), -0.14, 0.14))
    )
    middle_y = (
        FRAME_HEIGHT / 2
        - f * 0.5 * float(top + bottom)
        + jitter * tall * float(np.clip(rng.normal(0, 0.022), -0.07, 0.07))
    )
    if rng.random() < 0.12 * jitter:  # feet or head cut off
        cut = float(rng.uniform(0.06, 0.18)) * tall * (-1.0 if rng.random() < 0.75 else 0.4)
        middle_y, tall = middle_y + 0.5 * cut, tall - abs(cut)
    return middle_x - wide / 2, middle_y - tall / 2, middle_x + wide / 2, middle_y + tall / 2


def _surroundings(
    rng: np.random.Generator, camera: Camera, place: Array, distance: float, tangent: float, person: Person
) -> list[Part]:
    """Occluder and passers-by in world coordinates."""
    difficulty, extra = person.difficulty, []
    occluded, passing = (
        rng.random() < 0.75 * difficulty.occlusion,
        rng.random() < 0.25 * difficulty.occlusion + 0.05,
    )
    if occluded:
        extra += occluder_parts(rng, camera, place)
    if passing:
        body = draw_body(rng, difficulty)
        outfit = insulate(draw_outfit(rng, difficulty, body.feminine), rng.spawn(1)[0])
        skeleton = pose_skeleton(body, draw_pose(rng, difficulty, outfit.carry))
        nearer = rng.random() < 0.4 * (difficulty.occlusion > 0)
        other = distance * float(rng.uniform(0.78, 0.9) if nearer else rng.uniform(1.12, 1.35))
        side = (-1.0 if rng.random() < 0.5 else 1.0) * float(rng.uniform(0.45, 0.75)) / other
        turn, where = _about_y(float(rng.uniform(0, 2 * np.pi))), camera.ground(other, tangent + side)
        extra += [part.moved(turn, where) for part in occluding(figure_parts(body, outfit, skeleton))]
    return extra


def _rays(camera: Camera, box: tuple[float, float, float, float]) -> tuple[Array, Array]:
    left, top, right, bottom = box
    x = left + (np.arange(FINE_WIDTH) + 0.5) * (right - left) / FINE_WIDTH - FRAME_WIDTH / 2
    y = top + (np.arange(FINE_HEIGHT) + 0.5) * (bottom - top) / FINE_HEIGHT - FRAME_HEIGHT / 2
    return (x / camera.focal).astype(np.float32), (-y / camera.focal).astype(np.float32)


def _background(
    camera: Camera, box: tuple[float, float, float, float], infrared: bool, clutter: float
) -> Array:
    """Linear light float32 [FINE_HEIGHT, FINE_WIDTH, 3 or 1] of the empty scene inside a box."""
    piece, inner = cut(frame(camera.number)[int(infrared)], box)
    view = Image.fromarray(piece if piece.shape[2] == 3 else piece[:, :, 0])
    view = view.resize((FINE_WIDTH, FINE_HEIGHT), Image.Resampling.BICUBIC, box=inner)
    light = linear_of()[np.asarray(view).reshape(FINE_HEIGHT, FINE_WIDTH, -1)]
    if clutter != 1.0:
        grey = np.float32(0.2 if not infrared else 0.08)
        light = np.maximum(grey + np.float32(clutter) * (light - grey), 0)
    return light
