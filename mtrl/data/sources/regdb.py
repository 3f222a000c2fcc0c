"""RegDB: Visible/ID/*.bmp and Thermal/ID/*.bmp, with ten splits of the identities in idx/*.txt."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path

from mtrl.data.decode import decode_images, empty_set, image_set
from mtrl.data.imageset import ReIDData
from mtrl.data.listing import (
    Sample,
    check_labels,
    identity_folder,
    images_of,
    in_order,
    open_root,
    read_labels,
)
from mtrl.models.config import Modality

FOLDERS = {Modality.VISIBLE: "Visible", Modality.INFRARED: "Thermal"}
CAMERAS = {Modality.VISIBLE: 1, Modality.INFRARED: 2}
LAYOUT = (*FOLDERS.values(), "idx")
TRIALS = tuple(range(1, 11))


def load(
    root: str | Path | None,
    *,
    image_size: tuple[int, int] = (288, 144),
    cache_dir: str | Path | None = None,
    parts: Collection[str] = ("train", "test"),
    trial: int = 1,
    on_bad: str = "error",
    labels_only: bool = False,
) -> ReIDData:
    """RegDB below `root`, split as trial 1 ... 10 says.

    parts   which of "train" and "test" to load; the other stays empty
    on_bad  "error" | "skip" images that cannot be read
    labels_only  open no image: pixels are zeros that take no memory

    All trials share one cache of the whole data set; a split is copied out of it into memory.
    Raises FileNotFoundError or ValueError that says what is missing or wrong.
    """
    base = open_root(root, LAYOUT, "regdb")
    samples = {part: list_samples(base, part, trial) for part in ("train", "test")}
    common = {s.identity for s in samples["train"]} & {s.identity for s in samples["test"]}
    if common:
        raise ValueError(f"identity {min(common)} stands in the training and the test lists of trial {trial}")
    paths = {path for folder in FOLDERS.values() for p in images_of(base, folder).values() for path in p}
    listed = {sample.path for part in samples.values() for sample in part}
    pixels = decode_images(base, sorted(paths | listed), image_size, cache_dir, "images", labels_only)
    data = ReIDData("regdb", "regdb", empty_set(image_size), empty_set(image_size))
    if "train" in parts:
        data = dataclasses.replace(data, train=image_set(pixels, samples["train"], on_bad))
    if "test" in parts:
        data = dataclasses.replace(data, test=image_set(pixels, samples["test"], on_bad))
    return data


def list_samples(root: Path, part: str, trial: int) -> list[Sample]:
    """The images that idx/PART_visible_TRIAL.txt and idx/PART_thermal_TRIAL.txt list.

    An image's identity is the number of its folder; its label in the lists must be the same thing by another
    name, contiguous and the same in both modalities. Raises FileNotFoundError for a missing list, ValueError
    otherwise.
    """
    if trial not in TRIALS:
        raise ValueError(f"trial must be 1 to 10, not {trial}")
    lists = {modality: root / "idx" / list_name(part, modality, trial) for modality in FOLDERS}
    listed = {source: read_labels(source) for source in lists.values()}
    check_labels(listed, identity_folder)
    return in_order(
        Sample(path, identity_folder(path), CAMERAS[modality], modality)
        for modality, source in lists.items()
        for path, _ in listed[source]
    )


def list_name(part: str, modality: Modality, trial: int) -> str:
    """`train_visible_1.txt`."""
    return f"{part}_{FOLDERS[modality].lower()}_{trial}.txt"
