"""L_dcl: the discriminative centre loss of PMT (Lu et al., AAAI 2023).

L_dcl = A+ / A-
A+    = mean over all images of |f_i - c_{y_i}|
A-    = mean over identities p of the mean of those |f_j - c_p|, y_j != p, that are below their own mean
        (where all are equal: that distance)

f  unit features     c_p  mean of identity p's features, of both modalities
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..distances import (
    SMALLEST_NORM,
    Labels,
    check_batch,
    group_means,
    no_autocast,
    pairwise_distances,
    unit_rows,
)


def discriminative_center(
    visible: Tensor, infrared: Tensor, identities: Labels, infrared_identities: Labels | None = None
) -> Tensor:
    """Visible [N,D], infrared [M,D], their integer labels [N] and [M] (None: the same) -> scalar.

    Rows are normalised here. 0 for one identity alone, for identical features and for an empty batch. Raises ValueError
    for other shapes.
    """
    identities, infrared_identities = check_batch(visible, infrared, identities, infrared_identities)
    rows = torch.cat([unit_rows(visible), unit_rows(infrared)])
    if len(rows) == 0:
        return rows.sum()
    with no_autocast(visible):
        labels = torch.cat([identities, infrared_identities])
        same = labels[:, None] == labels[None, :]
        # Row i holds the centre of image i's identity; each identity counts once in A-.
        centers, _ = group_means(same.to(rows.dtype), rows)
        own = torch.linalg.vector_norm(rows - centers, dim=1).mean()
        distance = pairwise_distances(centers, rows)
        foreign = _mean(distance, ~same)
        near = ~same & (distance < foreign[:, None])
        nearest = torch.where(near.any(dim=1), _mean(distance, near), foreign)
        weight = (~same).any(dim=1) / same.sum(dim=1).to(rows.dtype)
        apart = (weight * nearest).sum() / weight.sum().clamp(min=torch.finfo(rows.dtype).tiny)
        return own / apart.clamp(min=SMALLEST_NORM) * (~same).any()


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """[N,M] -> mean of each row over its mask; 0 for an empty one."""
    return (values * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
