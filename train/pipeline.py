"""From rows of an image set to augmented, normalised batches on the device, all of a batch at once."""

from __future__ import annotations

import dataclasses
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtrl.config import Modality
from mtrl.data.augment import Geometry, PairedAugment, crop, pad_columns
from mtrl.data.imageset import ImageSet
from mtrl.data.sampler import Batch, IdentitySampler
from mtrl.losses.total import TriLayout
from mtrl.translate import Translator
from train.distributed import World


@dataclasses.dataclass(frozen=True)
class TrainBatch:
    """images float [V+T+I, 3, H, W], augmented, in [0, 1]; modality int64 [V+T+I]; layout says who is who."""

    images: Tensor
    modality: Tensor
    layout: TriLayout
    rows: NDArray[np.int64]


# Padded uint8 images [N, 3, H, W + 2 pad] and where among them the visible and the infrared ones of a batch are.
_Source: TypeAlias = tuple[Tensor, Tensor, Tensor]

_AHEAD = 2  # batches that are read while one is trained on
_CHUNK = 256  # images moved at once while the training set is loaded


class BatchPipeline:
    """Draws P x K batches, cuts them out as bytes, and makes the transition image of each visible one.

    The training images stay as bytes on the device (a GPU's memory, or the computer's) where they fit; else a
    thread reads them from the memory map, some batches ahead.
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
        pad: int = 0,
        world: World | None = None,
        resident: bool | None = None,
        kept: NDArray[np.uint8] | None = None,
    ) -> None:
        """`pad` is that of the augmentation; `world` says whose identities to deal; `resident` None: if they fit.

        kept: what the translator makes of the set's visible images, in their order, so that it need not run again.
        """
        self.images = images
        self.rows = rows
        self.sampler = sampler
        self.translator = translator
        self.kept = kept
        self.kept_row = np.cumsum(images.modalities == int(Modality.VISIBLE)) - 1
        self.device = device
        self.seed = seed
        self.pad = pad
        self.world = world or World()
        self.height, self.width = images.images.shape[1:3]
        if resident is None:
            resident = self.resident_bytes() <= room(device) // self.world.size
        self.resident = self._load() if resident else None

    def resident_bytes(self) -> int:
        """What the training images take as bytes, with their padding."""
        return len(self.rows) * 3 * self.height * (self.width + 2 * self.pad)

    def _load(self) -> Tensor:
        shape = (len(self.rows), 3, self.height, self.width + 2 * self.pad)
        held = torch.empty(shape, dtype=torch.uint8, device=self.device)
        for start in range(0, len(self.rows), _CHUNK):
            part = self._read(np.arange(start, min(start + _CHUNK, len(self.rows))))
            held[start : start + len(part)] = part
        return held

    def _read(self, positions: NDArray[np.int64]) -> Tensor:
        """uint8 [N, 3, H, W + 2 pad], on the device, of positions within `rows`."""
        pixels = torch.from_numpy(self.images.images[self.rows[positions]]).permute(0, 3, 1, 2)
        if self.device.type != "cuda":
            return pad_columns(pixels, self.pad).to(self.device)
        return pad_columns(pixels, self.pad).pin_memory().to(self.device, non_blocking=True)

    def _shares(self, epoch: int, start: int) -> Iterator[Batch]:
        return map(self.world.share, self.sampler.epoch(epoch, start))

    def _sources(self, epoch: int, start: int) -> Iterator[tuple[Batch, _Source]]:
        if self.resident is not None:
            for batch in self._shares(epoch, start):
                yield (
                    batch,
                    (self.resident, torch.from_numpy(batch.visible), torch.from_numpy(batch.infrared)),
                )
            return
        waiting: deque[Future[tuple[Batch, _Source]]] = deque()
        with ThreadPoolExecutor(1, "read-batches") as pool:
            try:
                for batch in self._shares(epoch, start):
                    waiting.append(pool.submit(self._read_batch, batch))
                    if len(waiting) > _AHEAD:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _read_batch(self, batch: Batch) -> tuple[Batch, _Source]:
        visible, every = len(batch.visible), len(batch.visible) + len(batch.infrared)
        padded = self._read(np.concatenate([batch.visible, batch.infrared]))
        return batch, (padded, torch.arange(visible), torch.arange(visible, every))

    def epoch(self, epoch: int, augment: PairedAugment, start: int = 0) -> Iterator[TrainBatch]:
        """Batches of an epoch from number `start` on."""
        if augment.config.pad != self.pad:
            raise ValueError(f"the images were padded by {self.pad} pixels, not by {augment.config.pad}")
        for offset, (batch, source) in enumerate(self._sources(epoch, start)):
            yield self._assemble(batch, source, augment, self._draw_seed(epoch, start + offset))

    def _draw_seed(self, epoch: int, number: int) -> int:
        """Each process draws for itself; process 0 as one alone would."""
        return _mix(self.seed, epoch, number, *([self.world.rank] if self.world.rank else []))

    def _assemble(self, batch: Batch, source: _Source, augment: PairedAugment, seed: int) -> TrainBatch:
        padded, in_visible, in_infrared = source
        generator = torch.Generator().manual_seed(seed)
        shape = (3, self.height, self.width)
        plan = augment.draw((len(in_visible), *shape), (len(in_infrared), *shape), generator)
        counts = [len(in_visible), len(in_visible) if self.translator is not None else 0, len(in_infrared)]
        images = torch.empty((sum(counts), *shape), device=self.device)
        slots = images.split(counts)
        self._cut(padded, in_visible, plan.visible, slots[0])
        self._cut(padded, in_infrared, plan.infrared, slots[2])
        transition = None
        if self.kept is not None:
            transition = slots[1]
            pixels = torch.from_numpy(self.kept[self.kept_row[self.rows[batch.visible]]]).permute(0, 3, 1, 2)
            everything = torch.arange(len(pixels))
            self._cut(pad_columns(pixels, self.pad).to(self.device), everything, plan.visible, transition)
        elif self.translator is not None:
            if not self.translator.deterministic:
                self.translator.reseed(seed)
            with torch.no_grad():
                transition = self.translator(slots[0])
        for slot, made in zip(
            slots, augment.colour_(slots[0], transition, slots[2], plan, generator), strict=True
        ):
            if made is not None and made.data_ptr() != slot.data_ptr():
                slot.copy_(made)
        modality = torch.repeat_interleave(
            torch.tensor([Modality.VISIBLE, Modality.INFRARED, Modality.INFRARED]), torch.tensor(counts)
        )
        labels = torch.from_numpy(batch.identities).to(self.device)
        layout = TriLayout(counts[0], counts[1], counts[2], labels.repeat(3 if counts[1] else 2))
        rows = self.rows[np.concatenate([batch.visible, batch.infrared])]
        return TrainBatch(images, modality.to(self.device), layout, rows)

    def _cut(self, padded: Tensor, positions: Tensor, geometry: Geometry, slot: Tensor) -> None:
        """Moved pixels, divided by 255, into their place in the batch."""
        slot.copy_(crop(padded, self.width, positions, geometry)).div_(255)


def room(device: torch.device) -> int:
    """Bytes that the training images may take: half of a GPU's free memory, an eighth of the computer's."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // 2
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 8
    except (AttributeError, OSError, ValueError):  # a system that does not say
        return 0


def _mix(*values: int) -> int:
    return int(np.random.SeedSequence(values).generate_state(1, np.uint64)[0] >> np.uint64(1))
