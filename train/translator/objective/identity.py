"""Identity term: an infrared image must come out unchanged, L_identity = mean |G(r) - r|."""

from __future__ import annotations

from torch import Tensor


def identity_loss(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of two [N,1,H,W]; with pairs, also the distance to the true infrared image."""
    return (output - target).abs().mean()
