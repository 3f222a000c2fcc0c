"""Materials (visible colour and infrared reflectance), patterns on surfaces, and tileable noise."""

from __future__ import annotations

import colorsys
import dataclasses
import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrl.data.synthetic.difficulty import Difficulty
from mtrl.data.synthetic.thermal.heat import AS_AIR, Heat

Array = NDArray[Any]
NOISE = 512

DULL = (
    (0.05, 0.05, 0.06),
    (0.10, 0.10, 0.11),
    (0.16, 0.16, 0.18),
    (0.30, 0.30, 0.31),
    (0.48, 0.48, 0.49),
    (0.66, 0.66, 0.66),
    (0.88, 0.88, 0.87),
    (0.93, 0.92, 0.90),
    (0.09, 0.11, 0.20),
    (0.12, 0.15, 0.28),
)
VIVID = (
    (0.20, 0.30, 0.48),
    (0.35, 0.48, 0.66),
    (0.55, 0.68, 0.82),
    (0.10, 0.25, 0.60),
    (0.68, 0.58, 0.44),
    (0.82, 0.75, 0.62),
    (0.45, 0.36, 0.26),
    (0.30, 0.20, 0.14),
    (0.33, 0.35, 0.22),
    (0.14, 0.26, 0.18),
    (0.20, 0.48, 0.32),
    (0.42, 0.10, 0.15),
    (0.72, 0.12, 0.14),
    (0.88, 0.30, 0.20),
    (0.90, 0.62, 0.66),
    (0.78, 0.32, 0.50),
    (0.40, 0.24, 0.50),
    (0.90, 0.76, 0.25),
    (0.90, 0.52, 0.15),
    (0.15, 0.48, 0.52),
)
DENIM = ((0.12, 0.15, 0.25), (0.18, 0.24, 0.38), (0.28, 0.37, 0.52), (0.45, 0.54, 0.66))


@dataclasses.dataclass(frozen=True)
class Material:
    """Visible colour (sRGB, 0..1) and infrared lightness (display scale, 0..1): two independent facts."""

    rgb: tuple[float, float, float]
    infrared: float

    @property
    def linear(self) -> Array:
        """float32 [4]: linear red, green, blue and infrared reflectance."""
        return np.array([*self.rgb, self.infrared], dtype=np.float32) ** np.float32(2.2)

    @property
    def lightness(self) -> float:
        """Visible lightness on the display scale."""
        return lightness_of(self.rgb)


def lightness_of(rgb: tuple[float, float, float]) -> float:
    """Visible lightness of a colour on the display scale: all that an infrared value may depend on."""
    return 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]


def infrared_of(rgb: tuple[float, float, float], rng: np.random.Generator, difficulty: Difficulty) -> float:
    """A fabric's infrared lightness: partly its visible lightness, partly chance (dye and fibre)."""
    share = difficulty.infrared_luminance_correlation
    score = share * (lightness_of(rgb) - 0.36) / 0.26 + np.sqrt(1 - share * share) * rng.standard_normal()
    return float(np.clip(0.52 + difficulty.infrared_spread * score, 0.08, 0.95))


def fabric(rng: np.random.Generator, difficulty: Difficulty, palette: str = "any") -> Material:
    """A random fabric with realistic colours. `palette`: "any" | "denim" | "dull" | "mostly dull"."""
    if palette == "mostly dull":
        palette = "dull" if rng.random() < 0.6 else "any"
    if palette == "denim":
        base = DENIM[rng.integers(len(DENIM))]
    elif palette == "dull" or rng.random() < difficulty.dull_share:
        base = DULL[rng.integers(len(DULL))]
    else:
        base = VIVID[rng.integers(len(VIVID))]
    hue, saturation, value = colorsys.rgb_to_hsv(*base)
    hue = (hue + rng.normal(0, 0.015)) % 1.0
    saturation = float(np.clip(saturation * rng.uniform(0.6, 1.05), 0, 0.95))
    value = float(np.clip(value * rng.uniform(0.82, 1.18) + rng.normal(0, 0.01), 0.03, 0.96))
    rgb = colorsys.hsv_to_rgb(hue, saturation, value)
    return Material(rgb, infrared_of(rgb, rng, difficulty))


def contrasting(rng: np.random.Generator, difficulty: Difficulty, base: Material) -> Material:
    """A second fabric of a print: visibly different by day; in infrared it may vanish or invert."""
    other = max((fabric(rng, difficulty) for _ in range(3)), key=lambda m: _difference(m, base))
    chance = rng.random()
    sign = 1.0 if other.lightness >= base.lightness else -1.0
    gap = float(rng.uniform(0.18, 0.42))
    if chance < difficulty.vanish_share:
        infrared = base.infrared + float(rng.normal(0, 0.008))
    elif chance < difficulty.vanish_share + difficulty.invert_share:
        infrared = base.infrared - sign * gap
    else:
        infrared = base.infrared + sign * gap
    if not 0.05 <= infrared <= 0.97:
        infrared = float(np.clip(infrared, 0.05, 0.97))
    return Material(other.rgb, infrared)


def _difference(one: Material, two: Material) -> float:
    return abs(one.lightness - two.lightness) + 0.4 * sum(
        abs(a - b) for a, b in zip(one.rgb, two.rgb, strict=True)
    )


@functools.lru_cache(maxsize=8)
def noise_tile(seed: int = 7, power: float = 1.6) -> Array:
    """float32 [NOISE, NOISE], periodic fractal noise with mean 0 and deviation 1."""
    rng = np.random.default_rng(seed)
    white = np.fft.rfft2(rng.standard_normal((NOISE, NOISE)))
    frequency = np.hypot(np.fft.fftfreq(NOISE)[:, None], np.fft.rfftfreq(NOISE)[None, :])
    frequency[0, 0] = 1.0
    tile = np.fft.irfft2(white / frequency**power * (frequency > 1.5 / NOISE), s=(NOISE, NOISE))
    return (tile / tile.std()).astype(np.float32)


@functools.lru_cache(maxsize=2)
def fold_tiles() -> tuple[Array, Array]:
    """Slopes (along, around) of cloth folds: anisotropic noise, float32 [NOISE, NOISE] each, periodic."""
    tile = noise_tile(11, 2.3)
    along, around = np.roll(tile, 6, 0) - np.roll(tile, -6, 0), np.roll(tile, 6, 1) - np.roll(tile, -6, 1)
    return (along / along.std()).astype(np.float32), (around / around.std()).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Surface:
    """Colours of a surface over its coordinates: angle around the part (0 = front) and metres along it.

    pattern  "plain" | "hstripes" | "vstripes" | "checks" | "block" | "dots" | "gradient" | "band" | "side"
    period   metres; offset: shift of the pattern (for "block" and "band": where it sits)
    logo     (shape, centre angle, centre v, half width, half height in metres): drawn in the last material
    opening  half angle in radians of an open front that shows `inner`; closure: "", "zip" or "buttons"
    heat     what a thermal camera sees of it; it sees nothing of the rest
    """

    materials: tuple[Material, ...]
    pattern: str = "plain"
    period: float = 0.1
    offset: float = 0.0
    duty: float = 0.5
    folds: float = 0.16
    grain: float = 0.022
    shine: float = 0.03
    phase: int = 0
    logos: tuple[tuple[str, float, float, float, float], ...] = ()
    opening: float = 0.0
    inner: Material | None = None
    closure: str = ""
    heat: Heat = AS_AIR

    def opened(self, angle: Array, v: Array) -> Array:
        """Where the open front shows what is worn beneath: bool [n]."""
        return np.abs(angle) < self.opening * (1.15 - 0.9 * np.clip(v - 0.1, 0, 0.6))

    def paint(self, angle: Array, v: Array, girth: float) -> tuple[Array, tuple[Array, Array]]:
        """Albedo float32 [4,n] and slopes of folds ([n], [n]) for surface coordinates [n] and [n]."""
        across = angle * np.float32(girth)
        row = (v * 420 + self.phase).astype(np.int32) % NOISE
        column = (across * 500 + 3 * self.phase).astype(np.int32) % NOISE
        grain = 1 + np.float32(self.grain) * noise_tile(7, 1.9)[row, column]
        albedo = np.empty((4, len(v)), dtype=np.float32)
        first = self.materials[0].linear
        if self.pattern == "plain":
            albedo[:] = first[:, None]
        else:
            weight, second = self._weight(angle, across, v), self.materials[1].linear
            for k in range(4):
                albedo[k] = first[k] + weight * (second[k] - first[k])
        if self.opening > 0 and self.inner is not None:
            albedo[:, self.opened(angle, v)] = self.inner.linear[:, None]
        elif self.closure:
            middle = np.abs(across) < (0.008 if self.closure == "zip" else 0.011)
            if self.closure == "buttons":
                middle &= np.mod(v, 0.085) < 0.02
            albedo[:, middle] *= np.float32(0.45)
        for shape, centre, height, wide, tall in self.logos:
            turned = angle - centre if centre < 2 else np.where(angle > 0, angle - np.pi, angle + np.pi)
            albedo[:, _logo(shape, turned * girth, v - height, wide, tall)] = self.materials[-1].linear[
                :, None
            ]
        albedo *= grain
        along, around = fold_tiles()
        depth = np.float32(0.6 * self.folds)
        return albedo, (depth * along[row, column], depth * around[row, column])

    def _weight(self, angle: Array, across: Array, v: Array) -> Array:
        """How much of the second material shows, float32 [n] in [0, 1]."""
        lines = np.mod(v / self.period + self.offset, 1.0) < self.duty
        posts = np.mod(across / self.period + self.offset, 1.0) < self.duty
        if self.pattern == "hstripes":
            chosen = lines
        elif self.pattern == "vstripes":
            chosen = posts
        elif self.pattern == "checks":
            return (0.5 * lines + 0.5 * posts).astype(np.float32)
        elif self.pattern == "dots":
            x, y = np.mod(across / self.period, 1.0) - 0.5, np.mod(v / self.period + self.offset, 1.0) - 0.5
            chosen = x * x + y * y < 0.09
        elif self.pattern == "block":
            chosen = v < self.offset
        elif self.pattern == "band":
            chosen = np.abs(v - self.offset) < self.period
        elif self.pattern == "side":
            chosen = np.abs(np.abs(angle) - np.pi / 2) < 0.35
        elif self.pattern == "gradient":
            return np.clip((v - self.offset) / max(self.period, 0.05) + 0.5, 0, 1).astype(np.float32)
        else:
            raise ValueError(f"unknown pattern {self.pattern!r}")
        return chosen.astype(np.float32)


def _logo(shape: str, x: Array, y: Array, wide: float, tall: float) -> Array:
    inside = (np.abs(x) < wide) & (np.abs(y) < tall)
    if shape == "disc":
        return (x / wide) ** 2 + (y / tall) ** 2 < 1
    if shape == "text":
        return (
            inside
            & (np.mod(y / tall * 1.5, 1.0) < 0.6)
            & (np.mod(x / wide * 3.5 + np.floor(y / tall * 1.5) * 0.37, 1.0) < 0.75)
        )
    if shape == "ring":
        r = (x / wide) ** 2 + (y / tall) ** 2
        return (r < 1) & (r > 0.4)
    if shape == "cross":
        return inside & ((np.abs(x) < wide / 3) | (np.abs(y) < tall / 3))
    return inside
