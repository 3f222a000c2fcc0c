"""`python -m eval compare A.npz B.npz`: is the difference between two models real?

Both files come from `python -m eval --per-query` on the same queries. Per setting, with d_qt the difference A - B of a
query's AP (or of whether its first image is right) in trial t, the difference of the means is

    D = mean_t  sum_q d_qt / number of valid queries of trial t

Queries of one identity are not independent, so identities are drawn and not queries:

interval  percentiles 2.5 and 97.5 of D over bootstrap samples of the identities
p         share of sign flips, one sign per identity, whose |D| reaches the one found; two-sided

Where the files hold several checkpoints (seeds of a method), the first of A is paired with the first of B and so on; D
is their mean, and the seeds give a mean, a deviation and a paired t-test of their own.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from statistics import stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.queries.per_query import PerQuery
from eval.report import make_room, write_values
from mtrl.console.cli import arguments

METRICS = {"map": "mAP", "rank1": "rank-1"}
_SAME = (
    "dataset",
    "size",
    "test_seed",
    "spectrum",
    "split",
    "direction",
    "mode",
    "shots",
    "gallery",
    "protocol",
    "cmc_level",
)
_BLOCK = 500  # samples of the identities that are drawn at once


@dataclasses.dataclass(frozen=True, eq=False)
class Paired:
    """One setting of both files: columns are (checkpoint, trial), rows identities.

    a, b   {"map", "rank1"}: float64 [I, C], sums over an identity's valid queries
    count  float64 [I, C], numbers of valid queries
    seeds  number of checkpoints;  queries: number of different query images
    """

    name: str
    a: dict[str, NDArray[np.float64]]
    b: dict[str, NDArray[np.float64]]
    count: NDArray[np.float64]
    seeds: int
    queries: int


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m eval compare",
        description="Compares two models, query by query: difference of mAP and rank-1, 95 % interval and p over "
        "identities; over seeds too where the files hold several checkpoints.",
    )
    parser.add_argument("a", type=Path, metavar="A.npz", help="from python -m eval --per-query")
    parser.add_argument("b", type=Path, metavar="B.npz", help="the other model on the same queries")
    parser.add_argument(
        "--samples", type=int, default=10_000, help="bootstrap samples and sign flips (default: 10000)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the samples (default: 0)")
    parser.add_argument("--json", type=Path, help="write the comparison here")
    given = arguments(parser, argv)
    if given.samples < 100 or given.seed < 0:
        raise ValueError("--samples must be at least 100, and --seed must not be negative")
    make_room(given.json)
    results = compare(PerQuery.load(given.a), PerQuery.load(given.b), given.samples, given.seed)
    print(f"A: {given.a}\nB: {given.b}\n{table(results)}")
    if given.json:
        record = {"a": str(given.a), "b": str(given.b), "samples": given.samples, "comparisons": results}
        write_values(given.json, record)
    return 0


def compare(a: PerQuery, b: PerQuery, samples: int = 10_000, seed: int = 0) -> list[dict[str, Any]]:
    """A record for each setting and metric that both tables have.

    {"setting", "metric", "a", "b", "difference", "interval": [low, high], "p", "identities", "queries", "trials"},
    fractions; with several checkpoints also "seeds": {"differences", "std", "p"}. Raises ValueError for tables without
    a common setting, or of other queries.
    """
    results = []
    for pair in paired(a, b):
        for metric in METRICS:
            generator = np.random.default_rng(seed)
            results.append(_compared(pair, metric, samples, generator))
    return results


def paired(a: PerQuery, b: PerQuery) -> list[Paired]:
    """The settings that both tables have. Errors as in `compare`."""
    sides = [_by_setting(table) for table in (a, b)]
    common = [key for key in sides[0] if key in sides[1]]
    if not common:
        raise ValueError(
            "the files have no setting in common: data set, direction, mode, shots and CMC level must be the same"
        )
    return [_pair(key, (a, sides[0][key]), (b, sides[1][key])) for key in common]


def _by_setting(table: PerQuery) -> dict[str, list[int]]:
    """{what makes settings comparable: their numbers}, one for each checkpoint."""
    found: dict[str, list[int]] = {}
    for number, facts in enumerate(table.settings):
        key = ", ".join(str(facts[name]) for name in _SAME if facts.get(name) is not None)
        found.setdefault(key, []).append(number)
    return found


def _pair(name: str, a: tuple[PerQuery, list[int]], b: tuple[PerQuery, list[int]]) -> Paired:
    if len(a[1]) != len(b[1]):
        raise ValueError(f"{name}: A has {len(a[1])} checkpoints and B {len(b[1])}; evaluate as many of each")
    people = np.unique(np.concatenate([t.identity[np.isin(t.setting, n)] for t, n in (a, b)]))
    sums: tuple[dict[str, list[NDArray[np.float64]]], ...] = (
        {m: [] for m in METRICS},
        {m: [] for m in METRICS},
    )
    counts: list[NDArray[np.float64]] = []
    queries = set[str]()
    for numbers in zip(a[1], b[1], strict=True):
        rows = [_ordered(table, number) for (table, _), number in zip((a, b), numbers, strict=True)]
        keys = [
            list(zip(t.trial[r].tolist(), t.query[r].tolist(), strict=True))
            for (t, _), r in zip((a, b), rows, strict=True)
        ]
        if keys[0] != keys[1]:
            other = sorted(set(keys[0]) ^ set(keys[1]))
            first = f", first {other[0][1]} in trial {other[0][0]}" if other else ""
            raise ValueError(f"{name}: the two files are not of the same queries{first}")
        valid = ~(np.isnan(a[0].ap[rows[0]]) | np.isnan(b[0].ap[rows[1]]))
        queries.update(name for _, name in keys[0])
        trial, place = a[0].trial[rows[0]], np.searchsorted(people, a[0].identity[rows[0]])
        for number in np.unique(trial):
            chosen = valid & (trial == number)

            def total(values: NDArray[Any], chosen: NDArray[np.bool_] = chosen) -> NDArray[np.float64]:
                weights = values[chosen].astype(np.float64)
                summed: NDArray[Any] = np.bincount(place[chosen], weights, len(people))  # noqa: B023
                return summed

            for (table, _), r, into in zip((a, b), rows, sums, strict=True):
                into["map"].append(total(table.ap[r]))
                into["rank1"].append(total((table.rank[r] == 1).astype(np.float64)))
            counts.append(total(np.ones(len(trial))))
    stacked = [{metric: np.stack(columns, axis=1) for metric, columns in side.items()} for side in sums]
    return Paired(name, stacked[0], stacked[1], np.stack(counts, axis=1), len(a[1]), len(queries))


def _ordered(table: PerQuery, number: int) -> NDArray[np.int64]:
    """The rows of a setting by trial, then query."""
    rows = np.flatnonzero(table.setting == number)
    return rows[np.lexsort((table.query[rows], table.trial[rows]))]


def _compared(pair: Paired, metric: str, samples: int, generator: np.random.Generator) -> dict[str, Any]:
    difference, count = pair.a[metric] - pair.b[metric], pair.count
    people, columns = difference.shape
    whole = count.sum(axis=0)
    by_column = difference.sum(axis=0) / whole
    found = float(by_column.mean())
    drawn, flipped = np.empty(samples), np.empty(samples)
    for start in range(0, samples, _BLOCK):
        part = slice(start, min(start + _BLOCK, samples))
        size = part.stop - part.start
        weight = generator.multinomial(people, np.full(people, 1 / people), size).astype(np.float64)
        # A sample may lack every query of a trial where few identities have any: that trial then counts as 0.
        drawn[part] = ((weight @ difference) / np.maximum(weight @ count, 1)).mean(axis=1)
        signs = generator.integers(0, 2, (size, people)) * 2.0 - 1
        flipped[part] = ((signs @ difference) / whole).mean(axis=1)
    reached = np.count_nonzero(np.abs(flipped) >= abs(found) - 1e-12)
    record: dict[str, Any] = {"setting": pair.name, "metric": metric}
    for side, sums in (("a", pair.a), ("b", pair.b)):
        record[side] = float((sums[metric].sum(axis=0) / whole).mean())
    record |= {
        "difference": found,
        "interval": [float(value) for value in np.percentile(drawn, (2.5, 97.5))],
        "p": (1 + int(reached)) / (1 + samples),
        "identities": people,
        "queries": pair.queries,
        "trials": columns // pair.seeds,
    }
    if pair.seeds > 1:
        record["seeds"] = _over_seeds(by_column.reshape(pair.seeds, -1).mean(axis=1).tolist())
    return record


def _over_seeds(differences: list[float]) -> dict[str, Any]:
    from scipy.stats import ttest_1samp

    spread = stdev(differences)
    p = float(ttest_1samp(differences, 0).pvalue) if spread > 1e-12 else None
    return {"differences": differences, "std": spread, "p": p}


def table(results: Sequence[dict[str, Any]]) -> str:
    """The comparison as Markdown, in percent and points."""
    lines = [
        "| setting | metric | A | B | A - B | 95 % interval | p (identities) | over seeds |",
        "|---" * 8 + "|",
    ]
    for record in results:
        low, high = (100 * value for value in record["interval"])
        seeds = record.get("seeds")
        over = "-"
        if seeds:
            p = "-" if seeds["p"] is None else f"{seeds['p']:.3f}"
            over = f"± {100 * seeds['std']:.2f}, n = {len(seeds['differences'])}, p {p}"
        lines.append(
            f"| {record['setting']} | {METRICS[record['metric']]} | {100 * record['a']:.2f} | {100 * record['b']:.2f} "
            f"| {100 * record['difference']:+.2f} | {low:+.2f} to {high:+.2f} | {record['p']:.4f} | {over} |"
        )
    first = results[0]
    lines += [
        "",
        f"{first['queries']} queries of {first['identities']} identities, {first['trials']} trials.",
    ]
    return "\n".join(lines)
