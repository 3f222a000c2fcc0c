"""The modality distance of an image as a sentence and a figure with one row per embedding."""

from __future__ import annotations

from html import escape

import numpy as np
from numpy.typing import NDArray

from mtrl.demo.service.distances import Distances, ModalityDistance

NOTICEABLE = 0.005  # of a mean cosine; less is told as no difference


def sentence(measured: ModalityDistance, name: str) -> str:
    """What a transition does to the distance to infrared, in one plain sentence."""
    alike = (
        f"The model finds the visible picture and its {name} transition {measured.similarity[name]:.2f} alike"
    )
    if len(measured.before.own) == 0:
        return f"{alike}; this person has no infrared picture in the gallery to compare with."
    before, after = float(measured.before.own.mean()), float(measured.after[name].own.mean())
    if abs(after - before) < NOTICEABLE:
        return (
            f"{alike}: both stand equally near this person's infrared pictures ({after:.2f}), so no gap is left "
            "here for the transition to bridge."
        )
    direction = "nearer to" if after > before else "farther from"
    return (
        f"The {name} transition is {direction} this person's infrared pictures than the visible picture: "
        f"{before:.2f} before, {after:.2f} after."
    )


def axis(measured: ModalityDistance) -> tuple[float, float]:
    """The range of cosines that holds everything drawn, in steps of a tenth."""
    every = [measured.before, *measured.after.values()]
    drawn = np.concatenate([np.concatenate([d.own, band(d.others)]) for d in every])
    low = np.floor(10 * float(drawn.min(initial=1.0)) - 0.2) / 10
    return float(low), 1.0


def band(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """The range [2] that holds the middle nine tenths of the scores; empty for none."""
    return np.quantile(scores, (0.05, 0.95)).astype(np.float32) if len(scores) else scores


def distance_figure(measured: ModalityDistance) -> str:
    """One row per embedding: a dot per infrared image of the person, their mean, and a band for other people."""
    low, high = axis(measured)

    def at(score: float) -> str:
        return f"{100 * min(1.0, max(0.0, (score - low) / (high - low))):.2f}%"

    def row(title: str, small: str, distances: Distances, colour: str, name: str) -> str:
        parts, said = [], f"{title}, {small}: "
        if len(distances.others):
            left, right = (float(value) for value in band(distances.others))
            parts.append(f'<u style="left:{at(left)};right:calc(100% - {at(right)})"></u>')
        parts += [f'<i style="left:{at(float(score))};background:{colour}"></i>' for score in distances.own]
        mean = f"{float(distances.own.mean()):.2f}" if len(distances.own) else "–"
        if len(distances.own):
            parts.append(f'<b style="left:{at(float(distances.own.mean()))};background:{colour}"></b>')
            said += f"cosine {mean} on average to {len(distances.own)} infrared pictures of the same person"
        return (
            f'<div class="m-row" data-row="{escape(name, quote=True)}"><span>{escape(title)}<small>'
            f'{escape(small)}</small></span><div role="img" aria-label="{escape(said, quote=True)}">'
            f"{''.join(parts)}</div><em>{mean}</em></div>"
        )

    rows = [row("Visible", "before", measured.before, "var(--vis)", "")]
    rows += [
        row("Transition", name, distances, "var(--tra)", name) for name, distances in measured.after.items()
    ]
    steps = np.linspace(low, high, round(10 * (high - low)) + 1)
    every = 1 if len(steps) <= 6 else 2
    ticks = "".join(f'<span style="left:{at(v)}">{v:.1f}</span>' for v in steps[::-1][::every])
    key = "the same person's infrared pictures (line: their mean)" if len(measured.before.own) else ""
    dots = f'<span><i class="m-dot"></i>{key}</span>' if key else ""
    return (
        f'<div class="m-rows">{"".join(rows)}<div class="m-row m-axis" aria-hidden="true"><span></span>'
        f'<div>{ticks}</div><em></em></div></div><p class="m-notes">{dots}'
        '<span><u class="m-band"></u>nine in ten infrared pictures of other people</span>'
        "<span>Right is more alike (cosine).</span></p>"
    )
