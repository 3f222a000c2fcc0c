"""The base class of visible-to-infrared translators, and the check of their input."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtrl.models.config import Modality


class Translator(nn.Module):
    """Base class: turns visible images into infrared-like ones of the same size, pixel by pixel aligned.

    forward: float [N,3,H,W] in [0, 1] -> the same shape, dtype and range.

    deterministic  True: the output depends on the image alone, so that it can be computed once and kept.
                   False: in train() mode every call draws new parameters for each image; in eval() mode the output
                   depends on the image alone.

    modality       the stem that its images go through, where a model has one per modality

    A class of your own may define `fingerprint(self) -> str`, a text that changes whenever the class would give other
    images (its parameters, weights, version). Then its images are kept on disk and used again by the next run.
    """

    deterministic: bool = True
    modality: Modality = Modality.INFRARED

    def reseed(self, seed: int) -> None:
        """Sets the seed of the random parameters. Does nothing for a deterministic translator."""


class RandomTranslator(Translator):
    """Base class of translators that draw parameters for each image, from a CPU generator of their own.

    The same seed and the same calls give the same images.
    """

    deterministic = False

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self._generator = torch.Generator()
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        """Sets the seed of the random parameters."""
        self._generator.manual_seed(seed)


def check_images(images: Tensor) -> None:
    """Raises ValueError unless `images` is floating point [N,3,H,W], H and W at least 1. Values are not checked."""
    if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < 1:
        raise ValueError(f"images must be [N,3,H,W], not {list(images.shape)}")
    if not images.is_floating_point():
        raise ValueError(
            f"images must be floating point in [0, 1], not {images.dtype}: divide 8-bit values by 255"
        )
