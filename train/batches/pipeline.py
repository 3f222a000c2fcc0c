"""From rows of an image set to augmented, normalised batches: on a GPU all at once, on a CPU image by image."""

from __future__ import annotations

import dataclasses
import math
import os
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtrl.data.augment.batched import Geometry, PairedAugment, Plan, crop, pad_columns
from mtrl.data.augment.per_image import Colours, Scale, available, render
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


# Uint8 images and where among them the visible and the infrared ones of a batch are: all at once from padded images
# [N, 3, H, W + 2 pad], image by image from the data set's own [N, H, W, 3].
_Source: TypeAlias = tuple[Tensor, Tensor, Tensor]

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
        world: DistributedContext | None = None,
        resident: bool | None = None,
        kept: NDArray[np.uint8] | None = None,
        scale: Scale | None = None,
        batched: bool | None = None,
    ) -> None:
        """`pad` is that of the augmentation; `world` says whose identities to deal.

        resident: hold the images on the device; None: if they fit. Without effect where batches are made image by
        image.
        kept: what the translator makes of the set's visible images, in their order, so that it need not run again.
        scale: the model's normalisation; None leaves images in [0, 1]. batched: all images of a batch at once;
        None: unless the device is a CPU and numba is installed.
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
        self.batched = _all_at_once_on(device) if batched is None else batched
        self.world = world or DistributedContext()
        self.height, self.width = images.images.shape[1:3]
        self._here = None if self.batched else _readable(images.images)
        self._kept_here = None if self.batched or kept is None else _readable(kept)
        if self._here is not None:
            resident = False
        elif resident is None:
            resident = math.prod(self._held_shape()) <= room(device) // self.world.size
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
        return map(self.world.shard, self.sampler.epoch(epoch, start))

    def _sources(self, epoch: int, start: int) -> Iterator[tuple[Batch, _Source]]:
        at_hand = self.resident if self._here is None else self._here
        if at_hand is not None:
            place = np.arange(len(self.rows)) if self._here is None else self.rows
            for batch in self._shares(epoch, start):
                visible, infrared = place[batch.visible], place[batch.infrared]
                yield batch, (at_hand, torch.from_numpy(visible), torch.from_numpy(infrared))
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
        _, in_visible, in_infrared = source
        generator = torch.Generator().manual_seed(seed)
        shape = (3, self.height, self.width)
        plan = augment.draw((len(in_visible), *shape), (len(in_infrared), *shape), generator)
        counts = [len(in_visible), len(in_visible) if self.translator is not None else 0, len(in_infrared)]
        layout_in_memory = torch.contiguous_format if self.batched else torch.channels_last
        images = torch.empty((sum(counts), *shape), device=self.device, memory_format=layout_in_memory)
        slots = images.split(counts)
        if self.translator is not None and not self.translator.deterministic:
            self.translator.reseed(seed)
        if self.batched or augment.config.blur or augment.config.noise:
            self._all_at_once(batch, source, augment, plan, generator, slots)
        else:
            self._one_by_one(batch, source, augment, plan, generator, slots)
        kinds = np.repeat([int(Modality.VISIBLE), int(Modality.INFRARED)], [counts[0], counts[1] + counts[2]])
        labels = torch.from_numpy(batch.identities).to(self.device)
        layout = TriLayout(counts[0], counts[1], counts[2], labels.repeat(3 if counts[1] else 2))
        rows = self.rows[np.concatenate([batch.visible, batch.infrared])]
        return TrainBatch(images, torch.from_numpy(kinds).to(self.device), layout, rows)

    def _all_at_once(
        self, batch: Batch, source: _Source, augment: PairedAugment, plan: Plan,
        generator: torch.Generator, slots: Sequence[Tensor],
    ) -> None:  # fmt: skip
        images, in_visible, in_infrared = source
        self._cut(images, in_visible, plan.visible, slots[0])
        self._cut(images, in_infrared, plan.infrared, slots[2])
        transition = None
        if self.kept is not None:
            transition = slots[1]
            self._cut(*self._kept(batch), plan.visible, transition)
        elif self.translator is not None:
            with torch.no_grad():
                transition = self.translator(slots[0].contiguous())
        for slot, made in zip(
            slots, augment.colour_(slots[0], transition, slots[2], plan, generator), strict=True
        ):
            if made is not None and made.data_ptr() != slot.data_ptr():
                slot.copy_(made)
            slot.sub_(self._per_channel(self.scale.mean)).div_(self._per_channel(self.scale.std))

    def _one_by_one(
        self, batch: Batch, source: _Source, augment: PairedAugment, plan: Plan,
        generator: torch.Generator, slots: Sequence[Tensor],
    ) -> None:  # fmt: skip
        """As `_all_at_once`, with the same draws; equal up to rounding."""
        images, in_visible, in_infrared = source
        matrices = augment.draw_matrices(len(in_visible), generator)
        colours = Colours(matrices, augment.draw_levels(len(in_visible), generator)[0])
        self._render(images, in_visible, plan.visible, colours, slots[0])
        colours = Colours(None, augment.draw_levels(len(in_infrared), generator)[0])
        self._render(images, in_infrared, plan.infrared, colours, slots[2])
        if self.translator is None:
            return
        colours = Colours(None, augment.draw_levels(len(in_visible), generator)[0])
        if self.kept is not None:
            self._render(*self._kept(batch), plan.visible, colours, slots[1])
            return
        moved = torch.empty_like(slots[1])
        self._cut(images, in_visible, plan.visible, moved)
        with torch.no_grad():
            made = self.translator(moved.contiguous()).permute(0, 2, 3, 1).contiguous()
        middle = torch.full_like(plan.visible.top, self.pad)
        still = dataclasses.replace(plan.visible, top=middle, left=middle, mirrored=middle[:0])
        self._render(made, torch.arange(len(made)), still, colours, slots[1])

    def _render(
        self, images: Tensor, rows: Tensor, geometry: Geometry, colours: Colours, slot: Tensor
    ) -> None:
        render(images, rows, geometry, self.pad, colours, self.scale, slot.permute(0, 2, 3, 1))

    def _kept(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Images, and which of them are the transitions of a batch."""
        assert self.kept is not None
        rows = self.kept_row[self.rows[batch.visible]]
        if self._kept_here is not None:
            return self._kept_here, torch.from_numpy(rows)
        return self._padded(self.kept, rows), torch.arange(len(rows))

    def _per_channel(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, device=self.device).view(3, 1, 1)

    def _cut(self, images: Tensor, rows: Tensor, geometry: Geometry, slot: Tensor) -> None:
        """Moved pixels, divided by 255, into their place in the batch."""
        if self.batched:
            slot.copy_(crop(images, self.width, rows, geometry)).div_(255)
        else:
            unerased = dataclasses.replace(geometry, boxes=())
            render(images, rows, unerased, self.pad, Colours(), Scale(), slot.permute(0, 2, 3, 1))


def _all_at_once_on(device: torch.device) -> bool:
    if device.type == "cpu" and not available():
        warnings.warn(
            "numba is not installed: on a CPU it makes batches in as little as a sixth of the time "
            "(pip install numba)",
            stacklevel=4,
        )
        return True
    return device.type != "cpu"


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
