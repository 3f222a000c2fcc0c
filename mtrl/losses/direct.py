"""L_direct: supervised contrast between visible and infrared images, without transition images.

It is the control experiment for L_mtc.

L_direct = ( mean_i -1/|P(i)| sum_{j in P(i)} log softmax_j(f^v_i . f^r_j / tau)
           + mean_j -1/|P(j)| sum_{i in P(j)} log softmax_i(f^r_j . f^v_i / tau) ) / 2

f^v_i, f^r_j  unit features of visible image i and infrared image j     tau  temperature
P(.)  the images of the same identity in the other modality
"""

from __future__ import annotations

import torch
from torch import Tensor

from .distances import Labels, check_batch, check_temperature, contrast, no_autocast, unit_rows


def direct_contrastive(
    visible: Tensor,
    infrared: Tensor,
    identities: Labels,
    infrared_identities: Labels | None = None,
    *,
    temperature: float = 0.1,
) -> Tensor:
    """Visible [N,D], infrared [M,D], their integer labels [N] and [M] (None: the same) -> scalar.

    Rows are normalised here. Images without a partner in the other modality are left out. The loss is 0 if no image has
    a partner, or if there are no visible or no infrared images. For one identity with identical features it is
    (log M + log N) / 2. Raises ValueError for other shapes.
    """
    identities, infrared_identities = check_batch(visible, infrared, identities, infrared_identities)
    check_temperature(temperature)
    with no_autocast(visible):
        similarity = unit_rows(visible) @ unit_rows(infrared).T / temperature
        same = identities[:, None] == infrared_identities[None, :]
        return contrast(similarity, positive=same, candidates=torch.ones_like(same))
