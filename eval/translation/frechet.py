"""Frechet distance of two sets of features, each described by a Gaussian (Dowson and Landau 1982).

d^2 = |m1 - m2|^2 + tr( C1 + C2 - 2 (C1^(1/2) C2 C1^(1/2))^(1/2) )

m1, m2  means     C1, C2  covariance matrices
"""

from __future__ import annotations

import torch
from torch import Tensor


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """d^2 of features [N,D] and [M,D], computed in float64. Raises ValueError for fewer than two rows."""
    if min(len(first), len(second)) < 2:
        raise ValueError("a Frechet distance needs at least two images on each side")
    a, b = first.double(), second.double()
    cov_a, cov_b = torch.cov(a.T).reshape(a.shape[1], -1), torch.cov(b.T).reshape(a.shape[1], -1)
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    gap = (a.mean(dim=0) - b.mean(dim=0)).square().sum()
    return float(gap + cov_a.trace() + cov_b.trace() - 2 * cross)
