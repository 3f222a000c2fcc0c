"""Constructors of parts: limbs, ellipsoids, lofts and boxes between points of a body."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrl.data.synthetic.materials import Surface
from mtrl.data.synthetic.raycast import TABLE, Part

Array = NDArray[Any]


def frame_along(axis: Array, front: Array) -> Array:
    """Rows (side, axis, front): `axis` normalised, `front` made perpendicular to it."""
    y = axis / np.sqrt(axis @ axis)
    z = front - (front @ y) * y
    if z @ z < 1e-6:
        z = np.array([0.0, 0.3, 1.0]) - np.array([0.0, 0.3, 1.0]) @ y * y
    z = z / np.sqrt(z @ z)
    return np.array([[y[1] * z[2] - y[2] * z[1], y[2] * z[0] - y[0] * z[2], y[0] * z[1] - y[1] * z[0]], y, z])


def limb(
    a: Array,
    b: Array,
    r0: float,
    r1: float,
    surface: Surface,
    front: Array,
    flat: float = 1.0,
    low: float = -1e9,
    high: float = 1e9,
    v_shift: float = 0.0,
    wide: float = 1.0,
) -> Part:
    """A round cone from `a` to `b`; `flat` and `wide` scale it along `front` and sideways. Clips in metres from a."""
    length = float(np.linalg.norm(b - a))
    matrix = frame_along(b - a, front) * np.array([1 / wide, 1.0, 1 / flat])[:, None]
    reach = max(1.0, flat, wide)
    bounds = np.array([[*a, r0 * reach], [*b, r1 * reach]])
    return Part(
        "cone",
        matrix,
        a,
        surface,
        bounds,
        length,
        r0,
        r1,
        low,
        high,
        v_shift=v_shift,
        girth=max(r0, r1) * wide,
    )


def ellipsoid(
    centre: Array,
    frame: Array,
    radii: Sequence[float] | Array,
    surface: Surface,
    low: float = -1e9,
    high: float = 1e9,
) -> Part:
    """An ellipsoid with axes along the rows of `frame`; `low` and `high` clip its own y in units of its radius."""
    r = np.asarray(radii, dtype=float)
    bounds = np.array([[*centre, r.max()]])
    part = Part("cone", frame / r[:, None], centre, surface, bounds, r0=1.0, r1=1.0, low=low, high=high)
    part.v_scale, part.girth = float(r[1]), float(r[0])
    return part


def box(centre: Array, frame: Array, half: Sequence[float], surface: Surface) -> Part:
    """A box with half sizes along the rows of `frame`."""
    h = np.asarray(half, dtype=float)
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * h @ frame + centre
    bounds = np.concatenate([corners, np.full((8, 1), 0.01)], axis=1)
    return Part("box", frame, centre, surface, bounds, half=h, girth=float(h[0]))


def loft(
    origin: Array,
    frame: Array,
    sections: Sequence[tuple[float, float, float, float]],
    surface: Surface,
    low: float | None = None,
    smooth: int = 17,
) -> Part:
    """Elliptic sections (y, half width, half depth, offset in z), y ascending, joined smoothly; cut below `low`."""
    table = np.array(sections, dtype=float)
    bottom = table[0, 0] if low is None else low
    y = np.linspace(bottom, table[-1, 0], TABLE)
    window = np.hanning(smooth + 2)[1:-1]
    window /= window.sum()
    rows = []
    for column in (1, 2, 3):
        values = np.pad(np.interp(y, table[:, 0], table[:, column]), smooth // 2, mode="edge")
        rows.append(np.convolve(values, window, mode="valid"))
    step = y[1] - y[0]
    rows += [np.gradient(rows[0], step), np.gradient(rows[1], step)]
    profile = np.stack(rows).astype(np.float32)
    knots = np.linspace(0, TABLE - 1, 7).astype(int)
    centres = origin + y[knots, None] * frame[1] + profile[2, knots, None] * frame[2]
    radius = np.maximum(profile[0], profile[1]).max() * np.ones((7, 1))
    part = Part(
        "loft",
        frame,
        origin,
        surface,
        np.concatenate([centres, radius], axis=1),
        low=float(bottom),
        high=float(y[-1]),
        profile=profile,
    )
    part.girth = float(profile[0].max())
    return part
