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
_SEAM = 0.011  # metres
_NAMES = ("core", "clo", "gap", "under", "quilt", "crease", "warmer", "soak")


def surface_temperatures(
    hits: Hits, parts: list[Part], weather: Weather, up: Array, sun: Array, openness: Array, fold: int
) -> Array:
    """Degrees Celsius float32 [n] of the hits on `parts`.

    up, sun   unit vectors in camera coordinates
    openness  [n]: how freely each sees the surroundings (`shading.occlusion`)
    fold      shifts the creases, which are others at every moment
    """
    table = np.array([[_value(part, name) for name in _NAMES] for part in parts], dtype=np.float32)
    core, clo, gap, under, quilt, crease, warmer, soak = table[hits.owner].T
    climb = np.float32(up[0]) * hits.normal[0] + np.float32(up[1]) * hits.normal[1]
    climb = climb + np.float32(up[2]) * hits.normal[2]
    across = hits.angle * np.array([part.girth for part in parts], dtype=np.float32)[hits.owner]
    fine, coarse = _folds(hits, across, parts, fold)
    clo = np.where(_open_fronts(hits, parts), under, clo)
    clo = clo * (1 - 0.6 * _seams(hits.v, quilt)) * (1 - crease * np.exp(-((fine / 0.16) ** 2)))
    lying = 1 / (1 + np.exp(-(5.0 * climb + 0.9 * coarse - 0.6)))
    insulation = clo + np.float32(_AIR_CLO) * np.minimum(gap * (1 - lying), np.float32(_MOST_AIR))
    still = np.float32(weather.still) * (1 + 0.9 * (1 - openness))
    air = np.float32(weather.air)
    warm = np.where(
        np.isnan(core), air + warmer, air + (np.nan_to_num(core) - air) * still / (still + insulation)
    )
    facing = sum(np.float32(sun[k]) * hits.normal[k] for k in range(3))
    lit = np.float32(weather.sun) * soak * np.clip(facing, 0, 1) * openness
    bare = ~np.isnan(core) & (clo < 0.25)
    warm += np.where(bare, np.float32(0.35), np.float32(0.65)) * lit * still / np.float32(0.6)
    warm -= np.float32(0.05 * weather.sky) * np.clip(climb, 0, 1) * openness * (1 - bare)
    warm += np.float32(0.12) * coarse * ~bare
    return np.where(_lenses(hits, across, parts), air + np.float32(3.0), warm).astype(np.float32)


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
        if not frames or part.surface.heat.core is None or part.surface.heat.clo > 0.25:
            continue
        rows = np.flatnonzero(hits.owner == number)
        for _, centre, height, wide, tall in frames:
            x = (hits.angle[rows] - np.float32(centre)) * np.float32(part.girth) / np.float32(wide)
            y = (hits.v[rows] - np.float32(height)) / np.float32(tall)
            shown[rows] |= x * x + y * y < 1
    return shown
