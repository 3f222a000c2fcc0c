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
    "augmented-direct-1.5": "A' + direct, weight 1.5",
    "augmented-direct-4.5": "A' + direct, weight 4.5",
    **{name: f"A' + L_{name}" for name, term in TERMS.items() if term.weight},
    "mtrl": "full",
    "mtrl-triangle": "full + direct edge",
    "hctri": "A + hetero-centre triplet",
    "pmt": "A + MSEL + DCL",
    "cpm": "A' + CPM",
    "caj": "A + CAJ's second view and squared triplet",
    "mtrl+hctri": "full + hetero-centre triplet",
}
FIELD = ("hctri", "pmt", "cpm", "caj", "mtrl+hctri")
NAMED = ("augmented-direct-1.5", *FIELD)  # compared when they are named
# The data set for which this project has targets.
BENCHMARK = {"dataset": "synthetic", "size": "small", "spectrum": "nir"}
DIRECTIONS = {"ir2vis": "IR->VIS", "vis2ir": "VIS->IR"}
METRICS = {"map": "mAP", "rank1": "rank-1"}
PLAIN = "luminance"


@dataclasses.dataclass(frozen=True)
class Run:
    """One training: a method of `METHODS`, a translator, a seed.

    backbone  timm name; "": the one that all runs share
    dataset   NAME or NAME=FOLDER; "": the one that all runs share
    """

    method: str
    translator: str
    seed: int
    backbone: str = ""
    dataset: str = ""

    @property
    def dataset_name(self) -> str:
        """The data set's name without its folder."""
        return self.dataset.partition("=")[0]

    @property
    def translator_label(self) -> str:
        """The translator's name, or the last part of its folder or Hub id."""
        return _label(self.translator)

    @property
    def name(self) -> str:
        """The folder's name; the translator is left out where it is luminance."""
        before = [_safe(part) for part in (self.dataset_name, self.backbone) if part]
        between = [] if self.translator == PLAIN else [self.translator_label]
        return "-".join([*before, self.method, *between, f"seed{self.seed}"])

    def settings(self) -> dict[str, Any]:
        """The options of `python -m train` that the ablation sets for this run."""
        values: dict[str, Any] = {"method": self.method, "translator": self.translator, "seed": self.seed}
        name, _, folder = self.dataset.partition("=")
        optional = {"dataset": name, "data_root": folder, "backbone": self.backbone}
        return values | {key: value for key, value in optional.items() if value}

    def flags(self) -> list[str]:
        """The options of `python -m train ablate` that ask for this run alone."""
        words = ["--methods", self.method, "--translators", self.translator, "--seeds", str(self.seed)]
        words += ["--backbones", self.backbone] * bool(self.backbone)
        return words + ["--datasets", self.dataset] * bool(self.dataset)


@dataclasses.dataclass(frozen=True)
class Row:
    """Results by seed of one method with one translator: {seed: {"ir2vis": {"map", "rank1", ...}, "vis2ir": ...}}.

    translator         its name, or that of the images that --transitions gave instead
    backbone, dataset  as in `Run`, the data set without its folder
    """

    method: str
    translator: str
    results: dict[int, dict[str, Any]]
    backbone: str = ""
    dataset: str = ""

    @property
    def place(self) -> tuple[str, str]:
        """What a comparison of methods keeps the same: data set and backbone."""
        return self.dataset, self.backbone

    @property
    def label(self) -> str:
        """The row in words, with losses of one's own and, of a data set that has several, the split."""
        own = dict[str, float]()
        splits = set[str]()
        for result in self.results.values():
            own |= {name: weight for name, weight in result.get("terms", {}).items() if ":" in name}
            splits |= {str(result["trial"])} if "trial" in result else set()
        split = f" (split {', '.join(sorted(splits))})" if splits else ""
        return LABELS[self.method] + "".join(f" + {name} {weight:g}" for name, weight in own.items()) + split

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

    def real(self, direction: str) -> list[float]:
        """mAP on real people in percent, by seed; of those seeds that were tested on them."""
        found = [result["real"] for result in self.results.values() if "real" in result]
        return [100 * metrics[direction]["map"] for metrics in found]


def collect(folder: Path, runs: Sequence[Run], test_seed: int) -> list[Row]:
    """The finished runs among these, as rows in the order of the report. Raises ValueError for a damaged file."""
    found: dict[tuple[str, str, str, str], dict[int, dict[str, Any]]] = {}
    for run in runs:
        path = folder / run.name / f"test-{test_seed}.json"
        if not path.is_file():
            continue
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            sets = [result, *([result["real"]] if "real" in result else [])]
            metrics = [
                float(one[direction][metric])
                for one in sets
                for direction in DIRECTIONS
                for metric in METRICS
            ]
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
        key = (run.method, _images(run, result), run.backbone, run.dataset_name)
        if run.seed in found.get(key, {}):
            raise ValueError(
                f"{path.parent} shows the same images as another run of {run.method} and seed {run.seed}: "
                "leave the translator of one of them out"
            )
        found.setdefault(key, {})[run.seed] = result
    order = {method: place for place, method in enumerate(LABELS)}
    places = list(dict.fromkeys((run.dataset_name, run.backbone) for run in runs))
    rows = [
        Row(method, translator, dict(sorted(results.items())), backbone, dataset)
        for (method, translator, backbone, dataset), results in found.items()
    ]
    return sorted(rows, key=lambda row: (places.index(row.place), order[row.method]))


def _images(run: Run, result: dict[str, Any]) -> str:
    """Which transition images a run was shown: with --transitions these, else its translator's."""
    terms = result.get("terms")
    seen = terms.get("transition") if isinstance(terms, dict) else None
    return _label(seen) if isinstance(seen, str) and seen != "none" else run.translator_label


def _label(source: str) -> str:
    """A name, or the last part of a folder or Hub id."""
    return _safe(Path(source).name or source)


def _safe(name: str) -> str:
    """A name as part of a folder's name."""
    return re.sub(r"[^A-Za-z0-9.]+", "_", name)


def seeds_found(folder: Path) -> list[int]:
    """The seeds of the runs in a folder. Raises FileNotFoundError when there are none."""
    names = [re.fullmatch(r".+-seed(\d+)", path.parent.name) for path in folder.glob("*/test-*.json")]
    seeds = sorted({int(name[1]) for name in names if name})
    if not seeds:
        raise FileNotFoundError(
            f"{folder} holds no finished run (METHOD-seedN/test-N.json); train without --report-only"
        )
    return seeds
