"""k-reciprocal re-ranking (Zhong et al., "Re-ranking person re-identification with k-reciprocal encoding", 2017).

Every image, query or gallery, is ranked against all others. N(p,k) holds image p itself and its k nearest others:

    R(p,k)  = { g in N(p,k): p in N(g,k) }
    R*(p,k) = R(p,k) and every R(q,k/2) for which q is in R(p,k) and |R(p,k) & R(q,k/2)| >= 2/3 |R(q,k/2)|
    V_p[g]  = exp(-d(p,g)) for g in R*(p,k1), else 0; scaled to sum 1
    V_p    <- mean of V_q over p and its k2 - 1 nearest others
    d_J     = 1 - sum_g min(V_p, V_q) / sum_g max(V_p, V_q)
    d*      = (1 - weight) d_J + weight d

d(p,.) is divided by its largest value, so that p's farthest image has distance 1. k/2 is rounded to the nearest whole
number, halves to the even one. There are two variants:

paper     the formulas above
released  the Python code of the authors, behind most published tables: "> 2/3" instead of ">= 2/3"

The distances given are used as they are. Give squared Euclidean distances, since the released code squares the
distances that it gets, or computes squared ones from features. 1 - cosine does as well: it is half the squared distance
of unit features, and a constant factor has no influence. Sums are float32, as in the released code that takes
distances; the released code that takes features keeps V in float16.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mtrl.labels.reading import as_array

VARIANTS = ("paper", "released")
_BLOCK_ROWS = 512


def k_reciprocal(
    distances: NDArray[np.floating],
    num_queries: int,
    k1: int = 20,
    k2: int = 6,
    weight: float = 0.3,
    variant: str = "paper",
) -> NDArray[np.float32]:
    """Re-ranked distances [Q, G], float32.

    distances    [Q+G, Q+G], symmetric, not negative: between all images, queries first
    num_queries  Q
    k1, k2       numbers of neighbours, see the formulas of this module
    weight       share of the original distance in the result, in [0, 1]
    variant      "paper" | "released": see this module's docstring
    Memory: two more float32 matrices of the size of `distances`. Raises ValueError for impossible arguments.
    """
    distances = as_array(distances)
    total = len(distances)
    if distances.shape != (total, total) or not 0 < num_queries < total:
        raise ValueError(
            f"distances must be square with queries first, not {distances.shape} with {num_queries}"
        )
    if k1 < 1 or k2 < 1 or not 0 <= weight <= 1:
        raise ValueError(f"re-ranking needs k1, k2 >= 1 and a weight in [0,1], not {k1}, {k2}, {weight}")
    if variant not in VARIANTS:
        raise ValueError(f"re-ranking is one of {', '.join(VARIANTS)}, not {variant!r}")
    if not np.isfinite(distances).all():
        raise ValueError("re-ranking needs finite distances")
    scale = distances.max(axis=1, keepdims=True)
    scaled = (distances / np.where(scale > 0, scale, 1)).astype(np.float32)
    nearest = _nearest(scaled, min(max(k1 + 1, k2), total))
    encoded = _encode(scaled, nearest, k1, at_least=variant == "paper")
    if k2 > 1:
        neighbours = nearest[:, :k2]
        mean = np.empty_like(encoded)
        for start in range(0, total, _BLOCK_ROWS):
            part = slice(start, start + _BLOCK_ROWS)
            mean[part] = sum(encoded[column] for column in neighbours[part].T) / neighbours.shape[1]
        encoded = mean
    jaccard = _jaccard(encoded[:num_queries], encoded[num_queries:])
    return ((1 - weight) * jaccard + weight * scaled[:num_queries, num_queries:]).astype(np.float32)


def _nearest(scaled: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """int64 [N, count]: each image itself, then its nearest others, equal distances in order of index."""
    result = np.empty((len(scaled), count), dtype=np.int64)
    for start in range(0, len(scaled), _BLOCK_ROWS):
        block = scaled[start : start + _BLOCK_ROWS].copy()
        rows = np.arange(len(block))
        block[rows, start + rows] = -1  # so that an image comes before its duplicates
        limit = np.partition(block, count - 1, axis=1)[:, count - 1 : count]
        for row in rows:  # a stable sort of the few candidates only
            candidates = np.flatnonzero(block[row] <= limit[row])
            order = np.argsort(block[row, candidates], kind="stable")[:count]
            result[start + row] = candidates[order]
    return result


def _reciprocal(nearest: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool [N, k+1]: whether a row's image is among the nearest of each of its own nearest, too."""
    own = np.arange(len(nearest))[:, None]
    result = np.zeros(nearest.shape, dtype=bool)
    for column in range(nearest.shape[1]):
        result |= nearest[nearest, column] == own
    return result


def _encode(
    scaled: NDArray[np.float32], nearest: NDArray[np.int64], k1: int, at_least: bool
) -> NDArray[np.float32]:
    """V of the formulas, [N, N]. `at_least` adds a set from an overlap of two thirds, otherwise only above it."""
    full = nearest[:, : k1 + 1]
    half = nearest[:, : round(k1 / 2) + 1]
    full_mask, half_mask = _reciprocal(full), _reciprocal(half)
    half_size = half_mask.sum(axis=1)
    encoded = np.empty_like(scaled)
    for start in range(0, len(scaled), _BLOCK_ROWS):
        part = slice(start, start + _BLOCK_ROWS)
        rows = np.arange(len(full[part]))[:, None]
        member = np.zeros((len(rows), len(scaled)), dtype=bool)
        member[rows, full[part]] = full_mask[part]
        expanded = member.copy()
        for column in range(full.shape[1]):
            candidate = full[part, column]
            inside = half_mask[candidate]
            overlap = (member[rows, half[candidate]] & inside).sum(axis=1)
            excess = 3 * overlap - 2 * half_size[candidate]
            joins = full_mask[part, column] & (excess >= 0 if at_least else excess > 0)
            expanded[rows, half[candidate]] |= inside & joins[:, None]
        weights = np.where(expanded, np.exp(-scaled[part]), np.float32(0))
        encoded[part] = weights / weights.sum(axis=1, keepdims=True)
    return encoded


def _jaccard(query: NDArray[np.float32], gallery: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 - sum min / sum max, [Q, G], of rows that each sum to 1. Reads only the few non-zero entries of a query."""
    columns = np.ascontiguousarray(gallery.T)
    result = np.empty((len(query), len(gallery)), dtype=np.float32)
    for row, values in enumerate(query):
        used = np.flatnonzero(values)
        common = np.minimum(values[used, None], columns[used]).sum(axis=0)
        result[row] = 1 - common / (2 - common)
    return result
