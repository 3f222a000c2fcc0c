"""SYSU-MM01: cam1 ... cam6/IDENTITY/FRAME.jpg, identities of each part in exp/*.txt."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any

from mtrl.data.decode import decode_images, empty_set, image_set, load_images
from mtrl.data.imageset import ReIDData
from mtrl.data.listing import Sample, images_of, in_order, open_root, read_ids
from mtrl.models.config import Modality

VISIBLE_CAMERAS = (1, 2, 4, 5)
INFRARED_CAMERAS = (3, 6)
CAMERAS = (1, 2, 3, 4, 5, 6)
LAYOUT = (*(f"cam{camera}" for camera in CAMERAS), "exp")
TRAIN_IDS = ("395", "296")


def load(
    root: str | Path | None,
    *,
    image_size: tuple[int, int] = (288, 144),
    cache_dir: str | Path | None = None,
    parts: Collection[str] = ("train", "test"),
    train_ids: str = "395",
    on_bad: str = "error",
    labels_only: bool = False,
) -> ReIDData:
    """SYSU-MM01 below `root`.

    parts      which of "train" and "test" to decode; the other stays empty
    train_ids  "395": training and validation identities together, as published results do; "296": the training
               identities, and the 99 validation identities as `validation`
    on_bad     "error" | "skip" images that cannot be read
    labels_only  open no image: pixels are zeros that take no memory

    Raises FileNotFoundError or ValueError that says what is missing or wrong.
    """
    if train_ids not in TRAIN_IDS:
        raise ValueError(f"train_ids must be one of {', '.join(TRAIN_IDS)}, not {train_ids!r}")
    base = open_root(root, LAYOUT, "sysu")
    split = read_split(base)
    empty = empty_set(image_size)
    data = ReIDData("sysu", "sysu", empty, empty)
    if "train" in parts:
        # Training identities first: with 296 of them, training and validation are two views of one cache.
        train, validation = (list_samples(base, split[part]) for part in ("train", "val"))
        paths = [sample.path for sample in train + validation]
        pixels = decode_images(base, paths, image_size, cache_dir, "training images", labels_only)
        if train_ids == "395":
            data = dataclasses.replace(data, train=image_set(pixels, train + validation, on_bad))
        else:
            held_out = image_set(pixels, validation, on_bad)
            data = dataclasses.replace(data, train=image_set(pixels, train, on_bad), validation=held_out)
    if "test" in parts:
        samples = list_samples(base, split["test"])
        how: dict[str, Any] = {"on_bad": on_bad, "labels_only": labels_only}
        images = load_images(base, samples, image_size, cache_dir, what="test images", **how)
        data = dataclasses.replace(data, test=images)
    return data


def read_split(root: Path) -> dict[str, list[int]]:
    """{"train", "val", "test": identities, ascending} of exp/. Raises ValueError when two parts share one."""
    split = {part: read_ids(root / "exp" / f"{part}_id.txt") for part in ("train", "val", "test")}
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        common = sorted(set(split[first]) & set(split[second]))
        if common:
            raise ValueError(
                f"identity {common[0]} stands in exp/{first}_id.txt and in exp/{second}_id.txt of {root}"
            )
    return split


def list_samples(root: Path, identities: Collection[int]) -> list[Sample]:
    """The images of some identities. An identity that a camera never saw has no folder there: that is normal.

    Raises FileNotFoundError when there is none at all.
    """
    wanted = set(identities)
    samples = []
    for camera in CAMERAS:
        for identity, paths in images_of(root, f"cam{camera}").items():
            if identity in wanted:
                samples += [Sample(path, identity, camera, modality_of(camera)) for path in paths]
    if not samples:
        raise FileNotFoundError(
            f"no image of {len(wanted)} identities below {root}; expected files such as cam1/0001/0001.jpg"
        )
    return in_order(samples)


def modality_of(camera: int) -> Modality:
    """Cameras 3 and 6 are infrared."""
    return Modality.INFRARED if camera in INFRARED_CAMERAS else Modality.VISIBLE
