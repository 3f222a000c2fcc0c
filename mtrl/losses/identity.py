"""L_id: cross-entropy with label smoothing over the training identities.

L_id = mean_i sum_c  -t_ic log softmax(l_i)_c ,   t_ic = (1 - e) [c = y_i] + e / C

l_i  logits of image i over the C training identities     y_i  its identity     e  smoothing
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from .distances import Labels, as_labels, check_features, full, no_autocast


def identity_loss(logits: Tensor, identities: Labels, smoothing: float = 0.1) -> Tensor:
    """Logits [N,C] and integer labels [N] in 0..C-1 -> scalar; 0 for an empty batch.

    Raises ValueError for other shapes or a smoothing outside [0, 1). For a label outside 0..C-1, torch raises.
    """
    check_features("logits", logits)
    identities = as_labels("identities", identities, logits)
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing must be in [0, 1), not {smoothing}")
    if len(logits) == 0:
        return full(logits).sum()
    with no_autocast(logits):
        return F.cross_entropy(full(logits), identities, label_smoothing=smoothing)
