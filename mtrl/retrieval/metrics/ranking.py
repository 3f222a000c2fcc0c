"""Ranking metrics of visible-infrared re-identification: CMC, mAP and mINP.

For each query, the gallery images that the protocol skips are removed. The rest is ranked by distance, nearest first,
equal distances in gallery order. A right image shows the query's identity; p_1 < ... < p_R are the ranks of all R:

    AP  = 1/R sum_k k / p_k          INP = R / p_R

The image-level CMC counts p_1. The identity-level CMC counts the rank of the query's identity in the list of
identities, each placed at its nearest image. Queries without a right image (R = 0) are left out of all means.
Means are over queries; under protocol "clip" over each person's queries first, then over people.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrl.labels.reading import as_array
from mtrl.retrieval.metrics.labels import PROTOCOLS, Labels, averages, one_of

CMC_LEVELS = ("identity", "image")
# The level that publications report for each data set.
DEFAULT_CMC_LEVEL = {"sysu": "identity", "regdb": "image", "llcm": "identity", "clip": "identity"}
MIN_RANKS = 20
_BLOCK_ELEMENTS = 1 << 20  # distances ranked at once, which take a few MiB of memory
_MADE_ELEMENTS = 1 << 24  # distances computed at once: 64 MiB in float32, up to 128 MiB in the last block


@dataclasses.dataclass(frozen=True, eq=False)
class RankMetrics:
    """Metrics of one ranking, as fractions in [0, 1].

    cmc       float64 [K]; cmc[k-1] = share of valid queries found within rank k
    mean_ap   mean average precision over the valid queries
    mean_inp  mean inverse negative penalty over the valid queries
    ap        float64 [Q] per query, NaN for a query without a right gallery image
    inp       float64 [Q], likewise
    first     int64 [Q], rank (from 1) of the first right image or identity, by the CMC's level; 0: none
    valid     number of queries with at least one right gallery image
    """

    cmc: NDArray[np.float64]
    mean_ap: float
    mean_inp: float
    ap: NDArray[np.float64]
    inp: NDArray[np.float64]
    first: NDArray[np.int64]
    valid: int


def rank_metrics(
    distances: Any, query_ids: Any, gallery_ids: Any, query_cameras: Any = None, gallery_cameras: Any = None,
    protocol: str = "sysu", *, cmc_level: str | None = None, max_rank: int | None = None,
) -> RankMetrics:  # fmt: skip
    """CMC, mAP and mINP of a distance matrix.

    distances    [Q, G] array or tensor, smaller = nearer; float32 and float64 are used as they are
    *_ids        [Q] and [G] integers or strings
    *_cameras    [Q] and [G] integers ("llcm": any labels), or None: nothing is skipped
    protocol     "sysu" skips all gallery images of the query's room (cameras 2 and 3 share one);
                 "llcm" skips those of the query's identity and camera; "clip" skips those of all other
                 cameras; "regdb" skips nothing
    cmc_level    "identity" or "image"; None takes the protocol's usual one (regdb: image, else identity)
    max_rank     length of the CMC; None: one entry per possible rank, and at least 20
    Raises ValueError for empty input, shapes that disagree, NaN distances, an unknown protocol or level, and
    if no query has a right gallery image.
    """
    matrix = _matrix(distances)
    return rank_blocks(
        lambda part: matrix[part],
        matrix.shape,
        (query_ids, gallery_ids, query_cameras, gallery_cameras),
        protocol,
        cmc_level=cmc_level,
        max_rank=max_rank,
    )


def rank_features(
    query_features: Any, gallery_features: Any, query_ids: Any, gallery_ids: Any, query_cameras: Any = None,
    gallery_cameras: Any = None, protocol: str = "sysu", *, cmc_level: str | None = None, max_rank: int | None = None,
) -> RankMetrics:  # fmt: skip
    """`rank_metrics` of the distances 1 - q @ g.T, computed in blocks of queries, never as a whole matrix.

    *_features   [Q, D] and [G, D] arrays or tensors of real numbers, used without normalisation: for cosines, give rows
                 of unit length, as `MTRL.encode` does. The product is float32 if both are, else float64

    The other arguments and errors are those of `rank_metrics`. A product of blocks may differ from that of the whole
    matrix in the last bit, so images of almost equal distance may be ranked in another order.
    """
    query, gallery = _features(query_features, "query"), _features(gallery_features, "gallery")
    if query.shape[1] != gallery.shape[1]:
        raise ValueError(f"query features have {query.shape[1]} values, gallery features {gallery.shape[1]}")
    if query.dtype != gallery.dtype:
        query, gallery = query.astype(np.float64), gallery.astype(np.float64)
    return rank_blocks(
        lambda part: one_less(query[part] @ gallery.T),
        (len(query), len(gallery)),
        (query_ids, gallery_ids, query_cameras, gallery_cameras),
        protocol,
        cmc_level=cmc_level,
        max_rank=max_rank,
    )


def rank_blocks(
    distances: Callable[[slice], NDArray[Any]],
    shape: tuple[int, int],
    labels: tuple[Any, Any, Any, Any],
    protocol: str = "sysu",
    *,
    cmc_level: str | None = None,
    max_rank: int | None = None,
) -> RankMetrics:
    """`rank_metrics` of distances that are computed block by block.

    distances  slice of B queries -> their distances, float32 or float64 [B, G]; called once for each slice
    shape      (Q, G), both at least 1
    labels     (query_ids, gallery_ids, query_cameras, gallery_cameras)
    """
    level = DEFAULT_CMC_LEVEL[one_of(protocol, PROTOCOLS, "protocol")] if cmc_level is None else cmc_level
    one_of(level, CMC_LEVELS, "cmc_level")
    if max_rank is not None and max_rank < 1:
        raise ValueError(f"max_rank must be at least 1, not {max_rank}")
    coded = Labels.make(shape, *labels, protocol)
    num_queries, num_gallery = shape
    ap = np.full(num_queries, np.nan)
    inp = np.full(num_queries, np.nan)
    first = np.zeros(num_queries, dtype=np.int64)
    step = max(1, _BLOCK_ELEMENTS // num_gallery)
    for block in query_blocks(num_queries, num_gallery):
        made = distances(block)
        for start in range(block.start, block.stop, step):
            part = slice(start, min(start + step, block.stop))
            rows = made[start - block.start : part.stop - block.start]
            ap[part], inp[part], first[part] = _rank_block(rows, coded, part, level)
    valid = int(np.count_nonzero(first))
    if valid == 0:
        raise ValueError(
            "no query has a right gallery image: check that query and gallery share identities, and which "
            f'cameras the "{protocol}" protocol skips'
        )
    ranks = len(coded.sizes) if level == "identity" else num_gallery
    length = max(ranks, MIN_RANKS) if max_rank is None else max_rank
    people = coded.query_code if protocol == "clip" else None
    mean_ap, mean_inp, cmc = averages(ap, inp, first, length, people)
    return RankMetrics(cmc, mean_ap, mean_inp, ap, inp, first, valid)


def one_less(products: NDArray[Any]) -> NDArray[Any]:
    """1 - products, computed in place."""
    return np.subtract(1, products, out=products)


def query_blocks(num_queries: int, num_gallery: int) -> Iterator[slice]:
    """Slices of the queries whose distances are computed at once. What remains is added to the last slice, since a
    product of few rows may be rounded in another way than one of many.
    """
    step = max(1, _MADE_ELEMENTS // num_gallery)
    count = max(1, num_queries // step)
    for number in range(count):
        yield slice(number * step, num_queries if number == count - 1 else (number + 1) * step)


def skipped(
    query_ids: Any, gallery_ids: Any, query_cameras: Any, gallery_cameras: Any, protocol: str = "sysu"
) -> NDArray[np.bool_]:
    """bool [Q, G]: the gallery images that each query skips. Arguments as in `rank_metrics`."""
    shape = (len(query_ids), len(gallery_ids))
    one_of(protocol, PROTOCOLS, "protocol")
    labels = Labels.make(shape, query_ids, gallery_ids, query_cameras, gallery_cameras, protocol)
    dropped = labels.dropped(slice(0, shape[0]))
    return np.zeros(shape, dtype=bool) if dropped is None else dropped


def _rank_block(
    distances: NDArray[Any], labels: Labels, part: slice, level: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """AP, INP and `first` of a block of queries (NaN, NaN and 0 for a query without a right image).

    Only right images need a rank. So each row is sorted by value, which is several times faster than an argsort, and
    ranks are found by bisection. Rows in which a right image is tied are ranked again by a stable argsort.
    """
    if np.isnan(distances).any():
        raise ValueError(f"distances hold NaN (queries {part.start} to {part.stop - 1})")
    num_queries, num_gallery = distances.shape
    rows, columns = labels.pairs(part)
    dropped = labels.dropped(part)
    if dropped is not None:
        distances = np.where(dropped, np.array(np.inf, distances.dtype), distances)
        kept = ~dropped[rows, columns]
        rows, columns = rows[kept], columns[kept]
    right = np.bincount(rows, minlength=num_queries)
    ap = np.full(num_queries, np.nan)
    inp = np.full(num_queries, np.nan)
    first = np.zeros(num_queries, dtype=np.int64)
    if len(rows) == 0:
        return ap, inp, first
    values = distances[rows, columns]
    ranks, tied = _ranks_by_value(np.sort(distances, axis=1), rows, values)
    stable = _stable_ranks(distances[tied], None if dropped is None else dropped[tied])
    slot = np.full(num_queries, -1)
    slot[tied] = np.arange(len(tied))
    again = slot[rows] >= 0
    ranks[again] = stable[slot[rows[again]], columns[again]]

    hit = np.flatnonzero(right)
    count = right[hit]
    begin = np.cumsum(count) - count
    ranks = np.sort(rows * (num_gallery + 1) + ranks) - rows * (num_gallery + 1)
    order = np.arange(len(rows)) - np.repeat(begin, count) + 1
    ap[hit] = np.add.reduceat(order / ranks, begin) / count
    inp[hit] = count / ranks[begin + count - 1]
    first[hit] = ranks[begin]
    if level == "identity":
        nearest = np.full(num_queries, -np.inf, dtype=distances.dtype)
        nearest[hit] = np.minimum.reduceat(values, begin)
        before = distances < nearest[:, None]
        before[tied] = stable < first[tied, None]
        seen = np.logical_or.reduceat(before[:, labels.by_identity], labels.starts, axis=1)
        first[hit] = np.count_nonzero(seen[hit], axis=1) + 1
    return ap, inp, first


def _ranks_by_value(
    ordered: NDArray[Any], rows: NDArray[np.int64], values: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ranks, from 1, of `values` [P] in the sorted rows `rows` [P], and the rows in which one of the values is tied."""
    width = ordered.shape[1]
    flat = ordered.reshape(-1)
    base = rows * width
    low = np.zeros(len(rows), dtype=np.int64)
    step = 1 << (width.bit_length() - 1)
    while step:  # finds the number of entries smaller than the value
        probe = low + step
        inside = np.minimum(probe, width) - 1
        low = np.where((probe <= width) & (flat[base + inside] < values), probe, low)
        step >>= 1
    following = np.minimum(low + 1, width - 1)
    alone = (flat[base + following] != values) | (low + 1 >= width)
    return low + 1, np.unique(rows[~alone])


def _stable_ranks(distances: NDArray[Any], dropped: NDArray[np.bool_] | None) -> NDArray[np.int64]:
    """Ranks [B, G], from 1, of all images, equal distances in gallery order. Dropped images come last."""
    keys = (distances,) if dropped is None else (distances, dropped)
    order = np.lexsort(keys, axis=1) if dropped is not None else np.argsort(distances, axis=1, kind="stable")
    ranks = np.empty(distances.shape, dtype=np.int64)
    np.put_along_axis(ranks, order, np.arange(1, distances.shape[1] + 1)[None, :], axis=1)
    return ranks


def _features(features: Any, side: str) -> NDArray[Any]:
    array = _real(as_array(features), f"{side} features")
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(
            f"{side} features must be [images, dimensions] with at least one of each, not {array.shape}"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{side} features hold NaN or infinity")
    return array


def _matrix(distances: Any) -> NDArray[Any]:
    matrix = as_array(distances)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(
            f"distances must be [queries, gallery] with at least one of each, not {matrix.shape}"
        )
    return _real(matrix, "distances")


def _real(array: NDArray[Any], what: str) -> NDArray[Any]:
    """A real array as float32 (from float16 or float32) or float64. Raises ValueError for other types."""
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{what} must be real numbers, not {array.dtype}")
    if array.dtype == np.float16:
        return array.astype(np.float32)
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)
