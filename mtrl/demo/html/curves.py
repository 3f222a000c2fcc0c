"""Training curves of a run, drawn from its records."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from mtrl.losses import TERMS

MAX_POINTS = 160
WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 10, 32
NAMES = {
    "map_ir2vis": "mAP, infrared to visible",
    "map_vis2ir": "mAP, visible to infrared",
    "rank1_ir2vis": "rank-1, infrared to visible",
    "rank1_vis2ir": "rank-1, visible to infrared",
    "loss_identity": "identity",
    "loss_triplet": "triplet",
    **{f"loss_{name}": term.label for name, term in TERMS.items()},
    "loss_total": "total",
}


@dataclasses.dataclass(frozen=True)
class Panel:
    """Lines over the training step: name -> (steps, values)."""

    title: str
    lines: dict[str, tuple[list[int], list[float]]]


def panels(records: Sequence[dict[str, Any]]) -> list[Panel]:
    """What the records of a run hold: its loss terms, and the figures on held-out people in per cent."""
    losses = _lines(records, "train", "loss_", 1.0)
    figures = _lines(records, "eval", "map_", 100.0) | _lines(records, "eval", "rank1_", 100.0)
    made = [Panel("Loss terms", losses), Panel("Held-out people, per cent", figures)]
    return [panel for panel in made if panel.lines]


def _lines(
    records: Sequence[dict[str, Any]], kind: str, prefix: str, factor: float
) -> dict[str, tuple[list[int], list[float]]]:
    lines: dict[str, tuple[list[int], list[float]]] = {}
    for record in records:
        if record.get("kind") != kind:
            continue
        for name, value in record.items():
            if name.startswith(prefix) and isinstance(value, (int, float)) and np.isfinite(value):
                steps, values = lines.setdefault(name, ([], []))
                steps.append(int(record["step"]))
                values.append(factor * float(value))
    return {name: line for name, line in list(lines.items())[:8] if len(line[0]) > 1}


def thinned(steps: Sequence[int], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """At most MAX_POINTS points, each the mean of a stretch; nothing is cut off."""
    count = min(MAX_POINTS, len(steps))
    cuts = np.linspace(0, len(steps), count + 1).round().astype(int)
    stretches = list(itertools.pairwise(cuts))
    return (
        [float(np.mean(steps[a:b])) for a, b in stretches],
        [float(np.mean(values[a:b])) for a, b in stretches],
    )


def ticks(high: float) -> list[float]:
    """Round numbers from 0 to at least `high`, four to seven of them."""
    raw = max(high, 1e-9) / 4
    power = 10.0 ** np.floor(np.log10(raw))
    step = next(float(power * f) for f in (1, 2, 2.5, 5, 10) if power * f >= raw * 0.8)
    return [step * n for n in range(int(np.ceil(high / step - 1e-9)) + 1)]


def place(step: float, value: float, last: float, top: float) -> tuple[float, float]:
    """Where a step of `last` and a value of `top` lie in a panel's drawing."""
    return LEFT + step / last * (WIDTH - LEFT - RIGHT), TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM)


def panel_html(panel: Panel) -> str:
    """One panel with its legend."""
    lines = {name: thinned(*line) for name, line in panel.lines.items()}
    last = max(line[0][-1] for line in panel.lines.values()) or 1
    marks = ticks(max(max(values) for _, values in lines.values()))
    parts = []
    for mark in marks:
        y = place(0, mark, last, marks[-1])[1]
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--line)"/>'
        )
        parts.append(_text(LEFT - 6, y + 4, f"{mark:g}", "end"))
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        parts.append(_text(place(share * last, 0, last, 1)[0], HEIGHT - 12, f"{share * last:,.0f}", anchor))
    keys = []
    for n, (name, (steps, values)) in enumerate(lines.items()):
        colour = f"hsl({(262 + 137 * n) % 360} 62% var(--lit))"
        points = " ".join(
            "{:.1f},{:.1f}".format(*place(x, max(0.0, y), last, marks[-1]))
            for x, y in zip(steps, values, strict=True)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        keys.append(
            f'<span><i style="background:{colour}"></i>{escape(NAMES.get(name, name.replace("_", " ")))}</span>'
        )
    said = "; ".join(f"{NAMES.get(n, n)} ends at {line[1][-1]:.3g}" for n, line in panel.lines.items())
    return (
        f'<figure class="m-curves"><figcaption>{panel.title}<small>by training step</small></figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(panel.title + ": " + said, quote=True)}">'
        f'{"".join(parts)}</svg><p class="m-notes">{"".join(keys)}</p></figure>'
    )


def curves_html(records: Sequence[dict[str, Any]]) -> str:
    """All panels of a run; a sentence where there are none."""
    made = panels(records)
    if not made:
        return '<p class="m-mute">No record of its training lies beside this model.</p>'
    return f'<div class="m-panels">{"".join(panel_html(panel) for panel in made)}</div>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {where} font-size="12" fill="var(--mute)">{escape(text)}</text>'
