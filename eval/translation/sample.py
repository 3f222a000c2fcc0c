"""The images by which translators are measured, and those on which the classifier of spectra is trained."""

from __future__ import annotations

import dataclasses
import warnings
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eval.translation.settings import PAIRED, TranslatorEvalSettings
from mtrl.data import load_data
from mtrl.data.imageset import ImageSet
from mtrl.data.synthetic import SIZES, truth
from mtrl.data.synthetic.dataset import load_part
from mtrl.models.config import Modality


@dataclasses.dataclass(frozen=True)
class Sample:
    """The images for the measurements. Float in [0, 1], on the CPU.

    visible   [N,3,H,W], which are translated
    infrared  [M,1,H,W], of the same people, from infrared cameras
    truth     [N,1,H,W], the true infrared view of each visible image, or None
    """

    visible: Tensor
    infrared: Tensor
    truth: Tensor | None


def load_sample(settings: TranslatorEvalSettings) -> tuple[tuple[Tensor, Tensor], Sample]:
    """((visible, infrared) images uint8 [N,3,H,W] to train the classifier on, images for the measurements)."""
    height, width = settings.image_size
    held_out, paired = settings.part == "held-out", settings.dataset == PAIRED
    real = _aligned(settings) if paired else None  # before anything is drawn
    read = partial(
        load_data,
        "synthetic" if paired else settings.dataset,
        None if paired else settings.data_root,
        size=settings.size,
        seed=settings.data_seed,
        test_seed=settings.test_seed,
        spectrum=settings.spectrum,
        image_size=(height, width),
        trial=settings.trial,
        cache_dir=settings.cache_dir,
        parts=("train",) if held_out or paired else ("train", "test"),
        value_range=settings.value_range,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the second reading, with images, gives the same warnings
        people = np.unique(read(labels_only=True).train.identities)
    if settings.hold_out >= len(people):
        raise ValueError(f"cannot hold out {settings.hold_out} of {len(people)} training identities")
    data = read()
    kept = np.isin(data.train.identities, people[: len(people) - settings.hold_out])
    known = tuple(
        _pixels(data.train, np.flatnonzero(kept & (data.train.modalities == int(m))), len(kept))
        for m in Modality
    )
    if real is not None:
        return (known[0], known[1]), real
    images = data.train.take(np.flatnonzero(~kept)) if held_out else data.test
    exact = _truth(settings, (height, width)) if settings.dataset == "synthetic" else None
    return (known[0], known[1]), _sample(images, exact, settings.limit)


def _sample(images: ImageSet, exact: ImageSet | None, limit: int) -> Sample:
    """At most `limit` visible images with their true infrared views `exact`, and infrared images."""
    day, night = images.rows(Modality.VISIBLE), images.rows(Modality.INFRARED)
    if exact is not None and len(exact) != len(day):
        raise ValueError(f"{len(day)} visible images, but {len(exact)} true infrared views")
    chosen = _spread(np.arange(len(day)), limit)
    return Sample(
        _pixels(images, day[chosen], len(chosen)).float() / 255,
        _pixels(images, night, limit)[:, :1].float() / 255,
        None if exact is None else _pixels(exact, chosen, len(chosen))[:, :1].float() / 255,
    )


def _aligned(settings: TranslatorEvalSettings) -> Sample:
    """The real images of `PAIRED`: each visible one is aligned with the infrared one of the same box."""
    height, width = settings.image_size
    images = load_data(PAIRED, settings.data_root, image_size=(height, width), parts=("test",)).test
    boxes = [name.partition("/")[2] for name in images.names]
    place = {boxes[row]: row for row in images.rows(Modality.INFRARED)}
    exact = images.take(np.array([place[boxes[row]] for row in images.rows(Modality.VISIBLE)]))
    return _sample(images, exact, settings.limit)


def _truth(settings: TranslatorEvalSettings, image_size: tuple[int, int]) -> ImageSet:
    """The true infrared views of the visible images, which the synthetic data set draws."""
    size, cache = settings.size, settings.cache_dir
    if settings.part == "test":
        return truth(settings.test_seed, size, image_size, cache, spectrum=settings.spectrum)
    count = SIZES[size].train
    last = (count - settings.hold_out, count)
    return load_part(
        "train", size, settings.data_seed, image_size, cache,
        people=last, infrared=True, spectrum=settings.spectrum,
    )  # fmt: skip


def _pixels(images: ImageSet, rows: NDArray[np.int64], limit: int) -> Tensor:
    """The images of at most `limit` evenly spaced rows, uint8 [N,3,H,W]."""
    array = np.ascontiguousarray(images.images[_spread(rows, limit)])
    return torch.from_numpy(array).permute(0, 3, 1, 2).contiguous()


def _spread(rows: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    return rows[np.linspace(0, len(rows) - 1, min(limit, len(rows))).astype(np.int64)]
