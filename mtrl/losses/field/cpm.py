"""L_cpm: centre-guided pair mining of DEEN (Zhang and Wang, CVPR 2023), with transition images as its generated ones.

    L_cpm  = mean_p  [ d(r,t) - sg d(v,t) + margin ]_+
                     + ( [ d(r,t) - n(t) + margin ]_+ + [ d(r,t) - n(v) + margin ]_+ ) / 2
    d(a,b) = |c^a_p - c^b_p|          n(a) = min over q != p of |c^a_p - c^a_q|

    c^m_p  mean of identity p's unit features of kind m (v visible, t transition, r infrared)     sg  no gradient

DEEN has branches in the network that generate embeddings from visible and from infrared features; this is its term for
the visible side, with the transition images in their place, so the network has nothing added.
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


def center_pair_mining(
    visible: Tensor,
    transition: Tensor,
    infrared: Tensor,
    identities: Labels,
    infrared_identities: Labels | None = None,
    *,
    margin: float = 0.2,
) -> Tensor:
    """Visible [N,D], their transitions [N,D] row by row, infrared [M,D], integer labels [N] and [M] -> scalar.

    Rows are normalised here. Identities that lack a modality do not count; 0 where none counts. One that is alone in
    its modality has only the first bracket. Raises ValueError for other shapes.
    """
    identities, infrared_identities = check_batch(
        visible, infrared, identities, infrared_identities, transition
    )
    if 0 in (len(visible), len(infrared)):
        return 0 * (unit_rows(visible).sum() + unit_rows(infrared).sum())
    with no_autocast(visible):
        v, t, r = unit_rows(visible), unit_rows(transition), unit_rows(infrared)
        # Every visible image speaks for its identity; weighted so that each identity counts once.
        same = identities[:, None] == identities
        own = same.to(v.dtype)
        (center_v, _), (center_t, _) = group_means(own, v), group_means(own, t)
        center_r, there = group_means((identities[:, None] == infrared_identities).to(v.dtype), r)
        pulled = torch.linalg.vector_norm(center_r - center_t, dim=1)
        near = torch.linalg.vector_norm(center_v - center_t, dim=1).detach()
        value = torch.relu(pulled - near + margin)
        others = (~same).any(dim=1)
        for center in (center_t, center_v):
            apart = pairwise_distances(center, center).masked_fill(same, torch.inf).amin(dim=1)
            value = value + torch.where(others, torch.relu(pulled - apart + margin), 0) / 2
        weight = there / same.sum(dim=1)
        return (weight * value).sum() / weight.sum().clamp(min=torch.finfo(v.dtype).tiny)
