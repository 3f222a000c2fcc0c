"""From rows of an image set to augmented, normalised batches on the device, all of a batch at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtrl.config import Modality
from mtrl.data.augment import PairedAugment
from mtrl.data.imageset import ImageSet
from mtrl.data.sampler import IdentitySampler
from mtrl.losses.total import TriLayout
from mtrl.translate import Translator


@dataclasses.dataclass(frozen=True)
class TrainBatch:
    """images float [V+T+I, 3, H, W], augmented, in [0, 1]; modality int64 [V+T+I]; layout says who is who."""

    images: Tensor
    modality: Tensor
    layout: TriLayout
    rows: NDArray[np.int64]


class BatchPipeline:
    """Draws P x K batches and makes the transition image of each visible one before they are cropped together.

    All randomness follows from (seed, epoch, index in the epoch), so a resumed run sees the same batches.
    """

    def __init__(
        self,
        images: ImageSet,
        rows: NDArray[np.int64],
        sampler: IdentitySampler,
        translator: Translator | None,
        device: torch.device,
        seed: int,
    ) -> None:
        self.images = images
        self.rows = rows
        self.sampler = sampler
        self.translator = translator
        self.device = device
        self.seed = seed
        self.resident = self._resident()

    def _resident(self) -> Tensor | None:
        """The training images as uint8 [N, 3, H, W] on a GPU when they take at most half of its free memory."""
        if self.device.type != "cuda":
            return None
        size = len(self.rows) * int(np.prod(self.images.images.shape[1:]))
        if size > torch.cuda.mem_get_info(self.device)[0] // 2:
            return None
        return (
            torch.from_numpy(self.images.images[self.rows]).to(self.device).permute(0, 3, 1, 2).contiguous()
        )

    def read(self, positions: NDArray[np.int64]) -> Tensor:
        """Float [N, 3, H, W] in [0, 1] of positions within `rows`."""
        if self.resident is not None:
            picked = self.resident[torch.from_numpy(positions).to(self.device)]
        else:
            array = np.ascontiguousarray(self.images.images[self.rows[positions]])
            picked = torch.from_numpy(array).to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        return picked.float().div_(255)

    def epoch(self, epoch: int, augment: PairedAugment, start: int = 0) -> Iterator[TrainBatch]:
        """Batches of an epoch from number `start` on."""
        for offset, batch in enumerate(self.sampler.epoch(epoch, start)):
            seed = _mix(self.seed, epoch, start + offset)
            generator = torch.Generator().manual_seed(seed)
            visible = self.read(batch.visible)
            infrared = self.read(batch.infrared)
            transition = None
            if self.translator is not None:
                if not self.translator.deterministic:
                    self.translator.reseed(seed)
                with torch.no_grad():
                    transition = self.translator(visible)
            visible, transition, infrared = augment(visible, transition, infrared, generator)
            yield self._assemble(
                visible, transition, infrared, batch.identities, batch.visible, batch.infrared
            )

    def _assemble(
        self,
        visible: Tensor,
        transition: Tensor | None,
        infrared: Tensor,
        identities: NDArray[np.int64],
        visible_positions: NDArray[np.int64],
        infrared_positions: NDArray[np.int64],
    ) -> TrainBatch:
        parts = [visible, *([transition] if transition is not None else []), infrared]
        kinds = [
            Modality.VISIBLE,
            *([Modality.INFRARED] if transition is not None else []),
            Modality.INFRARED,
        ]
        labels = torch.from_numpy(identities).to(self.device)
        modality = torch.cat([torch.full((len(p),), int(k)) for p, k in zip(parts, kinds, strict=True)])
        layout = TriLayout(
            visible=len(visible),
            transition=len(transition) if transition is not None else 0,
            infrared=len(infrared),
            identities=labels.repeat(len(parts)),
        )
        rows = self.rows[np.concatenate([visible_positions, infrared_positions])]
        return TrainBatch(torch.cat(parts), modality.to(self.device), layout, rows)


def _mix(*values: int) -> int:
    return int(np.random.SeedSequence(values).generate_state(1, np.uint64)[0] >> np.uint64(1))
