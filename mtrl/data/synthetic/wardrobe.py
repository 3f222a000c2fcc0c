"""What a person wears from head to foot: skin, hair, garments, shoes, bags and hats."""

from __future__ import annotations

import dataclasses

import numpy as np

from mtrl.data.synthetic.difficulty import Difficulty
from mtrl.data.synthetic.garments import Bottom, Top, draw_bottom, draw_top
from mtrl.data.synthetic.materials import Material, Surface, contrasting, fabric, infrared_of, lightness_of

SKIN = (
    (0.93, 0.76, 0.66),
    (0.88, 0.69, 0.56),
    (0.80, 0.60, 0.46),
    (0.66, 0.47, 0.35),
    (0.50, 0.34, 0.25),
    (0.38, 0.26, 0.20),
)
HAIR = (
    (0.06, 0.05, 0.05),
    (0.11, 0.08, 0.06),
    (0.20, 0.13, 0.09),
    (0.32, 0.21, 0.13),
    (0.55, 0.42, 0.25),
    (0.45, 0.20, 0.10),
    (0.55, 0.54, 0.53),
    (0.75, 0.74, 0.72),
)
STYLES = ("short", "bald", "bob", "long", "ponytail", "bun", "afro")
STYLE_SHARES = ((0.72, 0.12, 0.04, 0.05, 0.02, 0.01, 0.04), (0.16, 0.0, 0.22, 0.28, 0.18, 0.12, 0.04))
BAGS = ("", "backpack", "shoulder", "cross", "handbag", "shopper", "suitcase")
BAG_SHARES = (0.20, 0.10, 0.09, 0.07, 0.05, 0.03)
HATS = ("", "cap", "beanie", "brim")


@dataclasses.dataclass(frozen=True)
class Outfit:
    """Everything on a body. `hand` is the side ("r", "l") that carries a held bag."""

    skin: Surface
    face: Surface
    hair: Surface
    hair_style: str
    top: Top
    bottom: Bottom
    shoe: Surface
    sole: Surface
    shoe_style: str
    sock: Surface
    bag: str
    bag_surface: Surface
    hand: str
    hat: str
    hat_surface: Surface
    scarf: Surface | None
    glasses: bool

    @property
    def carry(self) -> tuple[bool, bool]:
        """Whether the right and the left hand hold something."""
        held = self.bag in ("handbag", "suitcase", "shopper")
        return held and self.hand == "r", held and self.hand == "l"


def draw_outfit(rng: np.random.Generator, difficulty: Difficulty, feminine: float) -> Outfit:
    """Random clothes of one season, so that coats do not go with shorts."""
    warm = bool(rng.random() < 0.5)
    top = draw_top(rng, difficulty, warm)
    bottom = draw_bottom(rng, difficulty, warm, feminine)
    tone = SKIN[rng.choice(len(SKIN), p=(0.22, 0.28, 0.2, 0.14, 0.1, 0.06))]
    skin_infrared = 0.66 + 0.12 * (lightness_of(tone) - 0.6) + rng.normal(0, 0.015)
    skin = Material(_jitter(rng, tone, 0.02), float(skin_infrared))
    hair_rgb = _jitter(
        rng, HAIR[rng.choice(len(HAIR), p=(0.24, 0.22, 0.18, 0.12, 0.09, 0.04, 0.07, 0.04))], 0.012
    )
    hair = Material(
        hair_rgb, float(np.clip(0.24 + 0.45 * lightness_of(hair_rgb) + rng.normal(0, 0.07), 0.12, 0.8))
    )
    shoe, second = fabric(rng, difficulty, "mostly dull"), fabric(rng, difficulty)
    sole_rgb = (0.88, 0.88, 0.86) if rng.random() < 0.5 else (0.08, 0.08, 0.08)
    sole = Material(sole_rgb, infrared_of(sole_rgb, rng, difficulty))
    a = difficulty.accessory_share
    scarf = fabric(rng, difficulty) if rng.random() < a * (0.22 if warm else 0.03) else None
    bag_material = fabric(rng, difficulty, "mostly dull")
    hat_material = fabric(rng, difficulty, "mostly dull")
    return Outfit(
        skin=Surface((skin,), folds=0.02, grain=0.02, shine=0.05),
        face=Surface((skin,), folds=0.0, grain=0.02, shine=0.06),
        hair=Surface((hair,), folds=0.15, grain=0.07, shine=0.05),
        hair_style=str(rng.choice(STYLES, p=STYLE_SHARES[int(feminine)])),
        top=top,
        bottom=bottom,
        shoe=_shoe(rng, shoe, second),
        sole=Surface((sole,), folds=0.0),
        shoe_style=str(rng.choice(("sneaker", "boot", "flat"), p=(0.6, 0.22, 0.18))),
        sock=Surface((fabric(rng, difficulty, "dull"),), folds=0.1),
        bag=str(rng.choice(BAGS, p=_shares(BAG_SHARES, a))),
        bag_surface=_bag(rng, bag_material, contrasting(rng, difficulty, bag_material)),
        hand=str(rng.choice(("r", "l"))),
        hat=str(rng.choice(HATS, p=_shares((0.10, 0.08 * (1 + warm), 0.03), a))),
        hat_surface=_hat(rng, hat_material, contrasting(rng, difficulty, hat_material)),
        scarf=None if scarf is None else Surface((scarf,), folds=0.3),
        glasses=bool(rng.random() < 0.2),
    )


def _shoe(rng: np.random.Generator, first: Material, second: Material) -> Surface:
    pattern = "block" if rng.random() < 0.25 else "plain"
    return Surface((first, second), pattern, offset=0.06, folds=0.05, shine=0.08)


def _bag(rng: np.random.Generator, first: Material, second: Material) -> Surface:
    pattern = str(rng.choice(("plain", "block", "band"), p=(0.6, 0.2, 0.2)))
    return Surface((first, second), pattern, 0.04, float(rng.uniform(-0.08, 0.06)), folds=0.05, shine=0.06)


def _hat(rng: np.random.Generator, first: Material, second: Material) -> Surface:
    return Surface((first, second), "band" if rng.random() < 0.3 else "plain", 0.02, 0.03, folds=0.06)


def _shares(values: tuple[float, ...], scale: float) -> list[float]:
    shares = [min(v * scale, v * scale / max(1.0, scale * sum(values))) for v in values]
    return [1.0 - sum(shares), *shares]


def _jitter(
    rng: np.random.Generator, rgb: tuple[float, float, float], deviation: float
) -> tuple[float, float, float]:
    shift = rng.normal(0, deviation)
    red, green, blue = (float(np.clip(c + shift + rng.normal(0, deviation / 2), 0.02, 0.97)) for c in rgb)
    return red, green, blue
