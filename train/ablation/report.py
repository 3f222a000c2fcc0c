"""What an ablation says: table, paired gains with their t-tests, the targets, JSON and a plot."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from mtrl.console.cli import read_settings
from mtrl.files.atomic import write_atomically
from train.ablation.kept_result import is_of_another_model
from train.presets import METHODS, listed
from train.settings import TrainSettings

# The rows in the order of the report; A' sees the transition images as plain data, the others as the method says.
LABELS = {
    "baseline": "A",
    "augmented": "A'",
    "direct": "A + direct",
    "augmented-direct": "A' + direct",
    "augmented-direct-4.5": "A' + direct, weight 4.5",
    "mtc": "A' + L_mtc",
    "center": "A' + L_center",
    "mqr": "A' + L_mqr",
    "mtrl": "full",
    "mtrl-triangle": "full + direct edge",
}
# Least gain in mAP, in points, IR->VIS and VIS->IR, that this project asks for on its own benchmark, and on no other.
BENCHMARK = {"dataset": "synthetic", "size": "small"}
TARGETS = (
    ("mtrl", "baseline", 8.0, 8.0),
    ("mtrl", "augmented", 3.0, 3.0),
    ("mtrl", "augmented-direct", 3.0, 2.0),
    ("mtc", "augmented", 0.0, 0.0),
    ("center", "augmented", 0.0, 0.0),
    ("mqr", "augmented", 0.0, 0.0),
)
# Further pairs that are compared.
PAIRS = (
    ("augmented", "baseline"),
    ("augmented-direct", "augmented"),
    ("mtrl-triangle", "baseline"),
    ("mtrl-triangle", "augmented"),
    ("mtrl-triangle", "augmented-direct-4.5"),
    ("mtrl-triangle", "mtrl"),
)
WAYS = {"ir2vis": "IR->VIS", "vis2ir": "VIS->IR"}
FIGURES = {"map": "mAP", "rank1": "rank-1"}
PLAIN = "luminance"


@dataclasses.dataclass(frozen=True)
class Run:
    """One training: a method of `METHODS`, a translator, a seed."""

    method: str
    translator: str
    seed: int

    @property
    def translator_label(self) -> str:
        """The translator's name, or the last part of its folder or Hub id."""
        return re.sub(r"[^A-Za-z0-9.]+", "_", self.translator.rstrip("/").rsplit("/", 1)[-1])

    @property
    def name(self) -> str:
        """The folder's name; the translator is left out where it is luminance."""
        between = "" if self.translator == PLAIN else f"-{self.translator_label}"
        return f"{self.method}{between}-seed{self.seed}"

    def flags(self) -> list[str]:
        return ["--methods", self.method, "--translators", self.translator, "--seeds", str(self.seed)]


@dataclasses.dataclass(frozen=True)
class Row:
    """Results by seed of one method with one translator: {seed: {"ir2vis": {"map", "rank1", ...}, "vis2ir": ...}}."""

    method: str
    translator: str
    results: dict[int, dict[str, Any]]

    @property
    def terms(self) -> str:
        """The weights that were trained, as `transition luminance, mtc 1.5`; several where the seeds differ."""
        return (
            "; ".join(dict.fromkeys(listed(r.get("terms", {}).items()) for r in self.results.values())) or "–"
        )

    def on_benchmark(self) -> bool:
        """Whether all results are of the project's own benchmark; one that does not say is taken to be."""
        return all(r.get(key, own) == own for r in self.results.values() for key, own in BENCHMARK.items())

    def values(self, way: str, figure: str) -> list[float]:
        """Percent, by seed."""
        return [100 * result[way][figure] for result in self.results.values()]


def collect(folder: Path, runs: Sequence[Run], test_seed: int) -> list[Row]:
    """The finished runs among these, as rows in the order of the report. Raises ValueError for a damaged file."""
    found: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
    for run in runs:
        path = folder / run.name / f"test-{test_seed}.json"
        if not path.is_file():
            continue
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            figures = [float(result[way][figure]) for way in WAYS for figure in FIGURES]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} holds no result ({error}); delete it, and the run is tested again"
            ) from error
        if is_of_another_model(path, result):
            warnings.warn(
                f"{path} is left out: the model there is not the one that was tested; without --report-only it is "
                "tested again",
                stacklevel=2,
            )
            continue
        if not all(map(math.isfinite, figures)):
            raise ValueError(f"{path} holds figures that are not finite; delete it and the run's folder")
        settings = path.with_name("settings.yaml")
        if "terms" not in result and settings.is_file():  # written by an older version
            result = {**read_settings(TrainSettings, settings).record(), **result}
        found.setdefault((run.method, run.translator_label), {})[run.seed] = result
    order = {method: place for place, method in enumerate(LABELS)}
    rows = [Row(*key, dict(sorted(results.items()))) for key, results in found.items()]
    return sorted(rows, key=lambda row: order[row.method])


def seeds_found(folder: Path) -> list[int]:
    """The seeds of the runs in a folder. Raises FileNotFoundError when there are none."""
    names = [re.fullmatch(r".+-seed(\d+)", path.parent.name) for path in folder.glob("*/test-*.json")]
    seeds = sorted({int(name[1]) for name in names if name})
    if not seeds:
        raise FileNotFoundError(
            f"{folder} holds no finished run (METHOD-seedN/test-N.json); train without --report-only"
        )
    return seeds


def gain(row: Row, control: Row) -> dict[str, Any]:
    """Differences in points, paired by the seeds that both have: mean, sample deviation, two-sided paired t-test p.

    p is None with fewer than two pairs, or when all differences are equal.
    """
    seeds = [seed for seed in row.results if seed in control.results]
    result: dict[str, Any] = {
        "method": row.method,
        "control": control.method,
        "translator": row.translator,
        "seeds": seeds,
    }
    for way in WAYS if seeds else ():
        result[way] = {}
        for figure in FIGURES:
            pairs = [(100 * r.results[s][way][figure]) for s in seeds for r in (row, control)]
            result[way][figure] = _paired(pairs[::2], pairs[1::2])
    return result


def _paired(values: list[float], controls: list[float]) -> dict[str, Any]:
    from scipy.stats import ttest_rel

    differences = [a - b for a, b in zip(values, controls, strict=True)]
    spread = stdev(differences) if len(differences) > 1 else None
    p = float(ttest_rel(values, controls).pvalue) if spread and spread > 1e-9 else None
    return {"mean": mean(differences), "std": spread, "p": p, "differences": differences}


def gains(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """All pairs of which both are there, each within its translator; rows without transitions serve all."""
    by_key = {(row.method, row.translator): row for row in rows}
    pairs = [target[:2] for target in TARGETS] + list(PAIRS)
    found = []
    for translator in dict.fromkeys(row.translator for row in rows):
        for method, control in pairs:
            row = by_key.get((method, translator))
            other = by_key.get((control, translator)) or (
                by_key.get((control, PLAIN)) if control == "baseline" else None
            )
            if row and other and (compared := gain(row, other))["seeds"]:
                found.append(compared)
    return found


def targets(compared: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Which targets hold: whether the mean gain in mAP reaches its threshold in each direction."""
    thresholds = {(method, control): (first, second) for method, control, first, second in TARGETS}
    return [
        {key: pair[key] for key in ("method", "control", "translator", "seeds")}
        | {"direction": way, "least": least, "gain": pair[way]["map"]["mean"], "p": pair[way]["map"]["p"]}
        | {"holds": pair[way]["map"]["mean"] >= least}
        for pair in compared
        if (pair["method"], pair["control"]) in thresholds
        for way, least in zip(WAYS, thresholds[pair["method"], pair["control"]], strict=True)
    ]


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
        from train.ablation.plot import draw_ablation

        draw_ablation(rows, folder / "ablation.png")
    return path


def _summary(row: Row) -> dict[str, Any]:
    spread = {
        way: {
            figure: {"mean": mean(values), "std": stdev(values) if len(values) > 1 else None}
            for figure in FIGURES
            for values in [row.values(way, figure)]
        }
        for way in WAYS
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
        + [f"{way} {figure}" for way in WAYS.values() for figure in FIGURES.values()]
        + ["trained with"]
    ]
    for row in rows:
        cells = [_spread(row.values(way, figure)) for way in WAYS for figure in FIGURES]
        count = str(len(row.results))
        translator = row.translator if METHODS[row.method]["transition"] else "none"
        lines.append([row.method, LABELS[row.method], *[translator] * several, count, *cells, row.terms])
    return _markdown(lines)


def _gain_table(compared: Sequence[dict[str, Any]], several: bool) -> str:
    if not compared:
        return ""
    titles = ["gain of", "over", *["translator"] * several, "seeds"]
    lines = [titles + [f"{name} {what}" for name in WAYS.values() for what in ("mAP", "p")]]
    for pair in compared:
        cells = []
        for way in WAYS:
            paired = pair[way]["map"]
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
    lines = [titles + [f"{name}{what}" for name in WAYS.values() for what in ("", " holds")]]
    for pair in zip(reached[:: len(WAYS)], reached[1 :: len(WAYS)], strict=True):
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
