"""`python -m eval benchmark`: times the vectorised metrics against a plain loop over queries."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrl.console import cli
from mtrl.retrieval.metrics.ranking import rank_metrics

# name, queries, gallery images, identities, protocol, query cameras, gallery cameras
CASES = (
    ("SYSU-MM01 all, 1 shot", 3803, 301, 96, "sysu", (3, 6), (1, 2, 4, 5)),
    ("SYSU-MM01 all, 10 shots", 3803, 3010, 96, "sysu", (3, 6), (1, 2, 4, 5)),
    ("RegDB", 2060, 2060, 206, "regdb", (2,), (1,)),
    ("LLCM, gallery of 1900", 7166, 1900, 351, "llcm", (1, 2, 4, 5, 6, 7, 8, 9), (1, 2, 3, 4, 5, 6, 7, 8, 9)),
)


def main(argv: Sequence[str]) -> int:
    """Prints the median seconds of both for the three data sets' sizes, on random distances."""
    parser = argparse.ArgumentParser("python -m eval benchmark", description=__doc__)
    parser.add_argument(
        "--repeats", type=int, default=5, help="runs of each (default: 5; the loop at most 3)"
    )
    parser.add_argument("--no-loop", action="store_true", help="leave out the slow loop")
    arguments = cli.arguments(parser, argv)
    if arguments.repeats < 1:
        parser.error("--repeats must be at least 1")
    print(
        f"{'one trial':<26}{'queries x gallery':>19}{'vectorised':>13}{'loop':>11}{'ratio':>8}{'|dmAP|':>10}"
    )
    for name, queries, gallery, identities, protocol, query_cameras, gallery_cameras in CASES:
        rng = np.random.default_rng(0)
        distances = rng.random((queries, gallery), dtype=np.float32)
        labels = (
            rng.integers(0, identities, queries),
            rng.integers(0, identities, gallery),
            rng.choice(query_cameras, queries),
            rng.choice(gallery_cameras, gallery),
        )
        problem = (distances, *labels, protocol)
        fast, value = _median(_vectorised, problem, arguments.repeats)
        line = f"{name:<26}{f'{queries} x {gallery}':>19}{fast:>11.4f} s"
        if not arguments.no_loop:
            slow, expected = _median(plain_loop, problem, min(3, arguments.repeats))
            line += f"{slow:>9.3f} s{slow / fast:>7.0f}x{abs(expected - value):>10.0e}"
        print(line, flush=True)
    return 0


def plain_loop(
    distances: NDArray[np.float32],
    query_ids: NDArray[np.int64],
    gallery_ids: NDArray[np.int64],
    query_cameras: NDArray[np.int64],
    gallery_cameras: NDArray[np.int64],
    protocol: str,
) -> float:
    """mAP by the definition, query by query, as evaluation code is commonly written (CMC and INP included)."""
    average_precisions, first_hits, penalties = [], [], []
    for query in range(len(distances)):
        order = np.argsort(distances[query], kind="stable")
        if protocol == "sysu":
            place = 2 if query_cameras[query] == 3 else query_cameras[query]
            keep = np.where(gallery_cameras == 3, 2, gallery_cameras)[order] != place
        elif protocol == "llcm":
            keep = ~((gallery_ids == query_ids[query]) & (gallery_cameras == query_cameras[query]))[order]
        else:
            keep = np.ones(len(order), dtype=bool)
        ranked = gallery_ids[order][keep]
        hits = np.flatnonzero(ranked == query_ids[query]) + 1
        if len(hits) == 0:
            continue
        _, first_seen = np.unique(ranked, return_index=True)
        first_hits.append(1 + np.count_nonzero(first_seen < hits[0] - 1))
        average_precisions.append(np.mean(np.arange(1, len(hits) + 1) / hits))
        penalties.append(len(hits) / hits[-1])
    return float(np.mean(average_precisions))


def _vectorised(*problem: Any) -> float:
    return rank_metrics(*problem).mean_ap


def _median(function: Callable[..., float], problem: Sequence[Any], repeats: int) -> tuple[float, float]:
    """(median seconds, mAP) over some runs."""
    seconds = []
    value = 0.0
    for _ in range(repeats):
        start = time.perf_counter()
        value = function(*problem)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), value
