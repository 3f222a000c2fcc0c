"""Every loss under one signature (visible, transition, infrared features, their labels): tests run over all."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mtrl.losses import (
    center_pair_mining,
    direct_contrastive,
    discriminative_center,
    hetero_center_triplet,
    identity_loss,
    modality_center,
    modality_query_regularization,
    modality_shared_enhancement,
    modality_transition_contrastive,
    weighted_triplet,
)

D = 5  # length of a feature
Case = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]

LOSSES: dict[str, Callable[..., Tensor]] = {
    "mtc": modality_transition_contrastive,
    "mtc_identity": lambda *a: modality_transition_contrastive(*a, hop1="identity"),
    "mtc_direct": lambda *a: modality_transition_contrastive(*a, direct_weight=0.7),
    "mtc_margin": lambda *a: modality_transition_contrastive(*a, form="margin"),
    "mtc_margin_identity": lambda *a: modality_transition_contrastive(*a, form="margin", hop1="identity"),
    "direct": lambda v, t, r, y, yr: direct_contrastive(v, r, y, yr),
    "center": modality_center,
    "mqr": modality_query_regularization,
    "mqr_all": lambda v, t, r, y, yr: modality_query_regularization(v, t, r),
    "triplet": lambda v, t, r, y, yr: weighted_triplet(torch.cat([v, t, r]), torch.cat([y, y, yr])),
    "triplet_squared": lambda v, t, r, y, yr: weighted_triplet(
        torch.cat([v, t, r]), torch.cat([y, y, yr]), squared=True
    ),
    "hctri": lambda v, t, r, y, yr: hetero_center_triplet(v, r, y, yr),
    "msel": lambda v, t, r, y, yr: modality_shared_enhancement(v, r, y, yr),
    "dcl": lambda v, t, r, y, yr: discriminative_center(v, r, y, yr),
    "cpm": center_pair_mining,
    "identity": lambda v, t, r, y, yr: identity_loss(torch.cat([v, r]), torch.cat([y, yr]) % D),
}
every_loss = pytest.mark.parametrize("name", LOSSES)
