"""The modality distance of an image as a sentence and a figure with one row per embedding."""

from __future__ import annotations

from html import escape

import numpy as np
from numpy.typing import NDArray

from mtrl.demo.html.charts import number
from mtrl.demo.service.distances import Distances, ModalityDistance

NOTICEABLE = 0.05  # of a mean cosine; less is told as no difference


def sentence(measured: ModalityDistance, untrained: ModalityDistance | None, name: str) -> str:
    """What a transition did to the distance to infrared with random weights, and does now, in plain words."""
    now = number(measured.similarity[name])
    alike = f"the model finds the visible picture and its {name} transition {now} alike"
    if untrained is not None:
        alike += f" (with random weights: {number(untrained.similarity[name])})"
    if not len(measured.before.own):
        return f"{_capital(alike)}. This person has no infrared picture in the gallery to compare with."
    text = f"{_then(untrained, name)} " if untrained is not None and len(untrained.before.own) else ""
    before, after = (float(d.own.mean()) for d in (measured.before, measured.after[name]))
    figures = f"{number(after)} against {number(before)}"
    if abs(after - before) < NOTICEABLE:
        return (
            f"{text}Now the two are about equally near ({figures}): {alike}, so no gap is left between them. What is "
            "left is the distance from both to infrared."
        )
    direction = "nearer to" if after > before else "farther from"
    return (
        f"{text}Now the {name} transition is {direction} this person's infrared pictures than the visible picture is "
        f"({figures}); {alike}."
    )


def _then(untrained: ModalityDistance, name: str) -> str:
    before, after = (float(d.own.mean()) for d in (untrained.before, untrained.after[name]))
    figures = f"cosine {number(after)} against {number(before)}"
    if abs(after - before) < NOTICEABLE:
        equal = f"the {name} transition and the visible picture were about equally near"
        return f"With random weights, {equal} ({figures})."
    direction = "nearer to" if after > before else "farther from"
    return (
        f"With random weights, the {name} transition was {direction} this person's infrared pictures than the visible "
        f"picture was ({figures})."
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def axis(*measured: ModalityDistance) -> tuple[float, float]:
    """The range of cosines that holds everything drawn, in steps of a tenth."""
    every = [distances for one in measured for distances in (one.before, *one.after.values())]
    drawn = np.concatenate([np.concatenate([d.own, band(d.others)]) for d in every])
    low = np.floor(10 * float(drawn.min(initial=1.0)) - 0.2) / 10
    return float(low), 1.0


def band(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """The range [2] that holds the middle nine tenths of the scores; empty for none."""
    return np.quantile(scores, (0.05, 0.95)).astype(np.float32) if len(scores) else scores


def distance_figure(measured: ModalityDistance, untrained: ModalityDistance | None = None) -> str:
    """One row per embedding: a dot per infrared image of the person, their mean, and a band for other people."""
    groups = {"This model": measured}
    if untrained is not None and len(untrained.before.own):
        groups = {"The same network with random weights": untrained, "This model, trained": measured}
    low, high = axis(*groups.values())
    rows = "".join(
        (f"<h3>{title}</h3>" if len(groups) > 1 else "")
        + _row("Visible", "", one.before, "var(--vis)", low, high)
        + "".join(
            _row("Transition", name, found, "var(--tra)", low, high) for name, found in one.after.items()
        )
        for title, one in groups.items()
    )
    dots = ""
    if len(measured.before.own):
        dots = '<span><i class="m-dot"></i>this person\'s infrared pictures (line: their mean)</span>'
    return (
        f'<div class="m-rows">{rows}<div class="m-row m-axis" aria-hidden="true"><span></span>'
        f'<div>{_ticks(low, high)}</div><em></em></div></div><p class="m-notes">{dots}'
        '<span><u class="m-band"></u>infrared pictures of other people (90 of 100 lie here)</span>'
        "<span>Further right: more alike (cosine).</span></p>"
    )


def _at(score: float, low: float, high: float) -> str:
    return f"{100 * min(1.0, max(0.0, (score - low) / (high - low))):.2f}%"


def _ticks(low: float, high: float) -> str:
    steps = np.linspace(low, high, round(10 * (high - low)) + 1)
    every = 1 if len(steps) <= 5 else 2 if len(steps) <= 9 else 4
    return "".join(
        f'<span style="left:{_at(v, low, high)}">{number(float(v), 1)}</span>' for v in steps[::-1][::every]
    )


def _row(title: str, name: str, found: Distances, colour: str, low: float, high: float) -> str:
    parts, said = [], f"{title} {name}".strip() + ": "
    if len(found.others):
        left, right = (float(value) for value in band(found.others))
        parts.append(
            f'<u style="left:{_at(left, low, high)};right:calc(100% - {_at(right, low, high)})"></u>'
        )
    for score in found.own:
        parts.append(f'<i style="left:{_at(float(score), low, high)};background:{colour}"></i>')
    mean = number(float(found.own.mean())) if len(found.own) else "–"
    if len(found.own):
        parts.append(f'<b style="left:{_at(float(found.own.mean()), low, high)};background:{colour}"></b>')
        said += f"cosine {mean} on average to {len(found.own)} infrared pictures of the same person"
    small = f"<small>{escape(name)}</small>" if name else ""
    return (
        f'<div class="m-row" data-row="{escape(name, quote=True)}"><span>{escape(title)}{small}</span>'
        f'<div role="img" aria-label="{escape(said, quote=True)}">{"".join(parts)}</div><em>{mean}</em></div>'
    )
