"""LLCM: training images listed in idx/, test images in test_vis|test_nir/cam1 ... cam9/IDENTITY/."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any

from mtrl.data.decode import empty_set, load_images
from mtrl.data.imageset import ReIDData
from mtrl.data.listing import (
    Sample,
    check_labels,
    identity_folder,
    images_of,
    in_order,
    open_root,
    read_ids,
    read_labels,
)
from mtrl.models.config import Modality

LISTS = {Modality.VISIBLE: "train_vis.txt", Modality.INFRARED: "train_nir.txt"}
TEST_FOLDERS = {Modality.VISIBLE: "test_vis", Modality.INFRARED: "test_nir"}
# Camera 3 took no infrared image; downloads have an empty folder there, or none.
CAMERAS = {Modality.VISIBLE: tuple(range(1, 10)), Modality.INFRARED: (1, 2, 4, 5, 6, 7, 8, 9)}
LAYOUT = (*TEST_FOLDERS.values(), "idx")
_CAMERA_PART = re.compile(r"c([0-9]{1,3})")


def load(
    root: str | Path | None,
    *,
    image_size: tuple[int, int] = (288, 144),
    cache_dir: str | Path | None = None,
    parts: Collection[str] = ("train", "test"),
    on_bad: str = "error",
    labels_only: bool = False,
) -> ReIDData:
    """LLCM below `root`.

    parts   which of "train" and "test" to decode; the other stays empty
    on_bad  "error" | "skip" images that cannot be read
    labels_only  open no image: pixels are zeros that take no memory

    Raises FileNotFoundError or ValueError that says what is missing or wrong.
    """
    base = open_root(root, LAYOUT, "llcm")
    how: dict[str, Any] = {"on_bad": on_bad, "labels_only": labels_only}
    data = ReIDData("llcm", "llcm", empty_set(image_size), empty_set(image_size))
    check_disjoint(base)
    if "train" in parts:
        samples = list_train(base)
        images = load_images(base, samples, image_size, cache_dir, what="training images", **how)
        data = dataclasses.replace(data, train=images)
    if "test" in parts:
        samples = list_test(base)
        images = load_images(base, samples, image_size, cache_dir, what="test images", **how)
        data = dataclasses.replace(data, test=images)
    return data


def check_disjoint(root: Path) -> None:
    """Raises ValueError for an identity of idx/test_id.txt that a training list has too, where they are there."""
    tests, lists = root / "idx" / "test_id.txt", [root / "idx" / name for name in LISTS.values()]
    train = {identity_folder(path) for source in lists if source.is_file() for path, _ in read_labels(source)}
    common = sorted(train & set(read_ids(tests))) if tests.is_file() else []
    if common:
        raise ValueError(f"identity {common[0]} stands in the training lists and in {tests}")


def list_train(root: Path) -> list[Sample]:
    """The images that idx/train_vis.txt and idx/train_nir.txt list.

    The identity is the number of the image's folder; labels must name the same identities in both lists, without
    a gap. The camera stands in the file name (`0001_c01_...`), and is 0 where it does not.
    """
    lists = {modality: root / "idx" / name for modality, name in LISTS.items()}
    listed = {source: read_labels(source) for source in lists.values()}
    check_labels(listed, identity_folder)
    return in_order(
        Sample(path, identity_folder(path), camera_of(path), modality)
        for modality, source in lists.items()
        for path, _ in listed[source]
    )


def list_test(root: Path) -> list[Sample]:
    """The images of the identities in idx/test_id.txt, camera by camera.

    Raises FileNotFoundError when a camera's folder is missing (infrared camera 3 has no images) or all are empty.
    """
    wanted = set(read_ids(root / "idx" / "test_id.txt"))
    samples: list[Sample] = []
    for modality, top in TEST_FOLDERS.items():
        missing = [camera for camera in CAMERAS[modality] if not (root / top / f"cam{camera}").is_dir()]
        if missing:
            raise FileNotFoundError(
                f"{root / top} has no folder cam{missing[0]}; the test set needs cam"
                + ", cam".join(map(str, CAMERAS[modality]))
            )
        for camera in CAMERAS[modality]:
            for identity, paths in images_of(root, f"{top}/cam{camera}").items():
                if identity in wanted:
                    samples += [Sample(path, identity, camera, modality) for path in paths]
    if not samples:
        raise FileNotFoundError(
            f"no test image below {root}; expected files such as test_vis/cam1/0003/NAME.jpg"
        )
    return in_order(samples)


def camera_of(path: str) -> int:
    """12 of `.../0003_c12_s185734_f3195_nir.jpg`; 0 where the name has no such part."""
    parts = PurePosixPath(path).stem.split("_")
    matches = [match for part in parts if (match := _CAMERA_PART.fullmatch(part))]
    return int(matches[0][1]) if matches else 0
