"""The report of an ablation: tables in Markdown, the same as JSON, and a plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from mtrl.files.atomic import write_atomically
from train.ablation.gains import gains, targets
from train.ablation.plot import draw_ablation
from train.ablation.results import DIRECTIONS, LABELS, METRICS, Row
from train.presets import METHODS


def write_report(rows: Sequence[Row], folder: Path) -> Path:
    """Writes `ablation.json`, `ablation.md` and, where there is a result, `ablation.png`; returns the .md's path."""
    folder.mkdir(parents=True, exist_ok=True)
    compared = gains(rows)
    reached = targets(compared) if all(row.on_benchmark() for row in rows) else []
    record = {"rows": [_summary(row) for row in rows], "gains": compared, "targets": reached}
    write_atomically(folder / "ablation.json", json.dumps(record, indent=1, allow_nan=False).encode())
    several = len({row.translator for row in rows}) > 1
    parts = [_table(rows, several), _gain_table(compared, several), _target_table(reached, several)]
    path = folder / "ablation.md"
    write_atomically(path, ("\n\n".join(part for part in parts if part) + "\n").encode())
    if rows:
        draw_ablation(rows, folder / "ablation.png")
    return path


def _summary(row: Row) -> dict[str, Any]:
    spread = {
        direction: {
            metric: {"mean": mean(values), "std": stdev(values) if len(values) > 1 else None}
            for metric in METRICS
            for values in [row.values(direction, metric)]
        }
        for direction in DIRECTIONS
    }
    runs = [{"seed": seed, **result} for seed, result in row.results.items()]
    return {
        "method": row.method,
        "label": LABELS[row.method],
        "translator": row.translator,
        "terms": row.terms,
        **spread,
        "runs": runs,
    }


def _table(rows: Sequence[Row], several: bool) -> str:
    if not rows:
        return "No finished run."
    titles = ["method", "row", *["translator"] * several, "seeds"]
    lines = [
        titles
        + [f"{direction} {metric}" for direction in DIRECTIONS.values() for metric in METRICS.values()]
        + ["trained with"]
    ]
    for row in rows:
        cells = [_spread(row.values(direction, metric)) for direction in DIRECTIONS for metric in METRICS]
        count = str(len(row.results))
        translator = row.translator if METHODS[row.method]["transition"] else "none"
        lines.append([row.method, LABELS[row.method], *[translator] * several, count, *cells, row.terms])
    return _markdown(lines)


def _gain_table(compared: Sequence[dict[str, Any]], several: bool) -> str:
    if not compared:
        return ""
    titles = ["gain of", "over", *["translator"] * several, "seeds"]
    lines = [titles + [f"{name} {what}" for name in DIRECTIONS.values() for what in ("mAP", "p")]]
    for pair in compared:
        cells = []
        for direction in DIRECTIONS:
            paired = pair[direction]["map"]
            cells += [_spread(paired["differences"], "+"), _p(paired["p"])]
        names = [pair["method"], pair["control"], *[pair["translator"]] * several, str(len(pair["seeds"]))]
        lines.append(names + cells)
    text = (
        "Gains in mAP, points, paired by seed: mean ± sample deviation of the differences, and the two-sided p of the "
        "paired t-test over as many seeds as the table says, not corrected for the number of comparisons."
    )
    return f"{text}\n\n{_markdown(lines)}"


def _target_table(reached: Sequence[dict[str, Any]], several: bool) -> str:
    if not reached:
        return ""
    titles = ["target (mean gain in mAP)", *["translator"] * several]
    lines = [titles + [f"{name}{what}" for name in DIRECTIONS.values() for what in ("", " holds")]]
    for pair in zip(reached[:: len(DIRECTIONS)], reached[1 :: len(DIRECTIONS)], strict=True):
        least = " / ".join(dict.fromkeys(f"{one['least']:g}" for one in pair))
        wanted = f"at least {least} points" if pair[0]["least"] else "not negative"
        cells = [cell for one in pair for cell in (f"{one['gain']:+.1f}", "yes" if one["holds"] else "no")]
        name = f"{pair[0]['method']} over {pair[0]['control']}: {wanted}"
        lines.append([name, *[pair[0]["translator"]] * several, *cells])
    return _markdown(lines)


def _markdown(lines: list[list[str]]) -> str:
    rows = ["| " + " | ".join(cells) + " |" for cells in lines]
    return "\n".join([rows[0], "|---" * len(lines[0]) + "|", *rows[1:]])


def _spread(values: list[float], sign: str = "") -> str:
    """Mean and sample deviation."""
    deviation = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
    return f"{mean(values):{sign}.1f}{deviation}"


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
