"""What stands where in the five places that the cameras watch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrl.data.synthetic.materials import Material, Surface
from mtrl.data.synthetic.raycast import Part
from mtrl.data.synthetic.shapes import box, ellipsoid, limb
from mtrl.data.synthetic.textures import (
    Texture,
    brick,
    ground,
    leaves,
    planks,
    radiators,
    tiles,
    wall,
    warm_windows,
)  # fmt: skip
from mtrl.data.synthetic.thermal.heat import LEAF

Array = NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Plane:
    """The plane where coordinate `axis` equals `level`, below height `top`; its texture takes the other two
    coordinates (x before z before y) in metres and gives albedo float32 [n, 4] and shade float32 [n]; `warm` takes
    them too and gives the share float32 [n] of a source of heat; `soak`: the share of the sun's heat that it keeps."""

    axis: int
    level: float
    texture: Texture
    top: float | None = None
    warm: Callable[[Array, Array], Array] | None = None
    soak: float = 1.0


def _solid(
    rgb: tuple[float, float, float],
    infrared: float,
    second: tuple[float, float, float] | None = None,
    pattern: str = "plain",
    period: float = 0.2,
    folds: float = 0.02,
) -> Surface:
    first = Material(rgb, infrared)
    return Surface(
        (first, first if second is None else Material(second, infrared * 0.7)), pattern, period, folds=folds
    )


def _crate(
    x: float, z: float, half: tuple[float, float, float], surface: Surface, y: float | None = None
) -> Part:
    return box(np.array([x, half[1] if y is None else y, z]), np.eye(3), half, surface)


def _bush(x: float, z: float, size: float, rng: np.random.Generator, tint: float = 0.0) -> list[Part]:
    leaf = Surface(
        (Material((0.16 + tint, 0.26 + tint, 0.11), 0.62), Material((0.30 + tint, 0.40, 0.16), 0.78)),
        "dots",
        0.09,
        folds=1.4,
        grain=0.55,
        heat=LEAF,
    )
    parts = []
    for _ in range(7):
        centre = np.array([x, 0.5 * size, z]) + size * rng.uniform(-0.45, 0.45, 3)
        parts.append(ellipsoid(centre, np.eye(3), size * rng.uniform(0.3, 0.5, 3), leaf))
    return parts


def _corridor() -> tuple[list[Plane], list[Part]]:
    grey, cream, blue = (0.72, 0.72, 0.69, 0.6), (0.80, 0.78, 0.70, 0.68), (0.40, 0.50, 0.56, 0.45)
    door = (0.45, 0.32, 0.22, 0.55)
    left = wall(
        cream,
        blue,
        1.05,
        doors=((5.2, 0.95, door), (9.0, 0.95, door)),
        pictures=((7.1, 1.6, 0.35, 0.5, (0.6, 0.35, 0.3, 0.5)),),
    )
    right = wall(
        cream,
        blue,
        1.05,
        doors=((7.3, 0.95, (0.50, 0.52, 0.50, 0.5)),),
        pictures=(
            (5.6, 1.65, 0.5, 0.38, (0.3, 0.45, 0.6, 0.5)),
            (9.6, 1.6, 0.3, 0.42, (0.65, 0.6, 0.3, 0.6)),
        ),
    )
    end = wall(cream, blue, 1.05, doors=((0.2, 1.7, (0.55, 0.60, 0.62, 0.4)),))
    planes = [
        Plane(1, 0.0, tiles(grey, 0.72, 0.6)),
        Plane(0, -2.3, left, warm=radiators(((6.3, 0.8), (10.6, 0.8)))),
        Plane(0, 2.3, right),
        Plane(2, 13.0, end),
        Plane(1, 2.95, tiles((0.86, 0.86, 0.84, 0.7), 0.8, 0.6, 0.02)),
    ]
    bench = _solid((0.35, 0.25, 0.18), 0.5)
    objects = [
        _crate(-2.05, 7.0, (0.22, 0.22, 0.7), bench),
        _crate(2.1, 9.2, (0.18, 0.9, 0.45), _solid((0.55, 0.57, 0.55), 0.5)),
        _crate(2.05, 4.4, (0.17, 0.35, 0.17), _solid((0.25, 0.27, 0.28), 0.3)),
    ]
    return planes, objects


def _room() -> tuple[list[Plane], list[Part]]:
    paint, base = (0.76, 0.72, 0.62, 0.62), (0.70, 0.66, 0.56, 0.55)
    back = wall(
        paint,
        base,
        0.0,
        doors=((3.0, 1.0, (0.36, 0.24, 0.16, 0.5)),),
        pictures=(
            (0.6, 1.65, 0.75, 0.5, (0.85, 0.86, 0.84, 0.7)),
            (-2.3, 1.7, 0.4, 0.55, (0.25, 0.40, 0.30, 0.6)),
        ),
    )
    side = wall(
        paint,
        base,
        0.0,
        pictures=(
            (4.5, 1.6, 0.6, 0.42, (0.55, 0.35, 0.25, 0.5)),
            (7.0, 1.6, 0.35, 0.5, (0.3, 0.35, 0.5, 0.45)),
        ),
    )
    planes = [
        Plane(1, 0.0, planks((0.55, 0.42, 0.30, 0.55), 0.14)),
        Plane(0, -4.2, side),
        Plane(0, 4.4, side),
        Plane(2, 8.6, back, warm=radiators(((-1.3, 0.9),))),
        Plane(1, 2.75, tiles((0.84, 0.83, 0.80, 0.7), 0.85, 0.6, 0.02)),
    ]
    oak, dark, screen = (
        _solid((0.60, 0.47, 0.32), 0.62),
        _solid((0.18, 0.17, 0.17), 0.35),
        _solid((0.08, 0.09, 0.11), 0.12),
    )
    objects = [
        _crate(-3.0, 7.9, (0.9, 0.37, 0.4), oak),
        _crate(-3.1, 8.0, (0.3, 0.2, 0.04), screen, 0.98),
        _crate(-1.6, 7.9, (0.28, 0.45, 0.28), dark),
        _crate(1.2, 8.25, (0.6, 0.95, 0.25), oak),
        _crate(4.0, 6.2, (0.3, 0.6, 0.8), _solid((0.45, 0.46, 0.48), 0.4)),
        _crate(-3.9, 4.6, (0.3, 0.4, 0.9), dark),
    ]
    return planes, objects


def _plaza() -> tuple[list[Plane], list[Part]]:
    rng = np.random.default_rng(4)
    stone = tiles((0.66, 0.63, 0.58, 0.58), 0.75, 0.45, 0.08)
    windows = (2.6, 1.5, 0.9)
    house = brick((0.55, 0.34, 0.27, 0.58), windows)
    planes = [Plane(1, 0.0, stone), Plane(2, 14.0, house, 9.0, warm_windows(windows))]
    steel, bin_ = _solid((0.40, 0.42, 0.44), 0.4), _solid((0.16, 0.26, 0.20), 0.3)
    objects = [
        _crate(-4.6, 10.5, (1.0, 0.23, 0.28), _solid((0.42, 0.30, 0.20), 0.55)),
        _crate(4.8, 10.0, (0.28, 0.5, 0.28), bin_),
    ]
    for x in (-6.5, -2.2, 2.4, 6.6):
        objects.append(
            limb(np.array([x, 0.0, 11.5]), np.array([x, 3.6, 11.5]), 0.09, 0.07, steel, np.array([0.0, 0, 1]))
        )
    for x in (-7.5, 7.2):
        objects += _bush(x, 12.6, 2.2, rng)
    objects.append(_crate(0.6, 13.2, (1.5, 0.35, 0.35), _solid((0.60, 0.58, 0.55), 0.5)))
    for x in (-0.3, 0.6, 1.5):
        objects += _bush(x, 13.1, 1.0, rng)
    return planes, objects


def _garden() -> tuple[list[Plane], list[Part]]:
    rng = np.random.default_rng(5)
    lawn, path = (0.30, 0.40, 0.18, 0.72), (0.56, 0.53, 0.49, 0.5)
    floor = ground(
        lawn,
        0.28,
        (
            (-2.4, 2.6, path, 0.12),
            (-2.55, -2.4, (0.65, 0.64, 0.6, 0.6), 0.05),
            (2.6, 2.75, (0.65, 0.64, 0.6, 0.6), 0.05),
        ),
    )
    planes = [
        Plane(1, 0.0, floor),
        Plane(2, 12.0, leaves((0.24, 0.35, 0.16, 0.72)), 2.6, soak=LEAF.soak),
        Plane(2, 24.0, leaves((0.34, 0.42, 0.28, 0.7), 0.3), 9.0, soak=LEAF.soak),
    ]
    objects = [_crate(3.5, 9.5, (0.9, 0.22, 0.25), _solid((0.40, 0.30, 0.22), 0.55))]
    trunk = _solid((0.33, 0.27, 0.21), 0.45, folds=0.6)
    for x, z in ((-4.2, 9.0), (4.6, 10.8), (-1.6, 11.6)):
        objects.append(
            limb(np.array([x, 0.0, z]), np.array([x + 0.2, 5.0, z]), 0.20, 0.14, trunk, np.array([0.0, 0, 1]))
        )
    for x, z, size in (
        (-3.6, 7.6, 0.9),
        (-4.8, 6.3, 1.3),
        (4.4, 7.4, 1.1),
        (3.4, 11.0, 1.3),
        (0.8, 11.6, 1.2),
    ):
        objects += _bush(x, z, size, rng, float(rng.uniform(0, 0.08)))
    return planes, objects


def _yard() -> tuple[list[Plane], list[Part]]:
    rng = np.random.default_rng(6)
    floor = ground(
        (0.42, 0.42, 0.43, 0.42),
        0.12,
        ((9.2, 10.4, (0.66, 0.65, 0.62, 0.62), 0.06), (6.4, 6.52, (0.85, 0.85, 0.83, 0.85), 0.05)),
        along=False,
    )
    windows = (3.2, 1.3, 1.0)
    house = brick((0.66, 0.60, 0.52, 0.52), windows)
    planes = [Plane(1, 0.0, floor), Plane(2, 11.5, house, 7.0, warm_windows(windows))]
    objects = [
        _crate(-4.4, 9.8, (0.5, 0.6, 0.4), _solid((0.2, 0.3, 0.24), 0.3)),
        _crate(3.9, 10.6, (1.0, 0.7, 0.5), _solid((0.5, 0.5, 0.52), 0.35)),
    ]
    for x in (-3.0, -1.0, 1.0, 3.0, 5.0):
        objects.append(
            limb(
                np.array([x, 0.0, 9.0]),
                np.array([x, 0.9, 9.0]),
                0.07,
                0.07,
                _solid((0.6, 0.6, 0.6), 0.6),
                np.array([0.0, 0, 1]),
            )
        )
    objects += _bush(-5.6, 8.6, 1.5, rng) + _bush(5.8, 9.2, 1.4, rng)
    return planes, objects


SCENES: dict[str, Callable[[], tuple[list[Plane], list[Part]]]] = {
    "corridor": _corridor,
    "room": _room,
    "plaza": _plaza,
    "garden": _garden,
    "yard": _yard,
}
