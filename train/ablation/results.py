"""The finished runs of an ablation, read from their folders as rows of results."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mtrl.console.cli import read_settings
from mtrl.losses.terms import TERMS
from train.ablation.kept_result import is_of_another_model
from train.presets import listed
from train.settings import TrainSettings

# The rows in the order of the report; A' sees the transition images as plain data, the others as the method says.
LABELS = {
    "baseline": "A",
    "augmented": "A'",
    "direct": "A + direct",
    "augmented-direct": "A' + direct",
    "augmented-direct-4.5": "A' + direct, weight 4.5",
    **{name: f"A' + L_{name}" for name, term in TERMS.items() if term.weight},
    "mtrl": "full",
    "mtrl-triangle": "full + direct edge",
}
# The data set for which this project has targets.
BENCHMARK = {"dataset": "synthetic", "size": "small", "spectrum": "nir"}
DIRECTIONS = {"ir2vis": "IR->VIS", "vis2ir": "VIS->IR"}
METRICS = {"map": "mAP", "rank1": "rank-1"}
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

    def values(self, direction: str, metric: str) -> list[float]:
        """Percent, by seed."""
        return [100 * result[direction][metric] for result in self.results.values()]


def collect(folder: Path, runs: Sequence[Run], test_seed: int) -> list[Row]:
    """The finished runs among these, as rows in the order of the report. Raises ValueError for a damaged file."""
    found: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
    for run in runs:
        path = folder / run.name / f"test-{test_seed}.json"
        if not path.is_file():
            continue
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            metrics = [float(result[direction][metric]) for direction in DIRECTIONS for metric in METRICS]
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
        if not all(map(math.isfinite, metrics)):
            raise ValueError(f"{path} holds metrics that are not finite; delete it and the run's folder")
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
