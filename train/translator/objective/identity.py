"""Identity loss: the translator must not change an infrared image, L_identity = mean |G(r) - r|."""

from __future__ import annotations

from torch import Tensor


def identity_loss(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of two image batches [N,1,H,W] -> scalar.

    The training with pairs uses it for the distance to the true infrared image, too.
    """
    return (output - target).abs().mean()
