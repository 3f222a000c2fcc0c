"""k-reciprocal re-ranking as a loop over images with Python sets: a baseline for the benchmark and the tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def rerank_loop(
    distances: NDArray[Any],
    num_queries: int,
    k1: int = 20,
    k2: int = 6,
    weight: float = 0.3,
    variant: str = "paper",
) -> NDArray[np.float64]:
    """As `mtrl.retrieval.metrics.rerank.k_reciprocal`, but float64 [Q,G] and slow."""
    total = len(distances)
    scaled = distances / distances.max(axis=1, keepdims=True)
    order = []
    for image in range(total):
        others = np.argsort(scaled[image], kind="stable").tolist()
        others.remove(image)
        order.append([image, *others])
    full = [_mutual(order, image, k1) for image in range(total)]
    half = [_mutual(order, image, round(k1 / 2)) for image in range(total)]
    encoded = np.zeros((total, total))
    for image in range(total):
        wide = set(full[image])
        for other in full[image]:
            common, size = len(full[image] & half[other]), len(half[other])
            if 3 * common >= 2 * size if variant == "paper" else common > 2.0 / 3 * size:
                wide |= half[other]
        members = sorted(wide)
        values = np.exp(-scaled[image, members])
        encoded[image, members] = values / values.sum()
    encoded = np.stack([encoded[order[image][:k2]].mean(axis=0) for image in range(total)])
    result = np.empty((num_queries, total - num_queries))
    for query in range(num_queries):
        for column in range(total - num_queries):
            other = encoded[num_queries + column]
            common = np.minimum(encoded[query], other).sum()
            jaccard = 1 - common / np.maximum(encoded[query], other).sum()
            result[query, column] = (1 - weight) * jaccard + weight * scaled[query, num_queries + column]
    return result


def _mutual(order: list[list[int]], image: int, k: int) -> set[int]:
    return {other for other in order[image][: k + 1] if image in order[other][: k + 1]}
