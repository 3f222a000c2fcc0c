"""L_hctri: the hetero-centre triplet (Liu et al., TMM 2021), a triplet over the centres of identities and modalities.

    L_hctri = ( mean_p [ margin + |c^v_p - c^r_p| - n^v_p ]_+  +  mean_p [ margin + |c^r_p - c^v_p| - n^r_p ]_+ ) / 2
    n^m_p   = min over q != p and both modalities m' of  |c^m_p - c^m'_q|

    c^m_p  mean of identity p's unit features of modality m (v visible, r infrared)

The paper sums over identities; here they are averaged, so that the weight does not depend on the batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..distances import (
    Labels,
    check_batch,
    group_means,
    no_autocast,
    pairwise_distances,
    unit_rows,
)


def hetero_center_triplet(
    visible: Tensor,
    infrared: Tensor,
    identities: Labels,
    infrared_identities: Labels | None = None,
    *,
    margin: float = 0.3,
) -> Tensor:
    """Visible [N,D], infrared [M,D], their integer labels [N] and [M] (None: the same) -> scalar.

    Rows are normalised here. Identities that lack a modality are no anchors, but others are kept apart from the centre
    that they have. 0 for one identity alone and where no identity has both. Raises ValueError for other shapes.
    """
    identities, infrared_identities = check_batch(visible, infrared, identities, infrared_identities)
    if len(visible) + len(infrared) == 0:
        return unit_rows(visible).sum()
    with no_autocast(visible):
        v, r = unit_rows(visible), unit_rows(infrared)
        # Every image speaks for its identity; weighted by one over the identity's images, each identity counts once.
        labels = torch.cat([identities, infrared_identities])
        same = labels[:, None] == labels[None, :]
        center_v, has_v = group_means(same[:, : len(v)].to(v.dtype), v)
        center_r, has_r = group_means(same[:, len(v) :].to(v.dtype), r)
        gap = torch.linalg.vector_norm(center_v - center_r, dim=1)
        centers, there = torch.cat([center_v, center_r]), torch.cat([has_v, has_r]) > 0
        other = torch.cat([~same, ~same], dim=1) & there
        weight = has_v * has_r * other.any(dim=1) / same.sum(dim=1)
        total = v.new_zeros(())
        for center in (center_v, center_r):
            nearest = pairwise_distances(center, centers).masked_fill(~other, torch.inf).amin(dim=1)
            total = total + (weight * torch.relu(margin + gap - nearest)).sum()
        return total / (2 * weight.sum()).clamp(min=torch.finfo(v.dtype).tiny)
