"""The bridge: how near a visible picture and its transitions come to infrared pictures of the same person."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mtrl.demo.service.gallery_folder import Picture
from mtrl.demo.service.service import DemoService
from mtrl.models.config import Modality

NOTICEABLE = 0.005


@dataclasses.dataclass(frozen=True)
class Reach:
    """Cosines of one embedding to the gallery's infrared pictures: `own` of the same person, `others` of the rest."""

    own: NDArray[np.float32]
    others: NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Bridge:
    """`before`: the visible picture's; `after`: its transitions', by translator; `likeness`: cosine of both."""

    before: Reach
    after: dict[str, Reach]
    likeness: dict[str, float]


def measure(
    service: DemoService, visible: Image.Image, transitions: Mapping[str, Image.Image], known: Picture | None
) -> Bridge:
    """The bridge of one visible picture. Transitions take the infrared side of the model, as in training."""
    v = service.model.encode([visible], "visible")[0]
    t = service.model.encode(list(transitions.values()), "infrared")
    infrared = service.features[Modality.INFRARED]
    people = [service.pictures[i].person for i in service.rows[Modality.INFRARED]]
    person = known.person if known else None
    same = np.array([person is not None and identity == person for identity in people])

    def reach(scores: NDArray[np.float32]) -> Reach:
        return Reach(scores[same], scores[~same])

    return Bridge(
        reach((infrared @ v).numpy()),
        {name: reach((infrared @ row).numpy()) for name, row in zip(transitions, t, strict=True)},
        {name: float(row @ v) for name, row in zip(transitions, t, strict=True)},
    )


def sentence(bridge: Bridge, name: str) -> str:
    """What a transition does to the distance to infrared, in one plain sentence."""
    alike = f"The model finds the visible picture and its {name} transition {bridge.likeness[name]:.2f} alike"
    if len(bridge.before.own) == 0:
        return f"{alike}; this person has no infrared picture in the gallery to compare with."
    before, after = float(bridge.before.own.mean()), float(bridge.after[name].own.mean())
    if abs(after - before) < NOTICEABLE:
        return (
            f"{alike}: both stand equally near this person's infrared pictures ({after:.2f}), so no gap is left "
            "here for the transition to bridge."
        )
    way = "nearer to" if after > before else "farther from"
    return (
        f"The {name} transition is {way} this person's infrared pictures than the visible picture: "
        f"{before:.2f} before, {after:.2f} after."
    )


def axis(bridge: Bridge) -> tuple[float, float]:
    """The range of cosines that holds everything drawn, in steps of a tenth."""
    reaches = [bridge.before, *bridge.after.values()]
    drawn = np.concatenate([np.concatenate([r.own, band(r.others)]) for r in reaches])
    low = np.floor(10 * float(drawn.min(initial=1.0)) - 0.2) / 10
    return float(low), 1.0


def band(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """The range [2] that holds the middle nine tenths of the scores; empty for none."""
    return np.quantile(scores, (0.05, 0.95)).astype(np.float32) if len(scores) else scores


def bridge_figure(bridge: Bridge) -> str:
    """One lane per embedding: a dot per infrared picture of the person, their mean, and a band for other people."""
    low, high = axis(bridge)

    def at(score: float) -> str:
        return f"{100 * min(1.0, max(0.0, (score - low) / (high - low))):.2f}%"

    def lane(title: str, small: str, reach: Reach, colour: str, name: str) -> str:
        parts, said = [], f"{title}, {small}: "
        if len(reach.others):
            left, right = (float(value) for value in band(reach.others))
            parts.append(f'<u style="left:{at(left)};right:calc(100% - {at(right)})"></u>')
        parts += [f'<i style="left:{at(float(score))};background:{colour}"></i>' for score in reach.own]
        mean = f"{float(reach.own.mean()):.2f}" if len(reach.own) else "–"
        if len(reach.own):
            parts.append(f'<b style="left:{at(float(reach.own.mean()))};background:{colour}"></b>')
            said += f"cosine {mean} on average to {len(reach.own)} infrared pictures of the same person"
        return (
            f'<div class="m-lane" data-lane="{escape(name, quote=True)}"><span>{escape(title)}<small>'
            f'{escape(small)}</small></span><div role="img" aria-label="{escape(said, quote=True)}">'
            f"{''.join(parts)}</div><em>{mean}</em></div>"
        )

    lanes = [lane("Visible", "before", bridge.before, "var(--vis)", "")]
    lanes += [lane("Transition", name, reach, "var(--tra)", name) for name, reach in bridge.after.items()]
    steps = np.linspace(low, high, round(10 * (high - low)) + 1)
    every = 1 if len(steps) <= 6 else 2
    ticks = "".join(f'<span style="left:{at(v)}">{v:.1f}</span>' for v in steps[::-1][::every])
    key = "the same person's infrared pictures (line: their mean)" if len(bridge.before.own) else ""
    dots = f'<span><i class="m-dot"></i>{key}</span>' if key else ""
    return (
        f'<div class="m-lanes">{"".join(lanes)}<div class="m-lane m-axis" aria-hidden="true"><span></span>'
        f'<div>{ticks}</div><em></em></div></div><p class="m-notes">{dots}'
        '<span><u class="m-band"></u>nine in ten infrared pictures of other people</span>'
        "<span>Right is more alike (cosine).</span></p>"
    )
