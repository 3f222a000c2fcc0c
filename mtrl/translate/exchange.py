"""CAJ's second view of a visible image (Ye et al., ICCV 2021): one of its channels, or grey, in all three.

Used as transition images, it shows each visible image twice. It is no attempt at infrared: a dual stem takes it as
visible.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mtrl.models.config import Modality

from .interface import RandomTranslator, check_images
from .photometric import LUMA


class ChannelExchange(RandomTranslator):
    """Red, green, blue or grey, 1/4 each, drawn for each image; in evaluation mode grey. No parameters."""

    modality = Modality.VISIBLE

    def forward(self, images: Tensor) -> Tensor:
        """float [N,3,H,W] in [0, 1] -> same. Raises ValueError for another shape or integers."""
        check_images(images)
        mixtures = torch.cat([torch.eye(3), torch.tensor([LUMA])])  # [4,3]
        drawn = torch.full((len(images),), 3)
        if self.training:
            drawn = torch.randint(4, (len(images),), generator=self._generator)
        weights = mixtures[drawn].to(images.device, images.dtype)
        one = (images * weights[:, :, None, None]).sum(dim=1, keepdim=True).clamp(0, 1)
        return one.expand_as(images).contiguous()
