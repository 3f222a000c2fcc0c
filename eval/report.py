"""The result of an evaluation, as a table and as JSON for other programs."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.protocols import Setting
from eval.score import Scores
from mtrl.files.atomic import make_folder, write_atomically

RANKS = (1, 5, 10, 20)
RERANK_HELP = (
    "add metrics after k-reciprocal re-ranking (k1=20, k2=6, weight 0.3): paper, as its text says (also the flag "
    "alone), or released, as its authors' Python code computes"
)
Figures = dict[str, Any]  # {"map", "minp", "cmc": {"1", "5", "10", "20"}}, fractions


@dataclasses.dataclass(frozen=True, eq=False)
class Report:
    """The metrics of one setting over its trials, and everything needed to repeat them.

    setting       protocol, direction, mode, shots, gallery draw, CMC level
    trials        one `Scores` per trial
    reranked      the same after re-ranking; empty without it
    corrupted     the same on corrupted images, draw by draw of the corruptions; empty without them
    modality_gap  see `eval.score.modality_gap`
    rerank        variant of the re-ranking, "paper" or "released"; None without it
    beside        {name: the same setting without the model}: what its figures are to be compared with
    size, test_seed, spectrum  of the synthetic test set; split: of RegDB, 1 to 10 or "all"
    """

    setting: Setting
    trials: tuple[Scores, ...]
    reranked: tuple[Scores, ...] = ()
    corrupted: tuple[Scores, ...] = ()
    modality_gap: float = math.nan
    dataset: str = ""
    checkpoint: str = ""
    feature: str = "after"
    flip: bool = False
    distance: str = "cosine"
    size: str | None = None
    test_seed: int | None = None
    spectrum: str | None = None
    split: str | None = None
    rerank: str | None = None
    beside: Mapping[str, Report] = dataclasses.field(default_factory=dict)

    def name(self, among: Sequence[Report]) -> str:
        """Direction, and where reports differ in them mode and shots: `ir2vis`, `ir2vis, indoor, 10 shots`."""
        own, others = self.setting, [report.setting for report in among]
        parts = [own.direction] + [own.mode] * (len({other.mode for other in others}) > 1)
        several = len({other.shots for other in others}) > 1
        return ", ".join(parts + [f"{own.shots} shot{'s' * (own.shots > 1)}"] * several)

    @property
    def mean(self) -> Figures:
        """{"map", "minp", "cmc": {"1", "5", "10", "20"}}: fractions, mean over the trials."""
        return _figures(self.trials, np.mean)

    @property
    def std(self) -> Figures:
        """The population standard deviation over the trials; 0 for a single one."""
        return _figures(self.trials, np.std)

    @property
    def cmc(self) -> NDArray[np.float64]:
        """float64 [R]: the CMC curve, mean over trials."""
        length = min(len(scores.cmc) for scores in self.trials)
        return np.mean([scores.cmc[:length] for scores in self.trials], axis=0)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; fractions. `std` is the population standard deviation over the trials (0 for one)."""
        setting, first = self.setting, self.trials[0]
        values: dict[str, Any] = {
            "dataset": self.dataset,
            "direction": setting.direction,
            "mode": setting.mode,
            "shots": None if setting.whole else setting.shots,
            "checkpoint": self.checkpoint,
            **_summary(self.trials),
            "protocol": setting.protocol,
            "gallery": gallery_name(setting),
            "cmc_level": setting.level,
            "feature": self.feature,
            "flip": self.flip,
            "distance": self.distance,
            "num_query": first.num_query,
            "num_valid_query": first.valid,
            "num_gallery": first.num_gallery,
            "modality_gap": None if math.isnan(self.modality_gap) else self.modality_gap,
            "size": self.size,
            "test_seed": self.test_seed,
            "spectrum": self.spectrum,
            "split": self.split,
            "version": _version(),
        }
        if self.reranked:
            values["rerank"] = {
                "method": "k-reciprocal",
                "variant": self.rerank,
                "k1": 20,
                "k2": 6,
                "weight": 0.3,
            }
            values["rerank"].update(_summary(self.reranked))
        if self.corrupted:
            draws = len(self.corrupted) // len(self.trials)
            values["corrupted"] = {"draws": draws, **_summary(self.corrupted)}
        if self.beside:
            values["beside"] = {name: _summary(other.trials) for name, other in self.beside.items()}
        return values


def rerank_name(report: Report) -> list[str]:
    """The variant of the re-ranking for the line above a table; nothing without re-ranking."""
    return [f"k-reciprocal re-ranking as {report.rerank}"] if report.reranked else []


def gallery_name(setting: Setting) -> str:
    """ "seeded", "official", or "full" where every image of the modality stands in the gallery."""
    return "full" if setting.whole else setting.gallery


def write_json(path: str | Path, report: Report) -> None:
    """Writes the report as `write_values` does."""
    write_values(path, report.to_dict())


def write_list(path: str | Path, reports: Sequence[Report]) -> None:
    """Writes several reports as {"settings": [...]}, each as `write_json` writes one."""
    write_values(path, {"settings": [report.to_dict() for report in reports]})


def make_room(*files: str | Path | None) -> None:
    """Makes the folders of files that will be written, before slow work that would be lost. Raises OSError."""
    for file in files:
        if file:
            make_folder(Path(file).parent)


def write_values(target: str | Path, values: Any) -> None:
    """Writes JSON values atomically, into a folder that is made where it is missing. Raises OSError."""
    target = Path(target)
    make_room(target)
    write_atomically(target, (json.dumps(values, indent=1, allow_nan=False) + "\n").encode())


def table(reports: Sequence[Report]) -> str:
    """Reports as text, a row each, and one for what stands beside each; re-ranked metrics in columns of their own;
    percentages, mean ± deviation.
    """
    head = ["direction", "mode", "shots", "gallery", "trials", "queries", "images"]
    metric_names = [f"rank-{rank}" for rank in RANKS] + ["mAP", "mINP"]
    reranked = any(report.reranked for report in reports)
    corrupted = any(report.corrupted for report in reports)
    head += metric_names + [f"{name} re-ranked" for name in metric_names if reranked]
    head += [f"{name} corrupted" for name in metric_names if corrupted]
    several = len({report.checkpoint for report in reports}) > 1
    named = any(report.beside for report in reports)
    rows = [["checkpoint"] * several + ["features"] * named + head]
    for name, report in [row for one in reports for row in (("model", one), *one.beside.items())]:
        setting, first = report.setting, report.trials[0]
        valid = str(first.valid) if first.valid == first.num_query else f"{first.valid} of {first.num_query}"
        labels = [report.checkpoint] * several + [name] * named
        labels += [setting.direction, setting.mode, "-" if setting.whole else str(setting.shots)]
        labels += [gallery_name(setting), str(len(report.trials)), valid, str(first.num_gallery)]
        again = [_cells(found) if found else [""] * len(metric_names) for found, wanted in
                 ((report.reranked, reranked), (report.corrupted, corrupted)) if wanted]  # fmt: skip
        rows.append(labels + _cells(report.trials) + [cell for cells in again for cell in cells])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def _summary(trials: Sequence[Scores]) -> dict[str, Any]:
    return {
        "trials": [_figures([scores], np.mean) for scores in trials],
        "mean": _figures(trials, np.mean),
        "std": _figures(trials, np.std),
    }


def _figures(trials: Sequence[Scores], reduce: Callable[[list[float]], Any]) -> Figures:
    return {
        "map": float(reduce([scores.map for scores in trials])),
        "minp": float(reduce([scores.minp for scores in trials])),
        "cmc": {str(rank): float(reduce([scores.cmc[rank - 1] for scores in trials])) for rank in RANKS},
    }


def _cells(trials: Sequence[Scores]) -> list[str]:
    mean, std = _figures(trials, np.mean), _figures(trials, np.std)
    pairs = [(mean["cmc"][str(rank)], std["cmc"][str(rank)]) for rank in RANKS]
    pairs += [(mean[name], std[name]) for name in ("map", "minp")]
    if len(trials) == 1:
        return [f"{100 * value:.2f}" for value, _ in pairs]
    return [f"{100 * value:.2f} ± {100 * deviation:.2f}" for value, deviation in pairs]


def _version() -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("mtrl")
    except PackageNotFoundError:
        return None
