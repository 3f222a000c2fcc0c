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
from train.ablation.results import DIRECTIONS, METRICS, Row
from train.ablation.tables import csv_table, gain_table, latex_table, result_table, target_table


def write_report(rows: Sequence[Row], folder: Path) -> Path:
    """Writes `ablation.json`, `.md`, `.csv`, `.tex` and, where there is a result, `.png`; returns the .md's path."""
    folder.mkdir(parents=True, exist_ok=True)
    compared = gains(rows)
    reached = targets(compared) if all(row.on_benchmark() for row in rows) else []
    record = {"rows": [_summary(row) for row in rows], "gains": compared, "targets": reached}
    write_atomically(folder / "ablation.json", json.dumps(record, indent=1, allow_nan=False).encode())
    parts = [result_table(rows), gain_table(compared, rows), target_table(reached, rows)]
    write_atomically(folder / "ablation.csv", csv_table(rows).encode())
    write_atomically(folder / "ablation.tex", latex_table(rows).encode())
    path = folder / "ablation.md"
    write_atomically(path, ("\n\n".join(part for part in parts if part) + "\n").encode())
    if rows:
        draw_ablation(rows, folder / "ablation.png")
    return path


def _summary(row: Row) -> dict[str, Any]:
    spread = {
        direction: {metric: _spread(row.values(direction, metric)) for metric in METRICS}
        for direction in DIRECTIONS
    }
    real = {direction: _spread(values) for direction in DIRECTIONS if (values := row.real(direction))}
    runs = [{"seed": seed, **result} for seed, result in row.results.items()]
    return {
        "method": row.method,
        "label": row.label,
        "translator": row.translator,
        "backbone": row.backbone,
        "dataset": row.dataset,
        "terms": row.terms,
        **spread,
        **({"real_map": real} if real else {}),
        "runs": runs,
    }


def _spread(values: list[float]) -> dict[str, float | None]:
    return {"mean": mean(values), "std": stdev(values) if len(values) > 1 else None}
