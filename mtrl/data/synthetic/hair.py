"""Head, face, hair and hats."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from mtrl.data.synthetic.body import Body, Skeleton
from mtrl.data.synthetic.materials import Material
from mtrl.data.synthetic.raycast import Part
from mtrl.data.synthetic.shapes import ellipsoid, limb
from mtrl.data.synthetic.wardrobe import Outfit

At = Callable[[float, float, float], np.ndarray]
"""From head coordinates in shares of the height to a point of the body."""
_DARK = Material((0.17, 0.11, 0.10), 0.36)


def head_parts(body: Body, outfit: Outfit, skeleton: Skeleton) -> list[Part]:
    """Neck, skull, face with painted features, hair, hat and scarf."""
    h, f, c = body.height * body.head, skeleton.head, skeleton.joints["skull"]

    def at(x: float, y: float, z: float) -> np.ndarray:
        return c + h * (np.array([x, y, z]) @ f)

    neck = skeleton.joints["neck"]
    face = dataclasses.replace(
        outfit.face, materials=(*outfit.face.materials, _DARK), logos=_features(h, outfit.glasses)
    )
    parts = [
        limb(
            neck - 0.03 * h * skeleton.torso[1],
            c - 0.02 * h * f[1],
            1.05 * body.neck,
            0.92 * body.neck,
            outfit.skin,
            f[2],
        ),
        ellipsoid(at(0, 0.012, -0.010), f, (0.0415 * h, 0.050 * h, 0.050 * h), outfit.skin),
        ellipsoid(at(0, -0.013, 0.010), f, (0.0375 * h, 0.054 * h, 0.040 * h), face),
        ellipsoid(at(0, -0.006, 0.049), f, (0.006 * h, 0.012 * h, 0.009 * h), outfit.skin),
        ellipsoid(at(0.043, -0.004, -0.002), f, (0.006 * h, 0.016 * h, 0.010 * h), outfit.skin),
        ellipsoid(at(-0.043, -0.004, -0.002), f, (0.006 * h, 0.016 * h, 0.010 * h), outfit.skin),
    ]
    parts += _hair(outfit, f, h, at)
    parts += _hat(outfit, f, h, at)
    if outfit.scarf is not None:
        t = skeleton.torso
        parts.append(ellipsoid(neck + 0.012 * h * t[1], t, (0.060 * h, 0.030 * h, 0.056 * h), outfit.scarf))
        tail = neck + 0.062 * h * t[2] + 0.02 * h * t[0]
        parts.append(
            limb(
                tail,
                tail - 0.17 * h * t[1] + 0.02 * h * t[2],
                0.022 * h,
                0.026 * h,
                outfit.scarf,
                t[2],
                flat=0.45,
            )
        )
    return parts


def _features(h: float, glasses: bool) -> tuple[tuple[str, float, float, float, float], ...]:
    eyes = [("disc", side * 0.46, 0.014 * h, 0.0065 * h, 0.0032 * h) for side in (-1, 1)]
    brows = [("rect", side * 0.46, 0.023 * h, 0.009 * h, 0.0022 * h) for side in (-1, 1)]
    mouth = [("rect", 0.0, -0.024 * h, 0.0115 * h, 0.0024 * h)]
    frames = [("ring", side * 0.46, 0.014 * h, 0.014 * h, 0.010 * h) for side in (-1, 1)] if glasses else []
    return tuple(eyes + brows + mouth + frames)


def _hair(outfit: Outfit, f: np.ndarray, h: float, at: At) -> list[Part]:
    style, hair = outfit.hair_style, outfit.hair
    if style == "bald":
        return []
    if style == "afro":
        return [ellipsoid(at(0, 0.034, -0.018), f, (0.064 * h, 0.058 * h, 0.066 * h), hair)]
    parts = [
        ellipsoid(at(0, 0.031, -0.018), f, (0.0465 * h, 0.041 * h, 0.055 * h), hair),
        ellipsoid(at(0, -0.002, -0.026), f, (0.0430 * h, 0.040 * h, 0.036 * h), hair),
    ]
    if style == "bob":
        parts.append(
            limb(
                at(0, 0.012, -0.014),
                at(0, -0.045, -0.016),
                0.052 * h,
                0.050 * h,
                hair,
                f[2],
                flat=0.78,
                high=0.075 * h,
            )
        )
    elif style == "long":
        parts.append(
            limb(at(0, 0.006, -0.018), at(0, -0.15, -0.050), 0.050 * h, 0.046 * h, hair, f[2], flat=0.62)
        )
    elif style == "ponytail":
        parts.append(limb(at(0, 0.022, -0.064), at(0, -0.085, -0.082), 0.014 * h, 0.019 * h, hair, f[2]))
    elif style == "bun":
        parts.append(ellipsoid(at(0, 0.040, -0.066), f, (0.026 * h, 0.025 * h, 0.024 * h), hair))
    return parts


def _hat(outfit: Outfit, f: np.ndarray, h: float, at: At) -> list[Part]:
    hat, cloth = outfit.hat, outfit.hat_surface
    if not hat:
        return []
    if outfit.hair_style == "afro":
        hat = "beanie"
    puff = 0.012 if outfit.hair_style == "afro" else 0.0
    wide, tall = (0.053 + puff) * h, ((0.058 if hat == "beanie" else 0.048) + puff) * h
    parts = [ellipsoid(at(0, 0.026, -0.008), f, (wide, tall, 0.061 * h + puff * h), cloth, low=-0.12)]
    if hat == "cap":
        parts.append(ellipsoid(at(0, 0.026, 0.056), f, (0.042 * h, 0.006 * h, 0.046 * h), cloth))
    elif hat == "brim":
        parts.append(ellipsoid(at(0, 0.024, -0.006), f, (0.098 * h, 0.007 * h, 0.102 * h), cloth))
    return parts
