"""Batches for training a translator: visible and infrared images, and what the visible ones should look like."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtrl.data.augment import AugmentConfig, PairedAugment
from mtrl.data.imageset import ImageSet
from mtrl.models.config import Modality


@dataclasses.dataclass(frozen=True)
class Batch:
    """One batch. Images are float in [0, 1].

    visible   [B,3,H,W]
    infrared  [B,1,H,W], drawn independently of the visible images
    target    [B,1,H,W], what each visible image should come to look like, in the same crop, or None
    draws     CPU generator for all other random draws of this step
    rows      int64 [2 B], rows of these images in the set, first visible, then infrared
    """

    visible: Tensor
    infrared: Tensor
    target: Tensor | None
    draws: torch.Generator
    rows: NDArray[np.int64]


class Target(Protocol):
    """What visible images should come to look like."""

    def __call__(self, rows: NDArray[np.int64], draws: torch.Generator) -> NDArray[np.uint8]:
        """For visible images, given by their rows in the set: uint8 [N,H,W,3]. Random choices come from `draws`."""
        ...


class Batches:
    """Makes the batches of an epoch: each visible image at most once, and as many infrared images, in random order.

    Visible images that fill no whole batch are left out. Batches depend only on the seed, the epoch and the batch's
    number, so that a resumed run sees the same ones.
    """

    def __init__(
        self,
        images: ImageSet,
        rows: NDArray[np.int64],
        target: Target | None,
        batch_size: int,
        augment: AugmentConfig,
        device: torch.device,
        seed: int,
    ) -> None:
        visible = images.modalities[rows] == int(Modality.VISIBLE)
        self.images, self.target = images, target
        self.visible, self.infrared = rows[visible], rows[~visible]
        self.batch_size = min(batch_size, len(self.visible), len(self.infrared))
        self.augment = PairedAugment(augment)
        self.device, self.seed = device, seed

    def __len__(self) -> int:
        return len(self.visible) // self.batch_size

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yields the batches of an epoch from number `start` on."""
        rng = np.random.default_rng([self.seed, epoch])
        visible = rng.permutation(self.visible)
        repeats = -(-len(visible) // len(self.infrared))
        infrared = np.concatenate([rng.permutation(self.infrared) for _ in range(repeats)])
        for number in range(start, len(self)):
            part = slice(number * self.batch_size, (number + 1) * self.batch_size)
            seed = int(np.random.SeedSequence([self.seed, epoch, number]).generate_state(1)[0])
            yield self._batch(visible[part], infrared[part], torch.Generator().manual_seed(seed))

    def _batch(
        self, visible: NDArray[np.int64], infrared: NDArray[np.int64], draws: torch.Generator
    ) -> Batch:
        target = None if self.target is None else to_float(self.target(visible, draws), self.device)
        day, target, night = self.augment(
            to_float(self.images.images[visible], self.device),
            target,
            to_float(self.images.images[infrared], self.device),
            draws,
        )
        rows = np.concatenate([visible, infrared])
        return Batch(day, night[:, :1], None if target is None else target[:, :1], draws, rows)


def to_float(pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """uint8 [N,H,W,3] -> float [N,3,H,W] in [0, 1]."""
    tensor = torch.from_numpy(np.ascontiguousarray(pixels)).to(device, non_blocking=True)
    return tensor.permute(0, 3, 1, 2).float().div_(255)


def check_modalities(modalities: NDArray[np.uint8], what: str) -> None:
    """Raises ValueError unless there are images of both modalities."""
    for kind in Modality:
        if not (modalities == int(kind)).any():
            raise ValueError(f"{what} must be of both modalities: {kind.name.lower()} ones are missing")


def split_last(images: ImageSet, held_out: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Holds out the identities with the highest numbers: (rows of the others, rows of the held-out identities).

    held_out  number of identities; ValueError unless the set has more than these
    """
    unique = np.unique(images.identities)
    if held_out >= len(unique):
        raise ValueError(f"cannot hold out {held_out} of {len(unique)} identities")
    kept = np.isin(images.identities, unique[: len(unique) - held_out])
    return np.flatnonzero(kept), np.flatnonzero(~kept)
