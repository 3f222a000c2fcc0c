"""A translator without training, which imitates a camera: random spectral sensitivity, tone curve, blur and noise.

    out = blur( tone( sum_c w_c I_c ) ) + noise ,   tone(x) = (1 - a) x^g + a (3 x^2 - 2 x^3)

    w  positive weights of the channels, which sum to 1
    g  gamma
    a  share of an S-curve; the tone curve is monotone

In train() mode, w, g, a, blur and noise are drawn for each image. In eval() mode, w is fixed and largest for red, which
is next to infrared in the spectrum; the blur is fixed; there is no tone curve and no noise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .interface import RandomTranslator, check_images
from .photometric import draw_seed, grey_noise, soft_blur

EVAL_WEIGHTS = (0.5, 0.35, 0.15)
EVAL_BLUR = 0.05
GAMMA = (0.6, 1.7)
S_CURVE = 0.6
BLUR = 0.15
NOISE = 0.03
SMALLEST_WEIGHT = 0.02


class Spectral(RandomTranslator):
    """The spectral translator. It has no weights."""

    def forward(self, images: Tensor) -> Tensor:
        """Visible images, float [N,3,H,W] in [0, 1] -> translated images of the same shape and range.

        Raises ValueError for another shape or integers.
        """
        check_images(images)
        weights = self._weights(len(images)).to(images.device, images.dtype)
        grey = (images * weights[:, :, None, None]).sum(dim=1, keepdim=True).clamp(0, 1)
        output = (
            self._sense(grey) if self.training else soft_blur(grey, torch.full_like(weights[:, 0], EVAL_BLUR))
        )
        return output.expand_as(images).contiguous()

    def _sense(self, grey: Tensor) -> Tensor:
        """Applies a random tone curve, blur and noise to each image [N,1,H,W]."""
        draws = torch.rand(4, len(grey), generator=self._generator).to(grey.device, grey.dtype)
        low, high = map(math.log, GAMMA)
        gamma = torch.exp(low + (high - low) * draws[0]).view(-1, 1, 1, 1)
        share = (S_CURVE * draws[1]).view(-1, 1, 1, 1)
        toned = torch.lerp(grey**gamma, grey * grey * (3 - 2 * grey), share)
        return grey_noise(soft_blur(toned, BLUR * draws[2]), NOISE * draws[3], draw_seed(self._generator))

    def _weights(self, count: int) -> Tensor:
        """Channel weights [count,3], positive, rows summing to 1: random in train() mode, else fixed."""
        if not self.training:
            return torch.tensor(EVAL_WEIGHTS).expand(count, 3)
        raw = SMALLEST_WEIGHT + torch.rand(count, 3, generator=self._generator)
        return raw / raw.sum(dim=1, keepdim=True)
