"""k-reciprocal re-ranking (Zhong et al., "Re-ranking person re-identification with k-reciprocal encoding", 2017).

All queries and gallery images are ranked against one another. N(p,k) are p's k nearest and p itself, and

    R(p,k)  = { g in N(p,k): p in N(g,k) }
    R*(p,k) = R(p,k), joined by R(q,k/2) for every q in R(p,k) with |R(p,k) & R(q,k/2)| >= 2/3 |R(q,k/2)|
    V_p[g]  = exp(-d(p,g)) for g in R*(p,k1), else 0; scaled to sum 1
    V_p    <- mean of V_q over p and its k2 - 1 nearest others
    d_J     = 1 - sum_g min(V_p, V_q) / sum_g max(V_p, V_q)
    d*      = (1 - weight) d_J + weight d

with d scaled, per image, so that its farthest other image is at 1. N(p,k) and the nearest of the mean hold p itself,
first, and k/2 is rounded to the nearest whole number, a half to the even one: so in both variants,

paper     the text above, with "at least" two thirds
released  the Python code that its authors distribute, from which most tables of the field come: *more* than two thirds

The released code squares the distances that it is given (`original_dist` to the power of 2), or starts from squared
Euclidean distances of features; here d is taken as it is given, so give squared ones. 1 - cosine is half the squared
Euclidean distance of unit features, and a factor does not matter. Sums are float32, as in the released code that takes
distances; its other form, which takes features, keeps V in float16.
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

    distances    [Q+G, Q+G], symmetric, not negative: all images against all, queries first
    num_queries  Q
    variant      "paper" | "released": see the module's text
    Memory: two more matrices of that size in float32. Raises ValueError for impossible arguments.
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
    """[N, count]: each image itself, then its nearest others, equal distances in their order."""
    result = np.empty((len(scaled), count), dtype=np.int64)
    for start in range(0, len(scaled), _BLOCK_ROWS):
        block = scaled[start : start + _BLOCK_ROWS].copy()
        rows = np.arange(len(block))
        block[rows, start + rows] = -1  # an image comes before its duplicates
        limit = np.partition(block, count - 1, axis=1)[:, count - 1 : count]
        for row in rows:  # few candidates remain, so that the stable sort is short
            candidates = np.flatnonzero(block[row] <= limit[row])
            order = np.argsort(block[row, candidates], kind="stable")[:count]
            result[start + row] = candidates[order]
    return result


def _reciprocal(nearest: NDArray[np.int64]) -> NDArray[np.bool_]:
    """[N, k+1]: is the row's image among the nearest of its own neighbour?"""
    own = np.arange(len(nearest))[:, None]
    result = np.zeros(nearest.shape, dtype=bool)
    for column in range(nearest.shape[1]):
        result |= nearest[nearest, column] == own
    return result


def _encode(
    scaled: NDArray[np.float32], nearest: NDArray[np.int64], k1: int, at_least: bool
) -> NDArray[np.float32]:
    """V of the module's text, [N, N]; sets join from two thirds on (`at_least`), or only above."""
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
    """1 - sum min / sum max of rows that sum to 1, [Q, G]; only a query's few non-zero entries are visited."""
    columns = np.ascontiguousarray(gallery.T)
    result = np.empty((len(query), len(gallery)), dtype=np.float32)
    for row, values in enumerate(query):
        used = np.flatnonzero(values)
        common = np.minimum(values[used, None], columns[used]).sum(axis=0)
        result[row] = 1 - common / (2 - common)
    return result
