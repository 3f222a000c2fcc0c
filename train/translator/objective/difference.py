"""Mean absolute difference, L = mean |y - r|, of a translated image y and an image r that it should equal.

identity  r is an infrared image, and y what the translator makes of it: it should leave it as it is
match     r is an infrared image of a similar outline (`train.translator.targets`)
truth     r is the true infrared view, with pairs
"""

from __future__ import annotations

from torch import Tensor


def mean_difference(output: Tensor, target: Tensor) -> Tensor:
    """Two image batches [N,1,H,W] -> scalar."""
    return (output - target).abs().mean()
