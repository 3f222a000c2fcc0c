"""L_center: each identity's three centres form a short chain, and the chains stay apart.

    L_center = mean_p  chain_p + [ margin + chain_p - min_{q != p} |c_p - c_q| ]_+
    chain_p  = |c^v_p - c^t_p| + |c^t_p - c^r_p|

    c^m_p  mean of identity p's unit features of modality m (v visible, t transition, r infrared)
    c_p    mean of p's three centres

The transition's centre joins the two parts of the chain. If an identity lacks a modality, the distances to its missing
centre are 0, and c_p is the mean of the centres that exist.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .distances import (
    Labels,
    check_batch,
    group_means,
    no_autocast,
    pairwise_distances,
    unit_rows,
)


def modality_center(
    visible: Tensor,
    transition: Tensor,
    infrared: Tensor,
    identities: Labels,
    infrared_identities: Labels | None = None,
    *,
    margin: float = 0.3,
) -> Tensor:
    """Visible [N,D], their transitions [N,D] row by row, infrared [M,D], integer labels [N] and [M] -> scalar.

    Rows are normalised here. `infrared_identities` None: the same as `identities`. The loss is 0 exactly if the three
    centres of every identity coincide and no two identities are nearer than `margin`. For one identity it is its chain,
    without a margin term; for several identities with identical features it is `margin`; without images it is 0.
    Raises ValueError for other shapes.
    """
    identities, infrared_identities = check_batch(
        visible, infrared, identities, infrared_identities, transition
    )
    if len(visible) + len(infrared) == 0:
        return unit_rows(visible).sum()
    with no_autocast(visible):
        v, t, r = unit_rows(visible), unit_rows(transition), unit_rows(infrared)
        # One row per image: row k holds the centres of image k's identity. Each row is weighted by 1 / (number of
        # images of its identity), so that each identity counts once. This avoids `unique`, which waits for the device.
        labels = torch.cat([identities, infrared_identities])
        same = labels[:, None] == labels[None, :]
        in_visible, in_infrared = same[:, : len(v)].to(v.dtype), same[:, len(v) :].to(v.dtype)
        center_v, has_v = group_means(in_visible, v)
        center_t, _ = group_means(in_visible, t)
        center_r, has_r = group_means(in_infrared, r)
        chain = has_v * _norms(center_v - center_t) + has_v * has_r * _norms(center_t - center_r)
        # The centre of a missing modality is a row of zeros, which adds nothing to the sum.
        center = (center_v + center_t + center_r) / (2 * has_v + has_r)[:, None]
        nearest = pairwise_distances(center, center).masked_fill(same, torch.inf).amin(dim=1)
        value = chain + torch.relu(margin + chain - nearest)
        weight = 1 / same.sum(dim=1).to(v.dtype)
        return (weight * value).sum() / weight.sum()


def _norms(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=1)
