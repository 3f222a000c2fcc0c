"""Draws the ablation: a dot per seed, a bar at the mean, both directions side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from mtrl.losses.terms import TERMS
from train.ablation.results import DIRECTIONS, Row
from train.ablation.tables import place_of

COLOURS = {"control": "#6e7781", "term": "#1f5fbf", "full": "#5b3a9e"}
_INK, _GRID = "#1f2328", "#d8dee4"


def draw_ablation(rows: Sequence[Row], path: Path) -> Path:
    """Writes an image of test mAP (percent); the format follows from the ending of `path`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [_name(row, rows) for row in rows]
    width = 6.6 + 0.09 * max(map(len, names), default=0)  # inches: two charts, and the longest name
    figure = Figure(figsize=(width, 0.36 * len(rows) + 1.1), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, direction in zip(figure.subplots(1, 2, sharey=True), DIRECTIONS, strict=True):
        for place, row in enumerate(rows):
            values, colour = row.values(direction, "map"), COLOURS[_kind(row.method)]
            middle = mean(values)
            axes.plot([middle, middle], [place - 0.32, place + 0.32], color=colour, linewidth=2.4, zorder=2)
            axes.scatter(
                values, [place] * len(values), s=34, color=colour, alpha=0.55, linewidths=0, zorder=3
            )
            axes.annotate(
                f"{middle:.1f}",
                (max(values), place),
                (7, 0),
                textcoords="offset points",
                va="center",
                fontsize=10.5,
            )
        axes.set_title(f"{DIRECTIONS[direction].replace('->', ' → ')}, mAP (%)", fontsize=12, color=_INK)
        low, high = axes.get_xlim()
        axes.set_xlim(low, high + 0.12 * (high - low))  # room for the last number
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.tick_params(length=0, labelsize=10.5)
        axes.grid(axis="x", color=_GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
    figure.axes[0].set_yticks(range(len(rows)), names, fontsize=11.5)
    figure.savefig(path, facecolor="white")
    return path


def _name(row: Row, rows: Sequence[Row]) -> str:
    """The row's label, behind what it does not share with the others."""
    places = [place for place in place_of(row, rows) if place not in ("none", "its own")]
    return ", ".join([*places, row.label])


def _kind(method: str) -> str:
    if method.startswith("mtrl"):
        return "full"
    return "term" if method in TERMS and TERMS[method].transition else "control"
