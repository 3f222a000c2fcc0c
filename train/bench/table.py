"""The benchmark's table. Each line compares a measurement of this project with that of a baseline in the same run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any, TypeAlias

import torch

# A function that does the work once. It returns the value to report, or None to report the seconds that it took.
Task: TypeAlias = Callable[[], float | None]

COLUMNS = (("what", 52), ("ours", 10), ("baseline", 10), ("ratio", 8), ("unit", 9), ("device", 8))


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of a section.

    repeats  number of measurements per line
    quick    True takes small sizes, only to see that the benchmark runs
    """

    device: torch.device
    repeats: int
    quick: bool


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of the table.

    section           "data", "step", ...
    what              what was measured, with its size
    ours              measurement of this project, in `unit`
    baseline          measurement of the baseline, in `unit`, or None without a baseline
    baseline_name     what the baseline is, in a few words
    higher_is_better  True for rates, False for seconds and bytes
    note              a remark, such as an error or a share of the peak
    at                (series, size) of a measurement for the plot of growth, or None
    """

    section: str
    what: str
    ours: float
    baseline: float | None
    baseline_name: str
    unit: str
    higher_is_better: bool
    note: str = ""
    at: tuple[str, float] | None = None

    @property
    def ratio(self) -> float | None:
        """How many times better this project is than the baseline (below 1: worse); None without a baseline."""
        if self.baseline is None:
            return None
        return self.ours / self.baseline if self.higher_is_better else self.baseline / self.ours

    def row(self, device: str) -> str:
        """The line as a row of the Markdown table."""
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}x"
        other = "" if self.baseline is None else number(self.baseline)
        cells = (self.what, number(self.ours), other, ratio, self.unit, device)
        beside = f"vs {self.baseline_name}" if self.baseline_name else ""
        return row(cells) + f" {'; '.join(filter(None, (beside, self.note)))} |"

    def to_dict(self) -> dict[str, Any]:
        """The line as JSON values, with the ratio."""
        return {**dataclasses.asdict(self), "ratio": self.ratio}


def header() -> str:
    """The two header lines of the Markdown table."""
    names = tuple(name for name, _ in COLUMNS)
    rule = "|".join("-" * (width + 2) for _, width in COLUMNS)
    return f"{row(names)} baseline, remarks |\n|{rule}|---|"


def row(cells: tuple[str, ...]) -> str:
    """A row of the table, with cells padded to the columns' widths: text to the left, numbers to the right."""
    padded = [
        f"{cell:>{width}}" if name in ("ours", "baseline", "ratio") else f"{cell:<{width}}"
        for cell, (name, width) in zip(cells, COLUMNS, strict=True)
    ]
    return "| " + " | ".join(padded) + " |"


def number(value: float) -> str:
    """A number as text with at least three significant digits, without an exponent if it is readable so."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}" if digits <= 6 else f"{value:.2e}"


def paired(ours: Task, baseline: Task | None, repeats: int, *, warmup: int = 1) -> tuple[float, float | None]:
    """(median of `ours`, median of `baseline` or None). The two run in turn, so that both see the same load.

    repeats  number of measurements of each; the order alternates
    warmup   number of runs of each before, which are not measured
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, not {repeats}")
    tasks = [ours] if baseline is None else [ours, baseline]
    for task in tasks:
        for _ in range(warmup):
            task()
    measured: list[list[float]] = [[] for _ in tasks]
    for repeat in range(repeats):
        for number_of in range(len(tasks))[:: -1 if repeat % 2 else 1]:
            measured[number_of].append(_measure(tasks[number_of]))
    return median(measured[0]), median(measured[1]) if baseline is not None else None


def _measure(task: Task) -> float:
    began = perf_counter()
    figure = task()
    if figure is not None:
        return figure
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return perf_counter() - began
