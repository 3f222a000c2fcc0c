"""How warm a dressed person is: the insulation of garments by kind, weight, fit and layers.

Nothing here depends on a colour or a print, in either spectrum.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from mtrl.data.synthetic.garments import WINTER_TOPS, Bottom, Top
from mtrl.data.synthetic.materials import Surface
from mtrl.data.synthetic.thermal.heat import Heat
from mtrl.data.synthetic.wardrobe import Outfit

_TOP = {
    "tee": 0.30, "shirt": 0.32, "tank": 0.26, "polo": 0.38, "longtee": 0.42, "cardigan": 0.75,
    "sweater": 1.1, "hoodie": 1.2, "jacket": 1.9, "coat": 2.4, "longcoat": 2.6, "puffer": 4.2,
}  # fmt: skip
"""clo of a top on the body."""
_BOTTOM = {"trousers": 0.42, "shorts": 0.38, "skirt": 0.40}
_HAIR = {"short": 0.55, "bald": 0.0, "bob": 1.0, "long": 1.2, "ponytail": 0.8, "bun": 0.9, "afro": 1.6}
_HAT = {"": 0.0, "cap": 0.8, "beanie": 1.1, "brim": 1.0}
_SHOE = {"sneaker": 1.3, "boot": 1.9, "flat": 0.8}
_TRUNK, _FACE, _LIMB, _FOOT = 35.5, 36.0, 33.5, 30.0
"""Temperatures below the skin, in degrees Celsius."""
_SKIN = 0.12  # clo of the skin itself


def dressed_for_winter(outfit: Outfit) -> bool:
    """Whether these are the clothes of the cold season."""
    return outfit.top.kind in WINTER_TOPS


def insulate(outfit: Outfit, rng: np.random.Generator) -> Outfit:
    """The same clothes with the heat of every surface; `rng` decides what their cut does not say."""
    winter = dressed_for_winter(outfit)
    body = float(rng.normal(0, 0.5))  # some people are warmer than others
    top = _top(outfit.top, rng, body, winter)
    bottom = _bottom(outfit.bottom, rng, body, winter)
    hat = Heat(_FACE + body, _SKIN + _weight(rng, _HAT[outfit.hat], 0.2), gap=0.006, crease=0.15)
    bag = Heat(warmer=float(rng.uniform(0.3, 2.5)))
    scarf = None
    if outfit.scarf is not None:
        scarf = _with(outfit.scarf, Heat(_TRUNK + body, _weight(rng, 1.8, 0.2), gap=0.004, crease=0.3))
    return dataclasses.replace(
        outfit,
        skin=_with(outfit.skin, Heat(_LIMB + body, _SKIN + 0.08)),
        face=_with(outfit.face, Heat(_FACE + body, _SKIN)),
        hair=_with(outfit.hair, Heat(_FACE + body, _SKIN + _weight(rng, _HAIR[outfit.hair_style], 0.25))),
        top=top,
        bottom=bottom,
        shoe=_with(outfit.shoe, Heat(_FOOT + body, _weight(rng, _SHOE[outfit.shoe_style], 0.2))),
        sole=_with(outfit.sole, Heat(warmer=float(rng.uniform(0.2, 1.5)))),
        sock=_with(outfit.sock, Heat(_LIMB + body, _weight(rng, 0.4, 0.2))),
        bag_surface=_with(outfit.bag_surface, bag),
        hat_surface=_with(outfit.hat_surface, hat),
        scarf=scarf,
    )


def _top(top: Top, rng: np.random.Generator, body: float, winter: bool) -> Top:
    """A thick filling hides the body, but its creases and seams show; a loose one hangs in the air."""
    under = _weight(rng, 0.55 if winter else 0.25, 0.35)
    layers = _weight(rng, 0.35, 0.5) if winter else 0.0
    clo = _SKIN + _weight(rng, _TOP[top.kind], 0.2) + layers
    quilt = float(rng.uniform(0.06, 0.13)) if _quilted(top, rng) else 0.0
    heat = Heat(
        _TRUNK + body,
        clo,
        gap=0.8 * top.loose + 0.3 * top.flare,
        under=_SKIN + under,
        quilt=quilt,
        crease=float(np.clip(0.05 + 0.16 * clo, 0.1, 0.6)),
    )
    sleeve = dataclasses.replace(heat, core=_LIMB + body, clo=0.92 * clo, gap=0.6 * heat.gap)
    return dataclasses.replace(
        top, surface=_with(top.surface, heat), sleeve_surface=_with(top.sleeve_surface, sleeve)
    )


def _quilted(top: Top, rng: np.random.Generator) -> bool:
    chance = {"puffer": 0.9, "jacket": 0.35, "coat": 0.15}.get(top.kind, 0.0)
    return bool(rng.random() < chance)


def _bottom(bottom: Bottom, rng: np.random.Generator, body: float, winter: bool) -> Bottom:
    clo = _SKIN + _weight(rng, _BOTTOM[bottom.kind], 0.25)
    if winter and rng.random() < 0.4:
        clo += _weight(rng, 0.4, 0.3)  # a second layer
    gap = 0.5 * bottom.wide + (0.3 * bottom.flare if bottom.kind == "skirt" else 0.0)
    heat = Heat(_LIMB + body, clo, gap=gap, crease=0.12)
    return dataclasses.replace(bottom, surface=_with(bottom.surface, heat))


def _weight(rng: np.random.Generator, clo: float, spread: float) -> float:
    """The insulation of one piece among those of its kind."""
    return float(clo * np.exp(spread * np.clip(rng.standard_normal(), -2.2, 2.2)))


def _with(surface: Surface, heat: Heat) -> Surface:
    return dataclasses.replace(surface, heat=heat)
