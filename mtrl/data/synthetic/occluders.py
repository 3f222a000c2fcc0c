"""Things that stand between the camera and the person, or near: poles, rails, furniture, plants."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrl.data.synthetic.cameras import Camera
from mtrl.data.synthetic.materials import Material, Surface
from mtrl.data.synthetic.raycast import Part
from mtrl.data.synthetic.shapes import box, ellipsoid, frame_along, limb
from mtrl.data.synthetic.thermal.heat import LEAF, Heat

Array = NDArray[Any]
_FRONT = np.array([0.0, 0.0, 1.0])
KINDS = ("pole", "rail", "crate", "plant", "car")


def occluder_parts(rng: np.random.Generator, camera: Camera, person: Array) -> list[Part]:
    """A random object (world coordinates) between the camera and a person at the ground point `person`."""
    eye = np.array([camera.place[0], 0.0, camera.place[2]])
    line = person - eye
    side = np.array([line[2], 0.0, -line[0]]) / np.linalg.norm(line)
    near = eye + float(rng.uniform(0.72, 0.88)) * line
    sign = 1.0 if rng.random() < 0.5 else -1.0
    kind = str(rng.choice(KINDS if camera.scene in ("plaza", "yard", "garden") else KINDS[:4]))
    tone = float(rng.uniform(0.1, 0.8))
    paint = (tone, tone * float(rng.uniform(0.85, 1)), tone * float(rng.uniform(0.7, 1)))
    infrared = float(rng.uniform(0.2, 0.8))
    heat = Heat(warmer=float(rng.spawn(1)[0].normal(1.0, 2.0)))
    surface = Surface((Material(paint, infrared),), folds=0.02, shine=0.08, heat=heat)
    frame = frame_along(np.array([0.0, 1.0, 0.0]), line)
    if kind == "pole":
        base = near + side * sign * float(rng.uniform(0.05, 0.30))
        radius = float(rng.uniform(0.03, 0.08))
        parts = [limb(base, base + np.array([0, 3.2, 0]), radius, radius, surface, _FRONT)]
    elif kind == "rail":
        parts = _rail(near, side, float(rng.uniform(0.75, 1.05)), surface)
    elif kind == "crate":
        half = (float(rng.uniform(0.25, 0.5)), float(rng.uniform(0.2, 0.42)), 0.25)
        centre = near + side * sign * float(rng.uniform(0.1, 0.5)) + np.array([0, half[1], 0])
        parts = [box(centre, frame, half, surface)]
    elif kind == "plant":
        parts = _plant(rng, near + side * sign * float(rng.uniform(0.15, 0.4)))
    else:
        centre = near + side * sign * float(rng.uniform(0.9, 1.25)) + np.array([0, 0.55, 0])
        parts = [
            ellipsoid(centre, frame, (1.0, 0.42, 0.7), surface),
            ellipsoid(
                centre + np.array([0, 0.38, 0]),
                frame,
                (0.62, 0.42, 0.6),
                Surface((Material((0.12, 0.14, 0.16), 0.12),), folds=0.0, shine=0.3),
            ),
        ]
    for part in parts:
        part.person = 0
    return parts


def _rail(near: Array, side: Array, height: float, surface: Surface) -> list[Part]:
    parts = []
    for y in (height, height * 0.55):
        up = np.array([0, y, 0])
        parts.append(limb(near - 1.5 * side + up, near + 1.5 * side + up, 0.022, 0.022, surface, _FRONT))
    for x in (-0.9, -0.3, 0.3, 0.9):
        post = near + (x + 0.12) * side
        parts.append(limb(post, post + np.array([0, height, 0]), 0.018, 0.018, surface, _FRONT))
    return parts


def _plant(rng: np.random.Generator, base: Array) -> list[Part]:
    leaf = Surface(
        (Material((0.15, 0.30, 0.12), 0.68), Material((0.30, 0.42, 0.18), 0.8)),
        "hstripes",
        0.05,
        folds=0.6,
        grain=0.3,
        heat=LEAF,
    )
    pot = Surface((Material((0.5, 0.32, 0.22), 0.5),))
    parts = [limb(base + np.array([0, 0.32, 0]), base, 0.17, 0.13, pot, _FRONT)]
    for _ in range(14):
        lift, turn, length = rng.uniform(0.4, 1.4), rng.uniform(0, 2 * np.pi), rng.uniform(0.25, 0.5)
        direction = np.array([np.cos(turn) * np.cos(lift), np.sin(lift), np.sin(turn) * np.cos(lift)])
        start = base + np.array([0, rng.uniform(0.3, 0.7), 0])
        parts.append(limb(start, start + length * direction, 0.03, 0.012, leaf, _FRONT, wide=1.6))
    return parts
