"""An infrared image is already what the translator should give: L_identity = mean |G(r) - r|."""

from __future__ import annotations

from torch import Tensor


def identity_loss(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of two [N,1,H,W]; with pairs, also the distance to the true infrared image."""
    return (output - target).abs().mean()
