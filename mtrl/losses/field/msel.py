"""L_msel: the modality-shared enhancement loss of PMT (Lu et al., AAAI 2023).

    L_msel  = ( mean_i (a^cross_i - a^intra_i)^2 over visible i  +  the same over infrared i ) / 2
    a^intra = mean distance of image i to the other images of its identity and modality
    a^cross = mean distance of image i to the images of its identity in the other modality

Distances are Euclidean, of unit features.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..distances import (
    Labels,
    check_batch,
    mean_where,
    no_autocast,
    pairwise_distances,
    unit_rows,
)


def modality_shared_enhancement(
    visible: Tensor, infrared: Tensor, identities: Labels, infrared_identities: Labels | None = None
) -> Tensor:
    """Visible [N,D], infrared [M,D], their integer labels [N] and [M] (None: the same) -> scalar.

    Rows are normalised here. An image without another one of its identity in its modality, or without any in the other
    modality, does not count; 0 where none counts. Raises ValueError for other shapes.
    """
    identities, infrared_identities = check_batch(visible, infrared, identities, infrared_identities)
    with no_autocast(visible):
        v, r = unit_rows(visible), unit_rows(infrared)
        one = _side(v, r, identities, infrared_identities)
        return (one + _side(r, v, infrared_identities, identities)) / 2


def _side(own: Tensor, other: Tensor, identities: Tensor, other_identities: Tensor) -> Tensor:
    if 0 in (len(own), len(other)):
        return 0 * (own.sum() + other.sum())
    intra = (identities[:, None] == identities) & ~torch.eye(len(own), dtype=torch.bool, device=own.device)
    cross = identities[:, None] == other_identities
    within, across = (
        (pairwise_distances(own, to) * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        for to, mask in ((own, intra), (other, cross))
    )
    return mean_where((across - within).square(), intra.any(dim=1) & cross.any(dim=1))
