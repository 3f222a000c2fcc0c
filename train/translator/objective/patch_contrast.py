"""Patch-wise contrastive loss (arXiv 2007.15651): an output patch must be nearest to the input patch at its place.

    L = mean over images and places s of  - log  exp(q_s . k_s / tau) / sum_u exp(q_s . k_u / tau)

q, k  unit vectors of the output's and of the input's patches; no gradient passes through k
u     all places of the same image     tau  temperature
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def patch_contrast(output: Tensor, source: Tensor, temperature: float = 0.07) -> Tensor:
    """Unit vectors [N,S,D] at the same S places of output and input -> scalar."""
    logits = torch.bmm(output, source.detach().transpose(1, 2)) / temperature
    places = torch.arange(logits.shape[1], device=logits.device).expand(len(logits), -1)
    return F.cross_entropy(logits.flatten(0, 1), places.flatten())
