"""Temperatures of people and things in a moment.

Between a core at temperature C and air at A, a surface below the insulation R and the air's own resistance S has
    T = A + (C - A) S / (S + R),
the steady state of two resistances in series. Cloth that lies on the body, in creases and at seams has a smaller R.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrl.data.synthetic.materials import NOISE, noise_tile
from mtrl.data.synthetic.raycast import Hits, Part
from mtrl.data.synthetic.thermal.weather import Weather

Array = NDArray[Any]
_AIR_CLO = 90.0  # clo of a metre of still air, until it begins to move
_MOST_AIR = 0.012  # metres
_SEAM, _PRESSED = (
    0.011,
    0.6,
)  # half width of a quilting seam in metres; share of the filling's insulation lost there
_CREASE = 0.16  # half width of a crease, in deviations of the noise whose zero line it follows
_SUN_ON_SKIN, _SUN_ON_CLOTH = 0.35, 0.65  # of what it does to a black surface: skin is cooled by blood
_MEAN_STILL = 0.6  # clo of the air for which the sun's effect is given
_COOLED = 0.05  # share of the sky's cold that a surface facing up takes on
_UNEVEN = 0.12  # degrees
_GLASS = 3.0  # degrees above the air: worn near the face
_NAMES = ("core", "clo", "gap", "under", "quilt", "crease", "warmer", "soak", "bare")


def surface_temperatures(
    hits: Hits, parts: list[Part], weather: Weather, up: Array, sun: Array, openness: Array, fold: int
) -> Array:
    """Degrees Celsius float32 [n] of the hits on `parts`.

    up, sun   unit vectors in camera coordinates
    openness  [n]: how freely each sees the surroundings (`shading.occlusion`)
    fold      shifts the creases, which are others at every moment
    """
    table = np.array([[_value(part, name) for name in _NAMES] for part in parts], dtype=np.float32)
    heat = dict(zip(_NAMES, table[hits.owner].T, strict=True))
    across = hits.angle * np.array([part.girth for part in parts], dtype=np.float32)[hits.owner]
    fine, coarse = _folds(hits, across, parts, fold)
    climb, facing = _along(hits.normal, up), _along(hits.normal, sun)  # towards the sky, and the sun
    insulation = _insulation(hits, parts, heat, climb, fine, coarse)
    air, still = np.float32(weather.air), np.float32(weather.still) * (1 + 0.9 * (1 - openness))
    alive, bare = ~np.isnan(heat["core"]), heat["bare"] > 0
    body = air + (np.nan_to_num(heat["core"]) - air) * still / (still + insulation)
    warm = np.where(alive, body, air + heat["warmer"])
    lit = np.clip(facing, 0, 1) * openness * heat["soak"] * still / np.float32(_MEAN_STILL)
    warm += (
        np.float32(weather.sun) * lit * np.where(bare, np.float32(_SUN_ON_SKIN), np.float32(_SUN_ON_CLOTH))
    )
    warm -= np.float32(_COOLED * weather.sky) * np.clip(climb, 0, 1) * openness * ~bare
    warm += np.float32(_UNEVEN) * coarse * ~bare
    return np.where(_lenses(hits, across, parts), air + np.float32(_GLASS), warm).astype(np.float32)


def _insulation(
    hits: Hits, parts: list[Part], heat: dict[str, Array], climb: Array, fine: Array, coarse: Array
) -> Array:
    """clo float32 [n] between core and surface. Cloth lies on what faces up, and hangs away from what faces down."""
    clo = np.where(_open_fronts(hits, parts), heat["under"], heat["clo"])
    clo = clo * (1 - np.float32(_PRESSED) * _seams(hits.v, heat["quilt"]))
    clo = clo * (1 - heat["crease"] * np.exp(-((fine / np.float32(_CREASE)) ** 2)))
    hanging = 1 / (1 + np.exp(5.0 * climb + 0.9 * coarse - 0.6))
    return clo + np.float32(_AIR_CLO) * np.minimum(heat["gap"] * hanging, np.float32(_MOST_AIR))


def _along(normal: Array, direction: Array) -> Array:
    x, y, z = np.asarray(direction, dtype=np.float32)
    return x * normal[0] + y * normal[1] + z * normal[2]


def _value(part: Part, name: str) -> float:
    value = getattr(part.surface.heat, name)
    return np.nan if value is None else value


def _folds(hits: Hits, across: Array, parts: list[Part], fold: int) -> tuple[Array, Array]:
    """Noise on the surfaces, fine and coarse, float32 [n] each; other at every part."""
    own = np.array([part.surface.phase + 151 * number for number, part in enumerate(parts)], np.int32)
    shift = own[hits.owner] + np.int32(fold)
    row, column = (hits.v * 700).astype(np.int32) + shift, (across * 900).astype(np.int32) + 3 * shift
    fine = noise_tile(11, 2.3)[row % NOISE, column % NOISE]
    return fine, noise_tile(7, 1.9)[(row // 2) % NOISE, (column // 2) % NOISE]


def _seams(v: Array, quilt: Array) -> Array:
    """1 on a quilting seam, 0 away from it."""
    spacing = np.where(quilt > 0, quilt, np.float32(1))
    away = np.abs(np.mod(v, spacing) - 0.5 * spacing)
    return np.where(quilt > 0, np.exp(-((away / np.float32(_SEAM)) ** 2)), np.float32(0))


def _open_fronts(hits: Hits, parts: list[Part]) -> Array:
    shown = np.zeros(len(hits.v), dtype=bool)
    for number, part in enumerate(parts):
        if part.surface.opening > 0 and part.surface.heat.core is not None:
            rows = np.flatnonzero(hits.owner == number)
            shown[rows] = part.surface.opened(hits.angle[rows], hits.v[rows])
    return shown


def _lenses(hits: Hits, across: Array, parts: list[Part]) -> Array:
    """Glasses: glass is opaque here and nearly as cold as the air."""
    shown = np.zeros(len(hits.v), dtype=bool)
    for number, part in enumerate(parts):
        frames = [logo for logo in part.surface.logos if logo[0] == "ring"]
        if not frames or not part.surface.heat.bare:
            continue
        rows = np.flatnonzero(hits.owner == number)
        for _, centre, height, wide, tall in frames:
            x = (hits.angle[rows] - np.float32(centre)) * np.float32(part.girth) / np.float32(wide)
            y = (hits.v[rows] - np.float32(height)) / np.float32(tall)
            shown[rows] |= x * x + y * y < 1
    return shown
