"""Draws the growth that the `scale` section measures: one panel per series."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from train.bench.table import Line


def draw(lines: Sequence[Line], target: Path) -> None:
    """Writes a PNG. Raises ValueError if no line belongs to a series."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    series: dict[str, list[tuple[float, Line]]] = defaultdict(list)
    for line in lines:
        if line.at is not None:
            series[line.at[0]].append((line.at[1], line))
    if not series:
        raise ValueError("nothing to draw: --plot belongs to the section scale")
    figure, axes = pyplot.subplots(1, len(series), figsize=(4.2 * len(series), 3.4), squeeze=False)
    for axis, (name, points) in zip(axes[0], series.items(), strict=True):
        title, _, label = name.partition(", by ")
        sizes, values = [size for size, _ in points], [line.ours for _, line in points]
        axis.plot(sizes, values, marker="o", linewidth=1.6, color="#3b4cc0", label="measured")
        slope = [values[-1] * size / sizes[-1] for size in sizes]
        axis.plot(sizes, slope, linestyle=":", color="#888888", label="in proportion")
        axis.set(title=title, xlabel=label, ylabel=points[0][1].unit, xscale="log", yscale="log")
        axis.set_xticks(sizes, [f"{size:,.0f}" for size in sizes])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, frameon=False)
    figure.tight_layout()
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=120)
    pyplot.close(figure)
