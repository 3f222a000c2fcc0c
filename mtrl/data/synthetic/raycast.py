"""Ray casting of round cones, lofts and boxes into a depth buffer, each inside its bounding rectangle only.

A part lives in a local frame given by an affine map (three rows, scaled), so that one formula covers
ellipsoids, flattened limbs and tilted boxes. Rays leave the camera at the origin with direction (x, y, 1);
the ray parameter is therefore the depth and is the same in every local frame.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrl.data.synthetic.materials import Surface

Array = NDArray[Any]
TABLE = 192
_FAR = np.float32(np.inf)


@dataclasses.dataclass
class Part:
    """A primitive in the coordinates of its owner: local = matrix @ (point - origin).

    kind "cone":  a round cone on the local y axis from 0 to `length` with radii r0, r1 (length 0: a sphere)
    kind "loft":  elliptic sections on the y axis; `profile` float32 [5, TABLE]: half width, half depth, offset
                  of the centre in z, and the slopes of the first two, over [low, high]
    kind "box":   half sizes `half`, with normals rounded towards the corners
    low, high     clip on local y; what lies outside is cut away
    bounds        float [K, 4]: spheres (centre in owner's coordinates, radius) whose union holds the part
    v_scale       metres per unit of local y, v_shift: added to it (surface coordinate along the part)
    """

    kind: str
    matrix: Array
    origin: Array
    surface: Surface
    bounds: Array
    length: float = 0.0
    r0: float = 0.0
    r1: float = 0.0
    low: float = -1e9
    high: float = 1e9
    profile: Array | None = None
    half: Array | None = None
    v_scale: float = 1.0
    v_shift: float = 0.0
    girth: float = 0.1
    person: int = 1

    def moved(self, rotation: Array, shift: Array) -> Part:
        """The same part after point -> rotation @ point + shift."""
        bounds = self.bounds.copy()
        bounds[:, :3] = bounds[:, :3] @ rotation.T + shift
        return dataclasses.replace(
            self, matrix=self.matrix @ rotation.T, origin=rotation @ self.origin + shift, bounds=bounds
        )


@dataclasses.dataclass
class Hits:
    """The nearest surfaces. Flat pixel indices `pixels` [n] and, for each: depth, normal [3,n] in camera
    coordinates (unit), albedo [4,n] (linear red, green, blue, infrared), shine [n], person [n] (0: occluder), owner [n]
    (number of the part), and the coordinates on its surface: angle [n] (0: front) and v [n] (metres along it)."""

    pixels: Array
    depth: Array
    normal: Array
    albedo: Array
    shine: Array
    person: Array
    owner: Array
    angle: Array
    v: Array


def cast(parts: list[Part], xs: Array, ys: Array) -> Hits:
    """Casts rays (xs[j], ys[i], 1) at `parts` given in camera coordinates. xs ascend, ys descend."""
    height, width = len(ys), len(xs)
    depth = np.full((height, width), _FAR, dtype=np.float32)
    owner = np.full((height, width), -1, dtype=np.int16)
    for number, part in enumerate(parts):
        box = _rectangle(part.bounds, xs, ys)
        if box is None:
            continue
        i0, i1, j0, j1 = box
        x, y = xs[j0:j1], ys[i0:i1]
        m = part.matrix.astype(np.float32)
        rays = [(m[k, 0] * x + m[k, 2])[None, :] + (m[k, 1] * y)[:, None] for k in range(3)]
        start = (-(part.matrix @ part.origin)).astype(np.float32)
        t = _INTERSECT[part.kind](part, rays, start)
        view = depth[i0:i1, j0:j1]
        nearer = (t < view) & (t > 0.2)
        np.copyto(view, t, where=nearer)
        np.copyto(owner[i0:i1, j0:j1], np.int16(number), where=nearer)
    return _resolve(parts, xs, ys, depth.ravel(), owner.ravel())


def _rectangle(bounds: Array, xs: Array, ys: Array) -> tuple[int, int, int, int] | None:
    z = np.maximum(bounds[:, 2] - bounds[:, 3], 0.3)
    if bounds[:, 2].max() <= 0.3:
        return None
    cx, cy, r = bounds[:, 0] / bounds[:, 2], bounds[:, 1] / bounds[:, 2], 1.06 * bounds[:, 3] / z
    j0, j1 = np.searchsorted(xs, ((cx - r).min(), (cx + r).max()))
    i0, i1 = np.searchsorted(-ys, ((-cy - r).min(), (-cy + r).max()))
    if j0 >= j1 or i0 >= i1:
        return None
    return int(i0), int(i1), int(j0), int(j1)


def _hit_cone(part: Part, rays: list[Array], start: Array) -> Array:
    dx, dy, dz = rays
    ox, oy, oz = start
    flat, along = dx * dx + dz * dz, ox * dx + oz * dz
    t = None
    if part.length > 0:
        sine = (part.r0 - part.r1) / part.length
        cosine = np.sqrt(max(1.0 - sine * sine, 1e-4))
        slope = np.float32(sine / cosine)
        reach = np.float32(part.r0 / cosine) - slope * oy
        a = flat - (slope * dy) ** 2
        b = along + (slope * reach) * dy
        c = ox * ox + oz * oz - reach * reach
        root = b * b - a * c
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (-b - np.sqrt(np.maximum(root, 0))) / a
            y = oy + t * dy
        low = max(part.r0 * sine, part.low)
        high = min(part.length + part.r1 * sine, part.high)
        t = np.where((root > 0) & (a > 1e-9) & (y >= low) & (y <= high), t, _FAR)
    square = flat + dy * dy
    for centre, radius in ((0.0, part.r0), (part.length, part.r1))[: 2 if part.length > 0 else 1]:
        if centre - radius > part.high or centre + radius < part.low:
            continue
        up = oy - np.float32(centre)
        b = along + up * dy
        c = ox * ox + up * up + oz * oz - np.float32(radius * radius)
        root = b * b - square * c
        cap = (-b - np.sqrt(np.maximum(root, 0))) / square
        good = root > 0
        if part.low > centre - radius or part.high < centre + radius:
            y = oy + cap * dy
            good &= (y >= part.low) & (y <= part.high)
        cap = np.where(good, cap, _FAR)
        t = cap if t is None else np.minimum(t, cap)
    assert t is not None
    return t


def _hit_loft(part: Part, rays: list[Array], start: Array) -> Array:
    assert part.profile is not None
    dx, dy, dz = rays
    ox, oy, oz = start
    wide, deep, offset = 1 / part.profile[0] ** 2, 1 / part.profile[1] ** 2, part.profile[2]
    step = np.float32((TABLE - 1) / (part.high - part.low))
    y = oy - (ox * dx + oz * dz) / (dx * dx + dz * dz) * dy
    t = root = y
    for turn in range(5):
        index = np.clip((y - np.float32(part.low)) * step, 0, TABLE - 1).astype(np.int16)
        w, d, z = wide[index], deep[index], oz - offset[index]
        wx, dzz = w * dx, d * dz
        a = wx * dx + dzz * dz
        b = wx * ox + dzz * z
        root = b * b - a * (w * (ox * ox) + d * z * z - 1)
        t = (-b - np.sqrt(np.maximum(root, 0))) / a
        new = oy + t * dy
        y = new if turn < 2 or turn == 4 else 0.5 * (y + new)
    return np.where((root > 0) & (y >= part.low) & (y <= part.high), t, _FAR)


def _hit_box(part: Part, rays: list[Array], start: Array) -> Array:
    assert part.half is not None
    near: Array = np.float32(-1e9)
    far: Array = np.float32(1e9)
    for d, o, h in zip(rays, start, part.half, strict=True):
        d = np.where(np.abs(d) < 1e-7, np.float32(1e-7), d)
        first, second = (-h - o) / d, (h - o) / d
        near = np.maximum(near, np.minimum(first, second))
        far = np.minimum(far, np.maximum(first, second))
    return np.where(near < far, near, _FAR).astype(np.float32)


_INTERSECT = {"cone": _hit_cone, "loft": _hit_loft, "box": _hit_box}


def _resolve(parts: list[Part], xs: Array, ys: Array, depth: Array, owner: Array) -> Hits:
    """Second pass over visible pixels only: normals, surface coordinates, materials."""
    pixels = np.flatnonzero(owner >= 0)
    order = np.argsort(owner[pixels], kind="stable")
    pixels = pixels[order]
    owners, depth = owner[pixels], depth[pixels]
    count = len(pixels)
    normal = np.empty((3, count), dtype=np.float32)
    albedo = np.empty((4, count), dtype=np.float32)
    shine, person = np.empty(count, dtype=np.float32), np.empty(count, dtype=np.uint8)
    angle, along_part = np.empty(count, dtype=np.float32), np.empty(count, dtype=np.float32)
    x, y = xs[pixels % len(xs)], ys[pixels // len(xs)]
    cuts = np.flatnonzero(np.diff(owners)) + 1
    for begin, end in zip([0, *cuts], [*cuts, count], strict=True):
        if begin == end:
            continue
        part, rows = parts[owners[begin]], slice(begin, end)
        m = part.matrix.astype(np.float32)
        start = (part.matrix @ part.origin).astype(np.float32)
        t = depth[rows]
        point = [(m[k, 0] * x[rows] + m[k, 1] * y[rows] + m[k, 2]) * t - start[k] for k in range(3)]
        a, b, c = _unit(*_NORMAL[part.kind](part, *point))
        v = point[1] * np.float32(part.v_scale) + np.float32(part.v_shift)
        angle[rows], along_part[rows] = np.arctan2(point[0], point[2]), v
        albedo[:, rows], (along, around) = part.surface.paint(angle[rows], v, part.girth)
        a, b, c = a + around * c, b + along, c - around * a
        for k in range(3):
            normal[k, rows] = a * m[0, k] + b * m[1, k] + c * m[2, k]
        shine[rows], person[rows] = part.surface.shine, part.person
    normal[0], normal[1], normal[2] = _unit(*normal)
    return Hits(pixels, depth, normal, albedo, shine, person, owners, angle, along_part)


def _unit(x: Array, y: Array, z: Array) -> tuple[Array, Array, Array]:
    scale = 1 / np.sqrt(x * x + y * y + z * z + np.float32(1e-12))
    return x * scale, y * scale, z * scale


def _normal_cone(part: Part, x: Array, y: Array, z: Array) -> tuple[Array, Array, Array]:
    sine = (part.r0 - part.r1) / part.length if part.length > 0 else 0.0
    tangent = np.float32(sine / np.sqrt(max(1.0 - sine * sine, 1e-4)))
    centre = np.clip(y - np.sqrt(x * x + z * z) * tangent, 0, part.length)
    return x, y - centre, z


def _normal_loft(part: Part, x: Array, y: Array, z: Array) -> tuple[Array, Array, Array]:
    assert part.profile is not None
    index = np.clip((y - part.low) * ((TABLE - 1) / (part.high - part.low)), 0, TABLE - 1).astype(np.int16)
    wide, deep, offset, wide_slope, deep_slope = part.profile[:, index]
    x, z = x / wide, (z - offset) / deep
    return x / wide, -(x * x * wide_slope / wide + z * z * deep_slope / deep), z / deep


def _normal_box(part: Part, x: Array, y: Array, z: Array) -> tuple[Array, Array, Array]:
    assert part.half is not None
    rounded = []
    for value, half in zip((x, y, z), part.half.astype(np.float32), strict=True):
        unit = value / half
        square = unit * unit
        rounded.append(unit * square * square * square / half)
    return rounded[0], rounded[1], rounded[2]


_NORMAL = {"cone": _normal_cone, "loft": _normal_loft, "box": _normal_box}
