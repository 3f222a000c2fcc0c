"""Least-squares adversarial loss (arXiv 1611.04076): logits near 1 for infrared, near 0 for translated.

L_D = ( mean (D(r) - 1)^2 + mean D(G(x))^2 ) / 2          L_G = mean (D(G(x)) - 1)^2
"""

from __future__ import annotations

from torch import Tensor


def discriminator_loss(infrared: Tensor, translated: Tensor) -> Tensor:
    """From logits of any shape on real infrared and on translated images."""
    return ((infrared - 1).square().mean() + translated.square().mean()) / 2


def generator_loss(translated: Tensor) -> Tensor:
    """From logits of any shape on translated images."""
    return (translated - 1).square().mean()
