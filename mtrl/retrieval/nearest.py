"""Exact nearest neighbours by cosine, computed in blocks. The gallery's features may lie on disk."""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK_ELEMENTS = 1 << 21  # scores searched at once: 8 MiB in float32, which processor caches hold
_VALUE_ELEMENTS = 1 << 20  # feature values multiplied at once: 4 MiB in float32
_QUERIES = 256


def nearest(queries: Tensor, features: Tensor, k: int, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The k nearest features of each query: (scores float32 [Q,k], largest first; their rows int64 [Q,k]).

    queries   float32 [Q,D]
    features  float32 or float16 [G,D]; products are computed in float32
    rows      int64 [R], ascending: search only these rows of the features; None: all
    A score is the inner product, the cosine for rows of unit length. Equal scores are ordered by row. If fewer than k
    rows are searched, there are as many columns as rows. Memory does not grow with G.
    """
    k = min(k, len(features) if rows is None else len(rows))
    if k == 0 or len(queries) == 0:
        return queries.new_zeros(len(queries), k), torch.zeros(len(queries), k, dtype=torch.int64)
    found = [_search(part, features, k, rows) for part in queries.split(_QUERIES)]
    return torch.cat([scores for scores, _ in found]), torch.cat([found_rows for _, found_rows in found])


def _search(queries: Tensor, features: Tensor, k: int, rows: Tensor | None) -> tuple[Tensor, Tensor]:
    count = len(features) if rows is None else len(rows)
    step = min(count, max(1, _BLOCK_ELEMENTS // len(queries)))
    # Buffers are reused: fresh memory for every block costs as much as the multiplication for one query.
    product = queries.new_empty(len(queries), step)
    rows_at_once = min(step, max(1, _VALUE_ELEMENTS // max(1, features.shape[1])))
    buffer = queries.new_empty(rows_at_once, features.shape[1])
    best = queries.new_full((len(queries), k), -torch.inf)
    found_rows = torch.zeros(len(queries), k, dtype=torch.int64)
    for start in range(0, count, step):
        scores = product[:, : min(step, count - start)]
        for first in range(0, scores.shape[1], len(buffer)):
            columns = scores[:, first : first + len(buffer)]
            part = slice(start + first, start + first + columns.shape[1])
            # The block is copied even where no conversion is needed. A copy reads memory with all threads, but the
            # product of one query with only one. Copy and product from the cache together take less time.
            block = buffer[: columns.shape[1]].copy_(features[part] if rows is None else features[rows[part]])
            torch.mm(queries, block.T, out=columns)
        # A later row loses a tie, so a query's result changes only if the block has a better score than its k-th.
        gain = torch.nonzero(scores.amax(1) > best[:, -1]).flatten()
        if len(gain) == 0:
            continue
        values, columns = _top(scores if len(gain) == len(scores) else scores[gain], min(k, scores.shape[1]))
        columns = start + columns if rows is None else rows[start + columns]
        values, order = torch.cat([best[gain], values], 1).sort(dim=1, descending=True, stable=True)
        best[gain] = values[:, :k]
        found_rows[gain] = torch.cat([found_rows[gain], columns], 1).gather(1, order[:, :k])
    return best, found_rows


def _top(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(values, indices) of the k largest of each row. Unlike `topk`, it orders equal values by index."""
    values, rows = scores.topk(k, dim=1)
    rows = rows.sort(dim=1).values
    values, order = scores.gather(1, rows).sort(dim=1, descending=True, stable=True)
    rows = rows.gather(1, order)
    # If more than k values reach the last one, topk may have left out one with a smaller index.
    for query in torch.nonzero((scores >= values[:, -1:]).sum(1) > k).flatten().tolist():
        rows[query] = scores[query].sort(descending=True, stable=True).indices[:k]
    return values, rows
