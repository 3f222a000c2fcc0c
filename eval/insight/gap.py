"""A figure of the modality gap of held-out identities over the epochs of a training run."""

from __future__ import annotations

import math
from pathlib import Path

from eval.figures import new_figure, save_figure
from mtrl.files.metrics_log import METRICS, read_records


def draw_gap_curve(run: Path, path: Path) -> Path | None:
    """Draws modality gap and mAP by epoch, from a run folder's `metrics.jsonl`, and returns the figure's path.

    Returns None, and writes nothing, if no gap is recorded.
    """
    points = gap_records(run)
    if not points:
        return None
    epochs = [point["epoch"] for point in points]
    figure = new_figure(7.4, 3.6)
    axes = figure.add_subplot()
    axes.plot(epochs, [point["gap"] for point in points], color="#5b3a9e", marker="o", markersize=4)
    axes.set_xlabel("epoch")
    axes.set_ylabel("modality gap (lower is better)", color="#5b3a9e")
    axes.grid(color="#d8dee4", linewidth=0.6)
    other = axes.twinx()
    other.plot(epochs, [100 * point["map"] for point in points], color="#1a7f37", marker="s", markersize=4)
    other.set_ylabel("mAP of both directions (%)", color="#1a7f37")
    axes.set_title("Held-out training identities", fontsize=11)
    return save_figure(figure, path)


def gap_records(run: Path) -> list[dict[str, float]]:
    """{"epoch", "gap", "map"} of each evaluation of a run. Of old records, which name no epoch, it is that of the last
    training step before."""
    points, epoch = [], 0
    for record in read_records(run / METRICS):
        epoch = record.get("epoch", epoch)
        if record.get("kind") == "eval" and math.isfinite(record.get("modality_gap", math.nan)):
            mean = (record["map_ir2vis"] + record["map_vis2ir"]) / 2
            points.append({"epoch": epoch, "gap": record["modality_gap"], "map": mean})
    return points
