"""Averages of what single queries got: AP, INP and the rank of the first right image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def averages(
    ap: NDArray[np.float64],
    inp: NDArray[np.float64],
    first: NDArray[np.int64],
    length: int,
    people: NDArray[np.int32] | None = None,
) -> tuple[float, float, NDArray[np.float64]]:
    """(mAP, mINP, CMC [length]) over the queries that have a right image, at least one.

    ap, inp  [Q], NaN for a query without a right image;  first  [Q], 0 for one
    people   [Q], the person of each query: the mean over each person's queries is taken first, then that over
             people, so that everybody counts alike; None: every query counts alike
    """
    if people is None:
        return float(np.nanmean(ap)), float(np.nanmean(inp)), _cmc(first, length)
    each = [
        people == person for person in dict.fromkeys(people[first > 0].tolist())
    ]  # in the order of the queries
    return (
        float(np.mean([np.nanmean(ap[mine]) for mine in each])),
        float(np.mean([np.nanmean(inp[mine]) for mine in each])),
        np.mean([_cmc(first[mine], length) for mine in each], axis=0),
    )


def _cmc(first: NDArray[np.int64], length: int) -> NDArray[np.float64]:
    """The share of the queries with a right image that is found within each rank from 1 on."""
    hits = np.bincount(first[first > 0], minlength=length + 1)[1 : length + 1]
    return np.cumsum(hits) / np.count_nonzero(first)
