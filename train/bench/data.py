"""Speed of making training batches, compared with the usual per-image transforms in DataLoader workers."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
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

from mtrl.data.augment import AugmentConfig, PairedAugment, Scale
from mtrl.data.imageset import ImageSet
from mtrl.data.sampler import IdentitySampler
from mtrl.models.config import IMAGENET_MEAN, IMAGENET_STD
from train.batches.memory import keep_freed_memory
from train.batches.pipeline import BatchPipeline
from train.bench.table import Line, Options, Task, paired

P, K = 8, 4
PLAIN = AugmentConfig(pad=10, flip=0.5, erase=0.5)
COLOUR = dataclasses.replace(PLAIN, channel="exchange", channel_prob=0.5, brightness=0.2, contrast=0.2)


def lines(options: Options) -> Iterator[Line]:
    """Measures images per second, until a normalised float32 batch is on the device."""
    if options.device.type == "cpu":
        keep_freed_memory()  # as in training; the DataLoader's collation in this process is faster with it too
    for size in [(128, 64)] if options.quick else [(288, 144), (128, 64)]:
        yield from _lines(size, options)


def _lines(size: tuple[int, int], options: Options) -> Iterator[Line]:
    workers = max(
        1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    images = random_people(256 if options.quick else 2048, size)

    def line(what: str, ours: Task, theirs: _Pairs, note: str = "") -> Line:
        rates = paired(ours, _loader(theirs, workers, options.device), options.repeats)
        name = f"per-image PIL transforms, {workers} DataLoader workers"
        return Line("data", what.format(*size), *rates, name, "images/s", True, note)

    for config, what in ((PLAIN, "crop, flip, erase"), (COLOUR, "the same, channel exchange, jitter")):
        held = _ours(images, config, options.device, resident=True)
        yield line(what + ", {}x{}, in memory", held, _Pairs(images, config))
    with tempfile.TemporaryDirectory() as folder:
        mapped = _ours(_mapped(images, Path(folder) / "images.npy"), PLAIN, options.device, resident=False)
        note = "ours reads a memory map, theirs memory"
        yield line("crop, flip, erase, {}x{}, memory map", mapped, _Pairs(images, PLAIN), note)
        note = "ours reads a memory map, theirs JPEG files of that size"
        files = _jpegs(images, Path(folder))
        yield line("crop, flip, erase, {}x{}, from disk", mapped, _Pairs(images, PLAIN, files), note)


def random_people(count: int, size: tuple[int, int], per_identity: int = 16) -> ImageSet:
    """A set of noise images with labels: half visible, half infrared, `per_identity` images of each person."""
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


def _jpegs(images: ImageSet, folder: Path) -> list[Path]:
    """Writes JPEG files of the same number and size, of soft shapes, since noise takes longer to decode than photos."""
    rng = np.random.default_rng(0)
    height, width = images.images.shape[1:3]
    paths = [folder / f"{row}.jpg" for row in range(len(images))]
    for path in paths:
        coarse = Image.fromarray(rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8))
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(path, quality=90)
    return paths


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

    return lambda: _rate(batches, device)


class _Pairs(Dataset[tuple[Tensor, Tensor]]):
    """A data set of (visible, infrared) image pairs, as in common two-stream code.

    Images are in memory, or decoded from files at each access.
    """

    def __init__(self, images: ImageSet, config: AugmentConfig, files: Sequence[Path] = ()) -> None:
        kinds = images.modalities
        source = np.array(files) if files else images.images
        self.visible: NDArray[Any] = source[kinds == 0]
        self.infrared: NDArray[Any] = source[kinds == 1]
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
        return self.see(_image(self.visible[item])), self.sense(_image(self.infrared[item]))


def _image(source: NDArray[np.uint8] | Path) -> Image.Image:
    return Image.open(source).convert("RGB") if isinstance(source, Path) else Image.fromarray(source)


def _exchange(image: Tensor) -> Tensor:
    if torch.rand(()) < 0.5:
        return image
    return image[int(torch.randint(3, ()))].expand(3, -1, -1).clone()


def _loader(pairs: _Pairs, workers: int, device: torch.device) -> Task:
    """Task of the baseline: an epoch of a DataLoader. Its workers stay alive, so that their start is not measured."""
    loader = DataLoader(
        pairs,
        batch_size=P * K,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        multiprocessing_context="spawn",  # after a fork, shared memory pages would slow this process down
        persistent_workers=True,
        pin_memory=device.type == "cuda",
    )

    def batches() -> Iterator[Tensor]:
        for visible, infrared in loader:
            yield torch.cat([visible.to(device, non_blocking=True), infrared.to(device, non_blocking=True)])

    return lambda: _rate(batches, device)


def _rate(epoch: Callable[[], Iterator[Tensor]], device: torch.device) -> float:
    """Images per second, over as many whole epochs as take a third of a second."""
    began, count = perf_counter(), 0
    while perf_counter() - began < 1 / 3:
        count += sum(len(batch) for batch in epoch())
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return count / (perf_counter() - began)
