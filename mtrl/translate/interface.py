"""The base class of visible-to-infrared translators, and the check of their input."""

from __future__ import annotations

from torch import Tensor, nn

from mtrl.models.config import Modality


class Translator(nn.Module):
    """Maps visible images to infrared-like ones of the same size, without moving a pixel's content.

    forward: float [N,3,H,W] in [0, 1] -> the same shape, dtype and range.

    deterministic  True: the output is a function of the image, so that it can be computed once and kept.
                   False: in train() mode every call draws new parameters per image; in eval() mode the output
                   is a function of the image for these translators as well.

    modality       the stem that its images go through, where a model has one per modality

    A class of your own may define `fingerprint(self) -> str`: a text that changes whenever it would give other images
    (its parameters, weights, version). Then what it made is kept on disk and found by the next run.
    """

    deterministic: bool = True
    modality: Modality = Modality.INFRARED

    def reseed(self, seed: int) -> None:
        """Starts the stream of random parameters again; a deterministic translator has none."""


def check_images(images: Tensor) -> None:
    """Raises ValueError unless `images` is floating point [N,3,H,W]. Values are not looked at."""
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be [N,3,H,W], not {list(images.shape)}")
    if not images.is_floating_point():
        raise ValueError(
            f"images must be floating point in [0, 1], not {images.dtype}: divide 8-bit values by 255"
        )
