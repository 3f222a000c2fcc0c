"""The simplest translator: the visible image in grey."""

from __future__ import annotations

from torch import Tensor

from .interface import Translator, check_images
from .photometric import LUMA


class Luminance(Translator):
    """0.299 R + 0.587 G + 0.114 B in all three channels. No parameters, no state."""

    deterministic = True

    def forward(self, images: Tensor) -> Tensor:
        """Visible images, float [N,3,H,W] in [0, 1] -> grey images of the same shape and range.

        Raises ValueError for another shape or integers.
        """
        check_images(images)
        red, green, blue = images.unbind(dim=1)
        grey = (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue).clamp(0, 1)
        return grey[:, None].expand_as(images).contiguous()
