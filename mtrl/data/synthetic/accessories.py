"""Bags, hoods, collars and other things that a person carries."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mtrl.data.synthetic.body import Body, Skeleton
from mtrl.data.synthetic.materials import Surface
from mtrl.data.synthetic.raycast import Part
from mtrl.data.synthetic.shapes import box, ellipsoid, frame_along, limb
from mtrl.data.synthetic.wardrobe import Outfit

_UP = np.array([0.0, 1.0, 0.0])


def accessory_parts(body: Body, outfit: Outfit, skeleton: Skeleton) -> list[Part]:
    """Parts of bag, hood and collar in body coordinates."""
    parts = _neckline(body, outfit, skeleton)
    if outfit.bag in ("backpack", "shoulder", "cross"):
        parts += _worn_bag(body, outfit, skeleton)
    elif outfit.bag:
        parts += _held_bag(body, outfit, skeleton)
    return parts


def _neckline(body: Body, outfit: Outfit, skeleton: Skeleton) -> list[Part]:
    top, t, neck, h = outfit.top, skeleton.torso, skeleton.joints["neck"], body.height
    parts: list[Part] = []
    if top.hood:
        parts.append(
            ellipsoid(
                neck + h * (0.008 * t[1] - 0.046 * t[2]),
                t,
                (0.062 * h, 0.036 * h, 0.032 * h),
                top.sleeve_surface,
            )
        )
    if top.collar:
        parts.append(
            limb(
                neck - 0.012 * h * t[1],
                neck + 0.024 * h * t[1] + 0.004 * h * t[2],
                1.26 * body.neck,
                1.22 * body.neck,
                top.sleeve_surface,
                t[2],
                high=0.034 * h,
            )
        )
    return parts


def _worn_bag(body: Body, outfit: Outfit, skeleton: Skeleton) -> list[Part]:
    top, t, j, cloth = outfit.top, skeleton.torso, skeleton.joints, outfit.bag_surface
    trunk = float(np.linalg.norm(j["neck"] - j["pelvis"]))
    thick = top.thick + 0.8 * top.loose
    depth = 0.70 * body.chest + thick

    def at(x: float, y: float, z: float) -> np.ndarray:
        return j["pelvis"] + np.array([x, y, z]) @ t

    if outfit.bag == "backpack":
        return _backpack(at, trunk, depth, body.shoulder, cloth, t)
    side = 1.0 if outfit.hand == "r" else -1.0
    hip = side * (body.hips + thick + 0.035)
    parts = [box(at(hip, -0.02, -0.03), t, (0.045, 0.115, 0.155), cloth)]
    start = -side * 0.62 * body.shoulder if outfit.bag == "cross" else side * 0.80 * body.shoulder
    for z in (depth, -depth):
        middle = at(0.5 * (start + hip), 0.62 * trunk, 1.02 * z)
        parts.append(limb(at(start, 0.97 * trunk, 0.15 * z), middle, 0.020, 0.020, cloth, t[2]))
        parts.append(limb(middle, at(hip, 0.08, 0.8 * z), 0.020, 0.020, cloth, t[2]))
    return parts


def _backpack(
    at: Callable[[float, float, float], np.ndarray],
    trunk: float,
    depth: float,
    shoulder: float,
    cloth: Surface,
    t: np.ndarray,
) -> list[Part]:
    z = -depth - 0.055
    parts = [
        box(at(0, 0.60 * trunk, z), t, (0.135, 0.195, 0.070), cloth),
        ellipsoid(at(0, 0.60 * trunk + 0.17, z), t, (0.135, 0.07, 0.075), cloth),
        ellipsoid(at(0, 0.46 * trunk, z - 0.05), t, (0.11, 0.11, 0.06), cloth),
    ]
    for x in (-0.62 * shoulder, 0.62 * shoulder):
        front = at(1.05 * x, 0.80 * trunk, depth * 0.93)
        parts.append(limb(at(x, 0.985 * trunk, 0.0), front, 0.030, 0.030, cloth, t[2], flat=0.8))
        parts.append(
            limb(front, at(1.25 * x, 0.52 * trunk, 0.75 * depth), 0.030, 0.026, cloth, t[2], flat=0.5)
        )
    return parts


def _held_bag(body: Body, outfit: Outfit, skeleton: Skeleton) -> list[Part]:
    cloth, hand = outfit.bag_surface, skeleton.joints["hand_" + outfit.hand]
    side = 1.0 if outfit.hand == "r" else -1.0
    if outfit.bag == "suitcase":
        base = np.array([hand[0] + side * 0.06, 0.34, hand[2] - 0.30])
        parts = [box(base, np.eye(3), (0.21, 0.30, 0.12), cloth)]
        return [
            *parts,
            limb(
                base + np.array([0, 0.30, -0.05]), hand, 0.012, 0.012, outfit.sole, np.array([0.0, 0.0, 1.0])
            ),
        ]
    half = (0.05, 0.13, 0.17) if outfit.bag == "handbag" else (0.055, 0.20, 0.16)
    frame = frame_along(_UP, np.array([0.0, 0.0, 1.0]))
    centre = hand - np.array([0, half[1] + 0.16, 0])
    parts = [box(centre, frame, half, cloth)]
    for z in (-0.07, 0.07):
        parts.append(
            limb(centre + np.array([0, half[1], z]), hand, 0.010, 0.010, cloth, np.array([0.0, 0.0, 1.0]))
        )
    return parts
