"""Textures of floors, walls, lawns and hedges, as functions of coordinates in metres."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrl.data.synthetic.materials import NOISE, noise_tile

Array = NDArray[Any]
Colour = tuple[float, float, float, float]
"""Visible red, green, blue and infrared lightness, all on the display scale."""
Texture = Callable[[Array, Array], tuple[Array, Array]]
"""Coordinates [n], [n] -> albedo float32 [n, 4] (linear) and shade float32 [n]."""


def _noise(u: Array, v: Array, scale: float, seed: int = 7, power: float = 1.6) -> Array:
    rows, columns = np.floor(u * scale).astype(np.int32) % NOISE, np.floor(v * scale).astype(np.int32) % NOISE
    return noise_tile(seed, power)[rows, columns]


def _colour(*values: float) -> Array:
    return np.asarray(values, dtype=np.float32) ** np.float32(2.2)


def _fill(u: Array, colour: Colour, texture: Array) -> Array:
    return _colour(*colour) * (1 + texture[:, None])


def tiles(colour: Colour, joint: float, size: float, rough: float = 0.06) -> Texture:
    """Square tiles with joints; every tile has its own brightness."""

    def paint(u: Array, v: Array) -> tuple[Array, Array]:
        own = noise_tile(3, 0.0)[
            np.floor(u / size).astype(np.int32) % NOISE, np.floor(v / size).astype(np.int32) % NOISE
        ]
        albedo = _fill(u, colour, rough * _noise(u, v, 60) + 0.5 * rough * np.clip(own, -2, 2))
        lines = (np.mod(u, size) < 0.018) | (np.mod(v, size) < 0.018)
        albedo[lines] *= np.float32(joint)
        return albedo, 0.9 + 0.12 * _noise(u, v, 9, 5, 2.2)

    return paint


def planks(colour: Colour, width: float) -> Texture:
    """Wooden boards along v."""

    def paint(u: Array, v: Array) -> tuple[Array, Array]:
        board = np.floor(u / width).astype(np.int32)
        own = noise_tile(3, 0.0)[board % NOISE, (np.floor(v / 1.4 + 0.37 * board)).astype(np.int32) % NOISE]
        albedo = _fill(u, colour, 0.10 * np.clip(own, -2, 2) + 0.08 * _noise(u * 8, v, 30))
        albedo[np.mod(u, width) < 0.008] *= np.float32(0.55)
        return albedo, 0.9 + 0.10 * _noise(u, v, 8, 5, 2.2)

    return paint


def wall(
    colour: Colour,
    base: Colour,
    line: float,
    rough: float = 0.04,
    doors: tuple[tuple[float, float, Colour], ...] = (),
    pictures: tuple[tuple[float, float, float, float, Colour], ...] = (),
) -> Texture:
    """A painted wall, `base` below height `line`; doors (u, width, colour), posters (u, y, width, height, colour)."""

    def paint(u: Array, y: Array) -> tuple[Array, Array]:
        albedo = _fill(u, colour, rough * _noise(u, y, 40))
        lower = y < line
        albedo[lower] = _fill(u[lower], base, rough * _noise(u[lower], y[lower], 40))
        albedo[y < 0.12] *= np.float32(0.45)
        for centre, width, paint_colour in doors:
            inside = (np.abs(u - centre) < width / 2) & (y < 2.1)
            frame = inside & ((np.abs(u - centre) > width / 2 - 0.07) | (y > 2.03))
            albedo[inside] = _colour(*paint_colour)
            albedo[frame] = _colour(0.85, 0.84, 0.80, 0.7)
            albedo[inside & (np.abs(u - centre + 0.35 * width) < 0.03) & (np.abs(y - 1.02) < 0.03)] = 0.6
        for centre, height, wide, tall, tint in pictures:
            x, z = (u - centre) / wide, (y - height) / tall
            inside = (np.abs(x) < 1) & (np.abs(z) < 1)
            albedo[inside] = _colour(0.88, 0.88, 0.86, 0.75)
            print_ = inside & (np.abs(x) < 0.88) & (z > -0.2) & (z < 0.85)
            albedo[print_] = _fill(u[print_], tint, 0.45 * _noise(u[print_], y[print_], 35, 5, 1.9))
            albedo[inside & (z < -0.3) & (np.mod(z * 6, 1) < 0.5) & (np.abs(x) < 0.7)] *= np.float32(0.35)
        return albedo, (0.80 + 0.10 * np.clip(y / 2.5, 0, 1) + 0.10 * _noise(u, y, 7, 5, 2.2)).astype(
            np.float32
        )

    return paint


def brick(colour: Colour, windows: tuple[float, float, float] | None = None) -> Texture:
    """Brickwork; `windows`: spacing, width, sill height."""

    def paint(u: Array, y: Array) -> tuple[Array, Array]:
        row = np.floor(y / 0.085).astype(np.int32)
        column = np.floor(u / 0.24 + 0.5 * (row % 2)).astype(np.int32)
        own = noise_tile(3, 0.0)[row % NOISE, column % NOISE]
        albedo = _fill(u, colour, 0.13 * np.clip(own, -2, 2) + 0.07 * _noise(u, y, 60))
        joint = (np.mod(y, 0.085) < 0.012) | (np.mod(u / 0.24 + 0.5 * (row % 2), 1) < 0.05)
        albedo[joint] = _colour(0.62, 0.60, 0.57, 0.6)
        if windows is not None:
            inside, glass = _windows(u, y, windows)
            albedo[inside] = _colour(0.80, 0.80, 0.78, 0.7)
            albedo[glass] = _fill(
                u[glass], (0.22, 0.27, 0.32, 0.16), 0.35 * _noise(u[glass], y[glass], 12, 5, 2.2)
            )
        return albedo, 0.85 + 0.06 * _noise(u, y, 8, 5, 2.2)

    return paint


def _windows(u: Array, y: Array, windows: tuple[float, float, float]) -> tuple[Array, Array]:
    """Where windows (spacing, width, sill height) and their panes are, bool [n] each."""
    spacing, width, sill = windows
    x = np.mod(u, spacing) - spacing / 2
    inside = (np.abs(x) < width / 2) & (np.mod(y, 3.1) > sill) & (np.mod(y, 3.1) < sill + 1.5)
    glass = inside & (np.abs(np.abs(x) - width / 4) < width / 4 - 0.05) & (np.mod(y, 3.1) > sill + 0.07)
    return inside, glass


def warm_windows(windows: tuple[float, float, float]) -> Callable[[Array, Array], Array]:
    """The rooms behind windows as sources of heat, some warmer than others: coordinates to float32 [n] in [0, 1]."""

    def warmth(u: Array, y: Array) -> Array:
        room = np.floor(u / windows[0]).astype(np.int32) * 5 + np.floor(y / 3.1).astype(np.int32)
        own = np.clip(0.5 + 0.4 * noise_tile(3, 0.0)[room % NOISE, (3 * room) % NOISE], 0, 1)
        inside, glass = _windows(u, y, windows)
        return np.where(glass, own, 0.3 * own * inside).astype(np.float32)

    return warmth


def radiators(places: tuple[tuple[float, float], ...]) -> Callable[[Array, Array], Array]:
    """Radiators (u, width) low on a wall as sources of heat: coordinates to float32 [n] in [0, 1]."""

    def warmth(u: Array, y: Array) -> Array:
        warm = np.zeros(len(u), dtype=np.float32)
        for centre, width in places:
            warm[(np.abs(u - centre) < width / 2) & (np.abs(y - 0.45) < 0.3)] = 1
        return warm

    return warmth


def leaves(colour: Colour, depth: float = 0.5) -> Texture:
    """A hedge: clumps of leaves with dark gaps."""

    def paint(u: Array, v: Array) -> tuple[Array, Array]:
        albedo = _fill(
            u, colour, np.clip(0.30 * _noise(u, v, 90, 13, 0.9) + 0.2 * _noise(u, v, 25, 7), -0.75, 1.2)
        )
        return albedo, np.clip(0.75 + depth * 0.45 * _noise(u, v, 45, 5, 1.3), 0.15, 1.3).astype(np.float32)

    return paint


def ground(
    colour: Colour,
    rough: float,
    strips: tuple[tuple[float, float, Colour, float], ...] = (),
    along: bool = True,
) -> Texture:
    """Loose ground with strips (from, to, colour, roughness) across u (`along`) or v: paths, lawns, road markings."""

    def paint(u: Array, v: Array) -> tuple[Array, Array]:
        albedo = _fill(u, colour, rough * _noise(u, v, 80, 7, 1.2) + rough * _noise(u, v, 20))
        where = u if along else v
        for start, end, strip, grain in strips:
            inside = (where + 0.03 * _noise(u, v, 30) * (grain > 0.1) > start) & (where < end)
            albedo[inside] = _fill(u[inside], strip, grain * _noise(u[inside], v[inside], 90, 13, 0.9))
        return albedo, 0.92 + 0.07 * _noise(u, v, 6, 5, 2.2)

    return paint
