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

V is a sparse matrix here (scipy, of the extra `train`), with a few hundred values a row: where distances are made block
by block, memory does not grow with the square of the images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mtrl.labels.reading import as_array

VARIANTS = ("paper", "released")
Blocks: TypeAlias = Callable[[slice], NDArray[Any]]
_BLOCK_ELEMENTS = 1 << 22  # distances worked on at once, which take some 100 MiB


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
    Raises ValueError for impossible arguments.
    """
    distances = as_array(distances)
    if distances.shape != (len(distances), len(distances)):
        raise ValueError(f"distances must be square with queries first, not {distances.shape}")
    made = k_reciprocal_blocks(distances.__getitem__, len(distances), num_queries, k1, k2, weight, variant)
    return made(slice(0, num_queries))


def k_reciprocal_blocks(
    distances: Blocks,
    total: int,
    num_queries: int,
    k1: int = 20,
    k2: int = 6,
    weight: float = 0.3,
    variant: str = "paper",
) -> Blocks:
    """`k_reciprocal` of distances that are made block by block, never as a whole matrix.

    distances    slice of B of all images -> their distances to all images, [B, Q+G]; called twice for each image here,
                 and once more for the queries that the result is asked for
    total        Q+G, queries first. The other arguments and errors are those of `k_reciprocal`
    Returns a function: slice of B queries -> their re-ranked distances to the gallery, float32 [B, G].
    """
    if not 0 < num_queries < total:
        raise ValueError(
            f"distances must have queries first, then a gallery, not {num_queries} of {total} images"
        )
    if k1 < 1 or k2 < 1 or not 0 <= weight <= 1:
        raise ValueError(f"re-ranking needs k1, k2 >= 1 and a weight in [0,1], not {k1}, {k2}, {weight}")
    if variant not in VARIANTS:
        raise ValueError(f"re-ranking is one of {', '.join(VARIANTS)}, not {variant!r}")
    sparse = _sparse()
    nearest, scale = _nearest(distances, total, min(max(k1 + 1, k2), total))

    def scaled(part: slice) -> NDArray[np.float32]:
        return (distances(part) / scale[part]).astype(np.float32)

    encoded = _encode(scaled, nearest, k1, at_least=variant == "paper")
    if k2 > 1:
        neighbours = nearest[:, :k2]
        ends = np.arange(0, neighbours.size + 1, neighbours.shape[1])
        share = np.full(neighbours.size, 1 / neighbours.shape[1], dtype=np.float32)
        encoded = sparse.csr_array((share, neighbours.reshape(-1), ends), shape=(total, total)) @ encoded
    gallery = encoded[num_queries:].tocsc()

    def reranked(part: slice) -> NDArray[np.float32]:
        first, last, _ = part.indices(num_queries)
        result = _jaccard(encoded[first:last], gallery)
        for block in _blocks(first, last, total):
            rows = result[block.start - first : block.stop - first]
            rows[:] = (1 - weight) * rows + weight * scaled(block)[:, num_queries:]
        return result

    return reranked


def _sparse() -> Any:
    try:
        import scipy.sparse
    except ImportError as error:
        raise ImportError(f're-ranking needs scipy: pip install "scipy>=1.11" ({error})') from error
    return scipy.sparse


def _blocks(first: int, last: int, total: int) -> Iterator[slice]:
    """Slices of the rows from `first` to `last` of a matrix with `total` columns."""
    step = max(1, _BLOCK_ELEMENTS // total)
    return (slice(start, min(start + step, last)) for start in range(first, last, step))


def _nearest(distances: Blocks, total: int, count: int) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """int64 [N, count]: each image itself, then its nearest others, equal distances in order of index; and [N, 1], what
    its distances are divided by.
    """
    result, scale = np.empty((total, count), dtype=np.int64), np.ones((total, 1))
    for part in _blocks(0, total, total):
        made = distances(part)
        if not np.isfinite(made).all():
            raise ValueError("re-ranking needs finite distances")
        scale = scale.astype(made.dtype, copy=False)
        largest = made.max(axis=1, keepdims=True)
        scale[part] = np.where(largest > 0, largest, 1)
        block = (made / scale[part]).astype(np.float32)
        rows = np.arange(len(block))
        block[rows, part.start + rows] = -1  # so that an image comes before its duplicates
        limit = np.partition(block, count - 1, axis=1)[:, count - 1 : count]
        for row in rows:  # a stable sort of the few candidates only
            candidates = np.flatnonzero(block[row] <= limit[row])
            order = np.argsort(block[row, candidates], kind="stable")[:count]
            result[part.start + row] = candidates[order]
    return result, scale


def _reciprocal(nearest: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool [N, k+1]: whether a row's image is among the nearest of each of its own nearest, too."""
    own = np.arange(len(nearest))[:, None]
    result = np.zeros(nearest.shape, dtype=bool)
    for column in range(nearest.shape[1]):
        result |= nearest[nearest, column] == own
    return result


def _encode(scaled: Blocks, nearest: NDArray[np.int64], k1: int, at_least: bool) -> Any:
    """V of the formulas, a sparse [N, N]. `at_least` adds a set from an overlap of two thirds, else only above it."""
    sparse = _sparse()
    full = nearest[:, : k1 + 1]
    half = nearest[:, : round(k1 / 2) + 1]
    full_mask, half_mask = _reciprocal(full), _reciprocal(half)
    half_size = half_mask.sum(axis=1)
    encoded = []
    for part in _blocks(0, len(nearest), len(nearest)):
        rows = np.arange(len(full[part]))[:, None]
        member = np.zeros((len(rows), len(nearest)), dtype=bool)
        member[rows, full[part]] = full_mask[part]
        expanded = member.copy()
        for column in range(full.shape[1]):
            candidate = full[part, column]
            inside = half_mask[candidate]
            overlap = (member[rows, half[candidate]] & inside).sum(axis=1)
            excess = 3 * overlap - 2 * half_size[candidate]
            joins = full_mask[part, column] & (excess >= 0 if at_least else excess > 0)
            expanded[rows, half[candidate]] |= inside & joins[:, None]
        row, joined = np.nonzero(expanded)
        values = np.exp(-scaled(part)[row, joined])
        ends = np.searchsorted(row, np.arange(len(rows) + 1))
        values /= np.repeat(np.add.reduceat(values, ends[:-1]), np.diff(ends))  # each row holds its own image
        encoded.append(sparse.csr_array((values, joined, ends), shape=expanded.shape))
    return sparse.vstack(encoded, format="csr")


def _jaccard(query: Any, gallery: Any) -> NDArray[np.float32]:
    """1 - sum min / sum max, [B, G], of rows that each sum to 1: only columns in which a query's row has a value count.

    query    sparse [B, N], by rows;  gallery  sparse [G, N], by columns
    """
    result = np.empty((query.shape[0], gallery.shape[0]), dtype=np.float32)
    for row in range(len(result)):
        entries = slice(query.indptr[row], query.indptr[row + 1])
        columns = gallery[:, query.indices[entries]]
        smaller = np.minimum(columns.data, np.repeat(query.data[entries], np.diff(columns.indptr)))
        common = np.bincount(columns.indices, smaller, minlength=result.shape[1])
        result[row] = 1 - common / (2 - common)
    return result
