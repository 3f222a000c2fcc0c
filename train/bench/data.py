"""Training batches: ours beside the usual per-image transforms in DataLoader workers, from the same decoded images."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from mtrl.config import IMAGENET_MEAN, IMAGENET_STD
from mtrl.data.augment import AugmentConfig, PairedAugment
from mtrl.data.imageset import ImageSet
from mtrl.data.imagewise import Scale
from mtrl.data.sampler import IdentitySampler
from train.bench.table import Line, Options, Task, paired
from train.memory import keep_freed_memory
from train.pipeline import BatchPipeline

P, K = 8, 4
PLAIN = AugmentConfig(pad=10, flip=0.5, erase=0.5)
COLOUR = dataclasses.replace(PLAIN, channel="exchange", channel_prob=0.5, brightness=0.2, contrast=0.2)


def lines(options: Options) -> Iterator[Line]:
    """Images per second, until a normalised float32 batch is on the device."""
    if options.device.type == "cpu":
        keep_freed_memory()  # as training does; the loader's collation in this process gains from it too
    sizes = [(128, 64)] if options.quick else [(288, 144), (128, 64)]
    count = 256 if options.quick else 2048
    workers = max(
        1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    name = f"per-image PIL transforms, {workers} DataLoader workers"
    for size in sizes:
        images = random_people(count, size)
        shown = f"{size[0]}x{size[1]}"
        for config, what in ((PLAIN, "crop, flip, erase"), (COLOUR, "the same, channel exchange, jitter")):
            loader = _loader(images, config, workers, options.device)
            ours, theirs = paired(
                _ours(images, config, options.device, resident=True), loader, options.repeats
            )
            yield Line("data", f"{what}, {shown}, in memory", ours, theirs, name, "images/s", True)
        with tempfile.TemporaryDirectory() as folder:
            mapped = _mapped(images, Path(folder) / "images.npy")
            ours, theirs = paired(
                _ours(mapped, PLAIN, options.device, resident=False),
                _loader(images, PLAIN, workers, options.device),
                options.repeats,
            )
        note = "ours reads a memory map, theirs memory"
        yield Line(
            "data", f"crop, flip, erase, {shown}, memory map", ours, theirs, name, "images/s", True, note
        )


def random_people(count: int, size: tuple[int, int], per_identity: int = 16) -> ImageSet:
    """Noise with labels: half visible, half infrared, `per_identity` images of each person."""
    rng = np.random.default_rng(0)
    rows = np.arange(count)
    kinds = (rows % 2).astype(np.uint8)
    return ImageSet(
        images=rng.integers(0, 256, (count, *size, 3), np.uint8),
        identities=rows // per_identity,
        cameras=np.where(kinds == 1, 3, 1),
        modalities=kinds,
        names=tuple(f"{row}.png" for row in rows),
    )


def _mapped(images: ImageSet, path: Path) -> ImageSet:
    np.save(path, images.images)
    return dataclasses.replace(images, images=np.load(path, mmap_mode="r", allow_pickle=False))


def _ours(images: ImageSet, config: AugmentConfig, device: torch.device, resident: bool) -> Task:
    sampler = IdentitySampler(images.identities, images.modalities, P, K)
    rows = np.arange(len(images))
    scale = Scale(IMAGENET_MEAN, IMAGENET_STD)
    pipeline = BatchPipeline(
        images, rows, sampler, None, device, 0, config.pad, resident=resident, scale=scale
    )
    augment = PairedAugment(config)
    epoch = iter(range(10**9))

    def batches() -> Iterator[Tensor]:
        for batch in pipeline.epoch(next(epoch), augment):
            yield batch.images

    return lambda: _rate(batches(), device)


class _Pairs(Dataset[tuple[Tensor, Tensor]]):
    """A visible and an infrared image per item, as two-stream code deals them."""

    def __init__(self, images: ImageSet, config: AugmentConfig) -> None:
        kinds = images.modalities
        self.visible: NDArray[np.uint8] = images.images[kinds == 0]
        self.infrared: NDArray[np.uint8] = images.images[kinds == 1]
        height, width = images.images.shape[1:3]
        first: list[Any] = [transforms.Pad(config.pad), transforms.RandomCrop((height, width))]
        first += [transforms.RandomHorizontalFlip(config.flip)]
        if config.brightness:
            first.append(transforms.ColorJitter(config.brightness, config.contrast))
        last: list[Any] = [transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
        last.append(transforms.RandomErasing(config.erase, config.erase_area, config.erase_aspect))
        exchange = [_exchange] if config.channel == "exchange" else []
        self.see = transforms.Compose([*first, *last, *exchange])
        self.sense = transforms.Compose([*first, *last])

    def __len__(self) -> int:
        return len(self.visible)

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor]:
        return self.see(Image.fromarray(self.visible[item])), self.sense(Image.fromarray(self.infrared[item]))


def _exchange(image: Tensor) -> Tensor:
    if torch.rand(()) < 0.5:
        return image
    return image[int(torch.randint(3, ()))].expand(3, -1, -1).clone()


def _loader(images: ImageSet, config: AugmentConfig, workers: int, device: torch.device) -> Task:
    """An epoch of the loader. Its workers stay alive between epochs, and their start is not measured."""
    loader = DataLoader(
        _Pairs(images, config),
        batch_size=P * K,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        multiprocessing_context="spawn",  # a fork would leave this process with shared pages and slow ours
        persistent_workers=True,
        pin_memory=device.type == "cuda",
    )

    def batches() -> Iterator[Tensor]:
        for visible, infrared in loader:
            yield torch.cat([visible.to(device, non_blocking=True), infrared.to(device, non_blocking=True)])

    return lambda: _rate(batches(), device)


def _rate(batches: Iterator[Tensor], device: torch.device) -> float:
    began = perf_counter()
    count = sum(len(batch) for batch in batches)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return count / (perf_counter() - began)
