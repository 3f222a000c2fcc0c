"""Patch-wise contrast (arXiv 2007.15651): each output patch must be nearest to the input patch at the same place.

    L = mean over images and places s of  - log  exp(q_s . k_s / tau) / sum_u exp(q_s . k_u / tau)

q: unit vectors of the output's patches, k: of the input's, without gradient; places u of the same image only.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def patch_contrast(output: Tensor, source: Tensor, temperature: float = 0.07) -> Tensor:
    """Unit vectors [N,S,D] of the same S places in output and input -> scalar."""
    logits = torch.bmm(output, source.detach().transpose(1, 2)) / temperature
    places = torch.arange(logits.shape[1], device=logits.device).expand(len(logits), -1)
    return F.cross_entropy(logits.flatten(0, 1), places.flatten())
