"""Garments for the upper and lower body: cut, pattern, logos, closure."""

from __future__ import annotations

import dataclasses

import numpy as np

from mtrl.data.synthetic.difficulty import Difficulty
from mtrl.data.synthetic.materials import Material, Surface, contrasting, fabric

PATTERNS = ("plain", "hstripes", "vstripes", "checks", "block", "dots", "gradient", "band", "side")
PATTERN_SHARES = (0.38, 0.14, 0.05, 0.10, 0.11, 0.04, 0.04, 0.08, 0.06)
CUTS = {
    "tee": (0.42, -0.08, 0.012, 0.004, 0.010, 0.18),
    "shirt": (1.0, -0.10, 0.014, 0.005, 0.015, 0.22),
    "tank": (0.0, -0.06, 0.006, 0.003, 0.005, 0.14),
    "polo": (0.46, -0.07, 0.012, 0.005, 0.008, 0.15),
    "longtee": (1.0, -0.07, 0.008, 0.004, 0.006, 0.17),
    "cardigan": (1.0, -0.16, 0.018, 0.010, 0.020, 0.18),
    "sweater": (1.0, -0.05, 0.020, 0.012, 0.000, 0.16),
    "hoodie": (1.0, -0.07, 0.026, 0.014, 0.004, 0.20),
    "jacket": (1.0, -0.06, 0.026, 0.016, 0.008, 0.17),
    "coat": (1.0, -0.22, 0.026, 0.018, 0.025, 0.14),
    "longcoat": (1.0, -0.46, 0.024, 0.018, 0.050, 0.13),
    "puffer": (1.0, -0.05, 0.042, 0.030, 0.000, 0.10),
}
"""Of each kind: sleeve, hem, loose, thick, flare (see `Top`), and depth of the folds."""

WINTER_TOPS = {"sweater": 0.2, "hoodie": 0.2, "jacket": 0.25, "coat": 0.13, "longcoat": 0.12, "puffer": 0.1}
SUMMER_TOPS = {"tee": 0.38, "shirt": 0.2, "tank": 0.07, "polo": 0.1, "longtee": 0.15, "cardigan": 0.1}
"""Shares of the kinds in each season."""


@dataclasses.dataclass(frozen=True)
class Top:
    """sleeve: 0 (none) to 1 (to the wrist); hem: metres below (-) or above the hip joint; loose: metres added."""

    kind: str
    surface: Surface
    sleeve: float
    sleeve_surface: Surface
    hem: float
    loose: float
    thick: float
    flare: float
    hood: bool
    collar: bool


@dataclasses.dataclass(frozen=True)
class Bottom:
    """kind "trousers" | "shorts" | "skirt"; length: share of the leg covered; widths add metres to the leg."""

    kind: str
    surface: Surface
    length: float
    wide: float
    flare: float


def draw_top(rng: np.random.Generator, difficulty: Difficulty, warm: bool) -> Top:
    """A random top of the warm or the cold season."""
    shares = WINTER_TOPS if warm else SUMMER_TOPS
    kind = str(rng.choice(list(shares), p=list(shares.values())))
    sleeve, hem, loose, thick, flare, folds = CUTS[kind]
    surface, second, raglan = _draw_front(rng, difficulty, kind, folds)
    sleeve_pattern = surface.pattern if surface.pattern in ("hstripes", "checks", "side", "dots") else "plain"
    sleeves = Surface(
        (second,) if raglan else (surface.materials[0], second),
        "plain" if raglan else sleeve_pattern,
        surface.period,
        surface.offset,
        surface.duty,
        folds * 1.2,
        shine=surface.shine,
        phase=int(rng.integers(512)),
    )
    n = lambda deviation: float(difficulty.body_spread * rng.normal(0, deviation))  # noqa: E731
    rolled = sleeve == 1.0 and rng.random() < 0.15
    return Top(
        kind,
        surface,
        0.0 if sleeve == 0 else float(np.clip((0.66 if rolled else sleeve) + n(0.03), 0.25, 1.0)),
        sleeves,
        hem + n(0.025),
        max(0.004, loose + n(0.007)),
        thick,
        flare + abs(n(0.006)),
        hood=kind == "hoodie" or (kind in ("jacket", "puffer", "coat") and rng.random() < 0.3),
        collar=kind in ("shirt", "polo", "jacket", "coat", "longcoat", "puffer"),
    )


def _draw_front(
    rng: np.random.Generator, difficulty: Difficulty, kind: str, folds: float
) -> tuple[Surface, Material, bool]:
    """Surface of the trunk, its second material, and whether the sleeves are made of that one (raglan)."""
    base = fabric(rng, difficulty)
    second = contrasting(rng, difficulty, base)
    pattern = str(rng.choice(PATTERNS, p=PATTERN_SHARES))
    if kind in ("jacket", "coat", "longcoat") and pattern in ("dots", "hstripes", "vstripes"):
        pattern = "plain"
    period, offset = _pattern_numbers(rng, pattern)
    if kind == "puffer":
        pattern, period, second = "plain", 0.1, Material(base.rgb, base.infrared)
    openable = kind in ("jacket", "coat", "longcoat", "cardigan", "hoodie", "shirt", "puffer")
    opened = openable and rng.random() < {"hoodie": 0.25, "shirt": 0.2}.get(kind, 0.5)
    inner = fabric(rng, difficulty) if opened else None
    closure = (
        ""
        if not openable or opened or (kind == "hoodie" and rng.random() < 0.5)
        else ("buttons" if kind in ("shirt", "coat", "longcoat", "cardigan") else "zip")
    )
    surface = Surface(
        (base, second),
        pattern,
        period,
        offset,
        float(rng.uniform(0.3, 0.6)),
        folds,
        phase=int(rng.integers(512)),
        logos=_draw_logos(rng, kind),
        opening=float(rng.uniform(0.25, 0.6)) if opened else 0.0,
        inner=inner,
        closure=closure,
        shine=0.12 if kind == "puffer" else 0.03,
    )
    raglan = rng.random() < 0.12 or (pattern in ("block", "band", "gradient") and rng.random() < 0.3)
    return surface, second, raglan


def _pattern_numbers(rng: np.random.Generator, pattern: str) -> tuple[float, float]:
    """Period in metres, and offset: a height above the hip joint for "block", "band" and "gradient"."""
    if pattern in ("block", "band", "gradient"):
        period = {"block": 0.1, "band": rng.uniform(0.03, 0.08), "gradient": rng.uniform(0.2, 0.5)}[pattern]
        return float(period), float(rng.uniform(0.12, 0.38))
    return float(np.exp(rng.uniform(np.log(0.035), np.log(0.16)))), float(rng.random())


def _draw_logos(rng: np.random.Generator, kind: str) -> tuple[tuple[str, float, float, float, float], ...]:
    logos = []
    shapes = ("rect", "disc", "text", "ring", "cross")
    for centre in (0.0, np.pi):
        if kind in ("coat", "longcoat", "shirt", "cardigan") or rng.random() > 0.3:
            continue
        size = rng.uniform(0.05, 0.12)
        shape = str(rng.choice(shapes))
        logos.append(
            (
                shape,
                float(centre),
                float(rng.uniform(0.30, 0.36)),
                float(size),
                float(size * rng.uniform(0.5, 1.1)),
            )
        )
    if rng.random() < 0.15:
        logos.append(("rect", -0.55, 0.38, 0.035, 0.03))
    return tuple(logos)


def draw_bottom(rng: np.random.Generator, difficulty: Difficulty, warm: bool, feminine: float) -> Bottom:
    """Random trousers, shorts or skirt."""
    shares = [0.78, 0.22, 0.0] if not feminine else [0.56, 0.12, 0.32]
    if warm:
        shares = [0.98, 0.02, 0.0] if not feminine else [0.82, 0.0, 0.18]
    kind = str(rng.choice(("trousers", "shorts", "skirt"), p=shares))
    base = fabric(rng, difficulty, str(rng.choice(("denim", "dull", "any"), p=(0.34, 0.3, 0.36))))
    pattern = str(rng.choice(("plain", "side", "checks", "gradient"), p=(0.78, 0.10, 0.07, 0.05)))
    length = {
        "trousers": rng.uniform(0.90, 1.0),
        "shorts": rng.uniform(0.30, 0.55),
        "skirt": rng.uniform(0.35, 0.85),
    }[kind]
    if kind == "trousers" and not warm and rng.random() < 0.15:
        length = rng.uniform(0.72, 0.85)
    wide = float(np.clip(difficulty.body_spread * rng.gamma(1.5, 0.008), 0.001, 0.045))
    surface = Surface(
        (base, contrasting(rng, difficulty, base)),
        pattern,
        float(rng.uniform(0.04, 0.12)),
        float(rng.random()),
        0.5,
        0.16,
        phase=int(rng.integers(512)),
    )
    return Bottom(kind, surface, float(length), wide, float(rng.uniform(0.01, 0.10)))
