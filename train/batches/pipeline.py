"""Reads the images of each P x K batch, draws its augmentation and has it carried out on the device."""

from __future__ import annotations

import dataclasses
import math
import os
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtrl.data.augment import PairedAugment, Scale, Selection, batched_on, draw_plan, pad_columns, render
from mtrl.data.imageset import ImageSet
from mtrl.data.sampler import Batch, IdentitySampler
from mtrl.losses.total import TriLayout
from mtrl.models.config import Modality
from mtrl.translate import Translator
from train.run.distributed import DistributedContext


@dataclasses.dataclass(frozen=True)
class TrainBatch:
    """images float [V+T+I, 3, H, W], augmented and scaled; modality int64 [V+T+I]; layout says who is who."""

    images: Tensor
    modality: Tensor
    layout: TriLayout
    rows: NDArray[np.int64]


_AHEAD = 2  # batches that are read while one is trained on
_CHUNK = 256  # images moved at once while the training set is loaded


class BatchPipeline:
    """Draws P x K batches, cuts them out as bytes, and makes the transition image of each visible one.

    A GPU holds the training images as bytes where they fit; else a thread reads them from the memory map, some batches
    ahead. On a CPU they are cut out of the memory map, or array, where they lie.
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
        context: DistributedContext | None = None,
        resident: bool | None = None,
        kept: NDArray[np.uint8] | None = None,
        scale: Scale | None = None,
        batched: bool | None = None,
    ) -> None:
        """`pad` is that of the augmentation; `context` says which identities this process draws.

        resident: hold the images on the device; None: if they fit. Without effect where images are augmented one
        by one, on a CPU.
        kept: what the translator makes of the set's visible images, in their order, so that it need not run again.
        scale: the model's normalisation; None leaves images in [0, 1]. batched: augment whole batches;
        None: as `mtrl.data.augment.batched_on` says.
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
        self.scale = scale or Scale()
        self.batched = batched_on(device) if batched is None else batched
        self.context = context or DistributedContext()
        self.height, self.width = images.images.shape[1:3]
        self._here = None if self.batched else _readable(images.images)
        self._kept_here = None if self.batched or kept is None else _readable(kept)
        if self._here is not None:
            resident = False
        elif resident is None:
            resident = math.prod(self._held_shape()) <= room(device) // self.context.size
        self.resident = self._load() if resident else None

    def _held_shape(self) -> tuple[int, ...]:
        return (len(self.rows), 3, self.height, self.width + 2 * self.pad)

    def _load(self) -> Tensor:
        held = torch.empty(self._held_shape(), dtype=torch.uint8, device=self.device)
        for start in range(0, len(self.rows), _CHUNK):
            part = self._read(np.arange(start, min(start + _CHUNK, len(self.rows))))
            held[start : start + len(part)] = part
        return held

    def _read(self, positions: NDArray[np.int64]) -> Tensor:
        """Padded images, on the device, of positions within `rows`."""
        return self._padded(self.images.images, self.rows[positions])

    def _padded(self, images: NDArray[np.uint8], rows: NDArray[np.int64]) -> Tensor:
        padded = pad_columns(torch.from_numpy(images[rows]).permute(0, 3, 1, 2), self.pad)
        if self.device.type != "cuda":
            return padded.to(self.device)
        return padded.pin_memory().to(self.device, non_blocking=True)

    def _shares(self, epoch: int, start: int) -> Iterator[Batch]:
        return map(self.context.shard, self.sampler.epoch(epoch, start))

    def _selections(self, epoch: int, start: int) -> Iterator[tuple[Batch, Selection, Selection]]:
        """Batches with their visible and their infrared images."""
        at_hand = self.resident if self._here is None else self._here
        if at_hand is not None:
            place = np.arange(len(self.rows)) if self._here is None else self.rows
            for batch in self._shares(epoch, start):
                visible, infrared = (torch.from_numpy(place[at]) for at in (batch.visible, batch.infrared))
                yield batch, Selection(at_hand, visible), Selection(at_hand, infrared)
            return
        waiting: deque[Future[tuple[Batch, Selection, Selection]]] = deque()
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

    def _read_batch(self, batch: Batch) -> tuple[Batch, Selection, Selection]:
        visible, every = len(batch.visible), len(batch.visible) + len(batch.infrared)
        padded = self._read(np.concatenate([batch.visible, batch.infrared]))
        return (
            batch,
            Selection(padded, torch.arange(visible)),
            Selection(padded, torch.arange(visible, every)),
        )

    def epoch(self, epoch: int, augment: PairedAugment, start: int = 0) -> Iterator[TrainBatch]:
        """Batches of an epoch from number `start` on."""
        if augment.config.pad != self.pad:
            raise ValueError(f"the images were padded by {self.pad} pixels, not by {augment.config.pad}")
        for offset, chosen in enumerate(self._selections(epoch, start)):
            yield self._assemble(*chosen, augment, self._draw_seed(epoch, start + offset))

    def _draw_seed(self, epoch: int, number: int) -> int:
        """Each process draws for itself; process 0 as one alone would."""
        return _mix(self.seed, epoch, number, *([self.context.rank] if self.context.rank else []))

    def _assemble(
        self, batch: Batch, visible: Selection, infrared: Selection, augment: PairedAugment, seed: int
    ) -> TrainBatch:
        generator, paired = torch.Generator().manual_seed(seed), self.translator is not None
        counts = [len(visible.rows), len(visible.rows) if paired else 0, len(infrared.rows)]
        size = (self.height, self.width)
        plan = draw_plan(augment.config, counts[0], counts[2], size, generator, transition=paired)
        memory = torch.contiguous_format if self.batched else torch.channels_last
        images = torch.empty((sum(counts), 3, *size), device=self.device, memory_format=memory)
        if self.translator is not None and not self.translator.deterministic:
            self.translator.reseed(seed)
        transition = self.translator if self.kept is None else self._kept(batch)
        render(plan, visible, infrared, transition, images.split(counts), self.scale, self.batched)
        made = Modality.INFRARED if self.translator is None else self.translator.modality
        modalities = np.repeat([int(Modality.VISIBLE), int(made), int(Modality.INFRARED)], counts)
        labels = torch.from_numpy(batch.identities).to(self.device)
        layout = TriLayout(counts[0], counts[1], counts[2], labels.repeat(3 if counts[1] else 2))
        rows = self.rows[np.concatenate([batch.visible, batch.infrared])]
        return TrainBatch(images, torch.from_numpy(modalities).to(self.device), layout, rows)

    def _kept(self, batch: Batch) -> Selection:
        """The transition images of a batch, made before."""
        assert self.kept is not None
        rows = self.kept_row[self.rows[batch.visible]]
        if self._kept_here is not None:
            return Selection(self._kept_here, torch.from_numpy(rows))
        return Selection(self._padded(self.kept, rows), torch.arange(len(rows)))


def _readable(images: NDArray[np.uint8]) -> Tensor:
    """The same memory as a tensor, which nobody writes to; a memory map stays one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(np.ascontiguousarray(images))


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
