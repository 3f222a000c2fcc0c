"""A data set of your own: `module:function`, called with the data root, that returns a `ReIDData`.

Its `protocol` says how it is evaluated. Images may have any size; where a run asks for another one they are resized.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mtrl.console.own_part import find_own
from mtrl.data.imageset import ImageSet, ReIDData
from mtrl.data.listing import Sample
from mtrl.data.sources.source import Request, Source
from mtrl.data.sources.verify.report import Report, some
from mtrl.files.images import to_batch
from mtrl.models.config import Modality

_PROTOCOLS = ("sysu", "regdb", "llcm", "clip")
_BLOCK = 256  # images resized at once


def own_source(name: str) -> Source:
    """The data set as an entry of `SOURCES` would describe it; its protocol is known when it is loaded."""
    function = find_own(name, "data set")
    if not callable(function):
        raise ValueError(
            f"data set {name} is a {type(function).__name__}, which cannot be called with a data root"
        )
    return Source(partial(own_data, name), protocol="", verify=partial(_verify, name))


def own_data(name: str, request: Request) -> ReIDData:
    """What the function returns, at the size that is asked for. Raises ValueError for anything but a `ReIDData`.

    A part that is not asked for, and every part where labels alone are, is not resized: its pixels are zeros that take
    no memory.
    """
    data = find_own(name, "data set")(None if request.root is None else Path(request.root))
    if not isinstance(data, ReIDData):
        raise ValueError(f"data set {name} must return a mtrl.data.ReIDData, not {type(data).__name__}")
    if data.protocol not in _PROTOCOLS:
        raise ValueError(
            f"data set {name}: its protocol must be one of {', '.join(_PROTOCOLS)}, not {data.protocol!r}"
        )
    size = request.image_size

    def shown(part: str, images: ImageSet) -> ImageSet:
        if size is None or images.images.shape[1:3] == tuple(size):
            return images
        if request.labels_only or part not in request.parts:
            zeros = np.broadcast_to(np.zeros((), np.uint8), (len(images), *size, 3))
            return dataclasses.replace(images, images=zeros)
        return _resized(images, size)

    validation = None if data.validation is None else shown("train", data.validation)
    return dataclasses.replace(
        data,
        name=name,
        train=shown("train", data.train),
        test=shown("test", data.test),
        validation=validation,
    )


def _resized(images: ImageSet, size: tuple[int, int]) -> ImageSet:
    pixels: NDArray[np.uint8] = np.empty((len(images), *size, 3), np.uint8)
    for start in range(0, len(images), _BLOCK):
        block = np.array(images.images[start : start + _BLOCK]).transpose(0, 3, 1, 2)
        resized = to_batch(torch.from_numpy(block), size).mul(255).round().byte()
        pixels[start : start + _BLOCK] = resized.permute(0, 2, 3, 1).numpy()
    return dataclasses.replace(images, images=pixels)


def _verify(name: str, root: Path, report: Report) -> list[Sample]:
    """Counts, identities that both parts share or that lack a modality; returns the images that are files."""
    request = Request(
        root=root, size="", seed=0, test_seed=0, image_size=None, cache_dir=None, parts=("train", "test"), trial=1,
        train_ids="395", on_bad="error", labels_only=False, value_range=None, spectrum="nir",
    )  # fmt: skip
    data = own_data(name, request)
    samples = []
    for part, images in (("training", data.train), ("test", data.test)):
        for modality in Modality:
            rows = images.rows(modality)
            report.count(f"{part} {modality.name.lower()} images", len(rows))
            report.count(
                f"{part} {modality.name.lower()} identities", len(np.unique(images.identities[rows]))
            )
            if not len(rows):
                report.problem(
                    f"there are no {modality.name.lower()} {part} images", "both modalities are needed"
                )
        samples += [
            Sample(image, int(identity), int(camera), Modality(modality))
            for image, identity, camera, modality in zip(
                images.names, images.identities, images.cameras, images.modalities, strict=True
            )
            if (root / image).is_file()
        ]
    common = np.intersect1d(data.train.identities, data.test.identities)
    if len(common):
        report.problem(
            f"{len(common)} identities stand in training and test: {some([str(identity) for identity in common])}",
            "figures on people seen in training are too good",
        )
    if len(samples) < len(data.train) + len(data.test):
        report.note(
            f"{len(data.train) + len(data.test) - len(samples)} images are no files below {root}; not opened"
        )
    return samples
