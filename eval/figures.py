"""Figures of an evaluation: CMC curves, ranking strips, and the distances behind the modality gap."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.evaluate import Evaluation
from eval.score import distance_matrix
from mtrl.data.imageset import ImageSet
from mtrl.labels.names import short
from mtrl.models.config import Modality
from mtrl.retrieval.metrics.ranking import query_blocks, skipped

RIGHT, WRONG, INK, MUTED = "#1a7f37", "#c62828", "#1f2328", "#6e7781"
LINES = ("#1f5fbf", "#b35900", "#5b3a9e", "#1a7f37", "#c62828", "#6e7781", "#0a7d8c", "#8a6d00")
STRIP_QUERIES = 8
STRIP_RANKS = 10
_HISTOGRAM_ROWS = 1500
NAMES = {
    "ir2vis": "infrared to visible",
    "vis2ir": "visible to infrared",
    "vis2ir_released": "released LLCM variant",
}


def write_figures(evaluations: Sequence[Evaluation], images: ImageSet, folder: Path) -> list[Path]:
    """Writes `cmc.png`, and per setting `ranking-*.png` and `modality-gap-*.png`; returns their paths.

    images is the set whose rows the evaluations' banks name. Raises OSError when the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [save_figure(draw_cmc(evaluations), folder / "cmc.png")]
    reports = [evaluation.report for evaluation in evaluations]
    for evaluation in evaluations:
        name = evaluation.report.name(reports).replace(", ", "-").replace(" ", "")
        paths.append(save_figure(draw_strips(evaluation, images), folder / f"ranking-{name}.png"))
        paths.append(save_figure(draw_gap(evaluation), folder / f"modality-gap-{name}.png"))
    return paths


def draw_cmc(evaluations: Sequence[Evaluation]) -> Any:
    """A matplotlib figure: mean CMC up to rank 20, shaded by a standard deviation over the trials."""
    figure = new_figure(6.4, 4.2)
    axes = figure.add_subplot()
    reports = [evaluation.report for evaluation in evaluations]
    for color, evaluation in zip(itertools.cycle(LINES), evaluations, strict=False):
        report = evaluation.report
        curves = 100 * np.array([scores.cmc[:20] for scores in report.trials])
        mean, deviation, ranks = curves.mean(axis=0), curves.std(axis=0), np.arange(1, curves.shape[1] + 1)
        direction = report.setting.direction
        name = report.name(reports).replace(direction, NAMES[direction])
        label = f"{name}: rank-1 {mean[0]:.1f}, mAP {100 * report.mean['map']:.1f}"
        axes.plot(ranks, mean, color=color, marker="o", markersize=3.5, label=label)
        axes.fill_between(ranks, mean - deviation, mean + deviation, color=color, alpha=0.18, linewidth=0)
    axes.set(xlabel="rank", ylabel="queries found (%)", xticks=(1, 5, 10, 15, 20), xlim=(0.5, 20.5))
    axes.set_ylim(top=min(102, axes.get_ylim()[1] + 4))
    axes.grid(color="#d8dee4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(loc="lower right", frameon=True, fontsize=9)
    report = evaluations[0].report
    axes.set_title(f"Cumulative matching, {_what(evaluations[0])}, {len(report.trials)} trials", fontsize=10)
    return figure


def draw_strips(evaluation: Evaluation, images: ImageSet, seed: int = 0) -> Any:
    """A matplotlib figure: some queries of the first trial with their (at most ten) nearest gallery images.

    Right images are framed green with a tick, wrong ones red with a cross; images that the protocol skips for
    the query are left out. The queries are drawn by `seed` from those that have a right image, not picked.
    """
    feature_set, trial, setting = evaluation.feature_set, evaluation.trials[0], evaluation.report.setting
    query_ids, gallery_ids = feature_set.identities[trial.query], feature_set.identities[trial.gallery]
    cameras = feature_set.cameras[trial.query], feature_set.cameras[trial.gallery]

    def answers(part: slice) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(right, skipped) gallery images of some queries, bool [B, G] each."""
        drop = skipped(query_ids[part], gallery_ids, cameras[0][part], cameras[1], setting.protocol)
        return (query_ids[part, None] == gallery_ids) & ~drop, drop

    blocks = query_blocks(len(query_ids), len(gallery_ids))
    usable = np.flatnonzero(np.concatenate([answers(part)[0].any(axis=1) for part in blocks]))
    chosen = np.sort(np.random.default_rng(seed).permutation(usable)[:STRIP_QUERIES])
    ranks = min(STRIP_RANKS, len(trial.gallery))
    figure = new_figure(1.02 * (ranks + 1) + 0.5, 2.15 * len(chosen) + 0.5)
    grid = figure.subplots(
        len(chosen),
        ranks + 2,
        squeeze=False,
        gridspec_kw={"width_ratios": [1, 0.25] + [1] * ranks, "wspace": 0.08, "hspace": 0.2},
    )
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=1 - 0.45 / (2.15 * len(chosen) + 0.5))
    figure.suptitle(
        f"{NAMES[setting.direction]}, {_what(evaluation)}: query, then the {ranks} nearest",
        fontsize=11,
        y=0.995,
    )
    for line, query in zip(grid, chosen, strict=True):
        for axes in line:
            axes.set_axis_off()
        features = feature_set.features[trial.query[[query]]], feature_set.features[trial.gallery]
        distances = distance_matrix(*features, evaluation.report.distance)[0]
        right, drop = (rows[0] for rows in answers(slice(query, query + 1)))
        order = [row for row in np.argsort(distances, kind="stable") if not drop[row]]
        camera = images.camera_name(cameras[0][query])
        caption = _id(images, query_ids[query]) + (f", cam {short(camera)}" if camera else "")
        _image(line[0], images, feature_set.rows[trial.query[query]], caption, INK)
        for rank, (axes, row) in enumerate(zip(line[2:], order, strict=False), 1):
            good = bool(right[row])
            mark = f"{rank} {'✓' if good else '✗'}  {_id(images, gallery_ids[row])}"
            _image(axes, images, feature_set.rows[trial.gallery[row]], mark, RIGHT if good else WRONG)
    return figure


def draw_gap(evaluation: Evaluation, seed: int = 0) -> Any:
    """A matplotlib figure: histograms of visible-infrared distances within and between identities.

    At most 1500 images of each modality are drawn by `seed`; the ratio in the title is over all of them.
    """
    feature_set, report = evaluation.feature_set, evaluation.report
    used = np.unique(
        np.concatenate([rows for trial in evaluation.trials for rows in (trial.query, trial.gallery)])
    )
    rng = np.random.default_rng(seed)
    sides = [
        rng.permutation(used[feature_set.modalities[used] == int(kind)])[:_HISTOGRAM_ROWS]
        for kind in (Modality.VISIBLE, Modality.INFRARED)
    ]
    distances = distance_matrix(
        feature_set.features[sides[0]], feature_set.features[sides[1]], report.distance
    )
    same = feature_set.identities[sides[0]][:, None] == feature_set.identities[sides[1]]
    figure = new_figure(6.4, 3.6)
    axes = figure.add_subplot()
    bins = np.linspace(float(distances.min()), float(distances.max()), 61)
    for mask, color, name in ((same, RIGHT, "same person"), (~same, WRONG, "different people")):
        values: NDArray[Any] = distances[mask]
        axes.hist(values, bins, density=True, histtype="stepfilled", color=color, alpha=0.35)
        axes.hist(values, bins, density=True, histtype="step", color=color, linewidth=1.2)
        mean = float(values.mean()) if values.size else float("nan")
        axes.axvline(mean, color=color, linestyle="--", linewidth=1.2, label=f"{name}, mean {mean:.3f}")
    axes.set(xlabel=f"{report.distance} distance, visible to infrared", ylabel="density", yticks=[])
    axes.set_title(
        f"Modality gap {report.modality_gap:.3f} ({_what(evaluation)}; lower is better)", fontsize=10
    )
    axes.legend(frameon=False, fontsize=9)
    return figure


def _image(axes: Any, images: ImageSet, row: int, caption: str, color: str) -> None:
    from matplotlib.patches import Rectangle

    pixels = images.images[row]
    axes.imshow(pixels, aspect="equal")
    height, width = pixels.shape[:2]
    frame = Rectangle((-0.5, -0.5), width, height, fill=False, edgecolor=color, linewidth=3, clip_on=False)
    axes.add_patch(frame)
    axes.set_title(caption, fontsize=7.5, color=color, pad=3, parse_math=False)  # a name may hold a $


def _id(images: ImageSet, identity: int) -> str:
    return f"id {short(images.identity_name(identity))}"


def _what(evaluation: Evaluation) -> str:
    setting, dataset = evaluation.report.setting, evaluation.report.dataset or "test set"
    if setting.whole:
        return dataset
    shots = "1 shot" if setting.shots == 1 else f"{setting.shots} shots"
    return (
        f"{dataset}, {setting.mode} search, {shots}" if setting.protocol == "sysu" else f"{dataset}, {shots}"
    )


def new_figure(width: float, height: float) -> Any:
    """A figure outside pyplot's global state, drawn without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=130)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Any, path: Path) -> Path:
    figure.savefig(path, bbox_inches="tight", facecolor="white")
    return path
