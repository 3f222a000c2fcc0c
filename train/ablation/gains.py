"""Gains of one method over another, paired by seed, and the targets that this project sets for them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

from train.ablation.results import DIRECTIONS, FIELD, METRICS, Row
from train.presets import METHODS

# Least gain in mAP, in points, IR->VIS and VIS->IR, that this project asks for on its own benchmark, and on no other.
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
    ("mtrl", "augmented-direct-1.5"),
    ("mtrl-triangle", "augmented-direct-1.5"),
    ("mtrl-triangle", "direct"),
    *(("mtrl", method) for method in FIELD if method != "mtrl+hctri"),
    ("mtrl+hctri", "mtrl"),
)


def gain(row: Row, control: Row) -> dict[str, Any]:
    """Differences in points, paired by the seeds that both have: mean, sample deviation, two-sided paired t-test p.

    p is None with fewer than two pairs, or when all differences are equal. "real" is of the mean mAP of both directions
    on real people, where all these runs were tested on them.
    """
    seeds = [seed for seed in row.results if seed in control.results]
    result: dict[str, Any] = {
        "method": row.method,
        "control": control.method,
        "translator": row.translator,
        "backbone": row.backbone,
        "dataset": row.dataset,
        "seeds": seeds,
    }
    for direction in DIRECTIONS if seeds else ():
        result[direction] = {}
        for metric in METRICS:
            pairs = [(100 * r.results[s][direction][metric]) for s in seeds for r in (row, control)]
            result[direction][metric] = _paired(pairs[::2], pairs[1::2])
    if seeds and all("real" in r.results[s] for s in seeds for r in (row, control)):
        result["real"] = _paired(*([_real_mean(r.results[s]) for s in seeds] for r in (row, control)))
    return result


def _real_mean(result: dict[str, Any]) -> float:
    """Mean mAP of both directions on real people, in percent."""
    return 100 * mean(result["real"][direction]["map"] for direction in DIRECTIONS)


def _paired(values: list[float], controls: list[float]) -> dict[str, Any]:
    from scipy.stats import ttest_rel

    differences = [a - b for a, b in zip(values, controls, strict=True)]
    spread = stdev(differences) if len(differences) > 1 else None
    p = float(ttest_rel(values, controls).pvalue) if spread and spread > 1e-9 else None
    return {"mean": mean(differences), "std": spread, "p": p, "differences": differences}


def gains(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """All pairs of which both are there, each within its data set, backbone and translator.

    Rows that no translator changes serve all translators.
    """
    by_key = {(row.place, row.method, row.translator): row for row in rows}
    fixed = {
        (row.place, row.method): row
        for row in rows
        if not METHODS[row.method]["transition"] or "translator" in METHODS[row.method]
    }
    pairs = [target[:2] for target in TARGETS] + list(PAIRS)
    found = []
    for place, translator in dict.fromkeys((row.place, row.translator) for row in rows):
        for method, control in pairs:
            row = by_key.get((place, method, translator))
            other = by_key.get((place, control, translator)) or fixed.get((place, control))
            if row and other and (compared := gain(row, other))["seeds"]:
                found.append(compared)
    return found


def targets(compared: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Which targets hold: whether the mean gain in mAP reaches its threshold in each direction."""
    thresholds = {(method, control): (first, second) for method, control, first, second in TARGETS}
    return [
        {key: pair[key] for key in ("method", "control", "translator", "backbone", "dataset", "seeds")}
        | {
            "direction": direction,
            "least": least,
            "gain": pair[direction]["map"]["mean"],
            "p": pair[direction]["map"]["p"],
        }
        | {"holds": pair[direction]["map"]["mean"] >= least}
        for pair in compared
        if (pair["method"], pair["control"]) in thresholds
        for direction, least in zip(DIRECTIONS, thresholds[pair["method"], pair["control"]], strict=True)
    ]
