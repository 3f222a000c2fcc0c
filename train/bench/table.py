"""The benchmark's table: each line has our measurement and a baseline's, taken in the same run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any, TypeAlias

import torch

# Does the work once. Returns the figure to report, or None: then the seconds that the call took are the figure.
Task: TypeAlias = Callable[[], float | None]

COLUMNS = (("what", 52), ("ours", 10), ("baseline", 10), ("ratio", 8), ("unit", 9), ("device", 8))


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of a section. repeats: measurements per line; quick: small sizes, to see it run."""

    device: torch.device
    repeats: int
    quick: bool


@dataclasses.dataclass(frozen=True)
class Line:
    """One measured thing.

    section           "data", "step", ...
    what              what was measured, with its size
    ours, baseline    the two measurements in `unit`; baseline None where there is nothing to compare with
    baseline_name     what the baseline is, in a few words
    higher_is_better  True for rates, False for seconds and bytes
    note              an error bound, a share of the peak, or other remark
    at                (series, size) of a measurement that shows growth: a point of the plot
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
        """How many times better ours is than the baseline; below 1 it is worse."""
        if self.baseline is None:
            return None
        return self.ours / self.baseline if self.higher_is_better else self.baseline / self.ours

    def row(self, device: str) -> str:
        """The line as a row of the table."""
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}x"
        other = "" if self.baseline is None else number(self.baseline)
        cells = (self.what, number(self.ours), other, ratio, self.unit, device)
        beside = f"vs {self.baseline_name}" if self.baseline_name else ""
        return row(cells) + f" {'; '.join(filter(None, (beside, self.note)))} |"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, the ratio included."""
        return {**dataclasses.asdict(self), "ratio": self.ratio}


def header() -> str:
    """The table's two head lines, in Markdown."""
    names = tuple(name for name, _ in COLUMNS)
    rule = "|".join("-" * (width + 2) for _, width in COLUMNS)
    return f"{row(names)} baseline, remarks |\n|{rule}|---|"


def row(cells: tuple[str, ...]) -> str:
    """Cells padded to the columns; text to the left, numbers to the right."""
    padded = [
        f"{cell:>{width}}" if name in ("ours", "baseline", "ratio") else f"{cell:<{width}}"
        for cell, (name, width) in zip(cells, COLUMNS, strict=True)
    ]
    return "| " + " | ".join(padded) + " |"


def number(value: float) -> str:
    """Three significant digits or more, without an exponent where it can be read."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}" if digits <= 6 else f"{value:.2e}"


def paired(ours: Task, baseline: Task | None, repeats: int, *, warmup: int = 1) -> tuple[float, float | None]:
    """(median of ours, median of the baseline or None), the two taken in turn, so that both see the same load.

    Each runs `warmup` times unmeasured first. Which goes first changes with every repeat.
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
