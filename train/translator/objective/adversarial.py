"""Least-squares adversarial loss (arXiv 1611.04076): the discriminator learns 1 for infrared, 0 for translated images.

L_D = ( mean (D(r) - 1)^2 + mean D(G(x))^2 ) / 2          L_G = mean (D(G(x)) - 1)^2

r  infrared image     x  visible image     D  discriminator     G  translator
"""

from __future__ import annotations

from torch import Tensor


def discriminator_loss(infrared: Tensor, translated: Tensor) -> Tensor:
    """L_D, a scalar, from the discriminator's logits (of any shape) for infrared and for translated images."""
    return ((infrared - 1).square().mean() + translated.square().mean()) / 2


def generator_loss(translated: Tensor) -> Tensor:
    """L_G, a scalar, from the discriminator's logits (of any shape) for translated images."""
    return (translated - 1).square().mean()
