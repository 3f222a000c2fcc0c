"""The synthetic data set: which pictures it has, drawing them with a pool of processes, and the cache."""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mtrl.config import Modality
from mtrl.data.imageset import ImageSet, ReIDData
from mtrl.data.synthetic.backgrounds import frame
from mtrl.data.synthetic.cache import cache_root, new_images, read_images
from mtrl.data.synthetic.cameras import ALL_CAMERAS, CAMERAS
from mtrl.data.synthetic.knobs import HEIGHT, SIZES, WIDTH, Difficulty, Size
from mtrl.data.synthetic.render import draw_person, render
from mtrl.progress import Progress

FIRST_IDENTITY = {"test": 1, "train": 1001}
"""Identity numbers of a part start here, so that test (at most 1,000 people) and training never share one."""


@dataclasses.dataclass(frozen=True)
class Job:
    """All pictures of one person: what a worker draws at a time."""

    domain: str
    seed: int
    person: int
    shots: tuple[tuple[int, int], ...]  # (camera, shot)
    image_size: tuple[int, int]
    difficulty: Difficulty
    infrared: bool | None


def load(
    size: str = "small",
    seed: int = 0,
    test_seed: int = 0,
    image_size: tuple[int, int] | None = None,
    cache_dir: str | Path | None = None,
    difficulty: Difficulty | None = None,
    workers: int | None = None,
    progress: bool = True,
    parts: tuple[str, ...] = ("train", "test"),
    labels_only: bool = False,
) -> ReIDData:
    """The synthetic benchmark; drawn on first use, then read from the cache.

    size       "tiny" | "small" | "large" (`SIZES`)
    seed       which training identities; test_seed: which test identities (0: the published test set)
    image_size (height, width) of the stored images, area-averaged from 256 x 128; None: the size's own
    parts      which of "train" and "test" to provide; the other is an ImageSet without rows
    labels_only  draw nothing: pixels are zeros that take no memory
    Raises ValueError for an unknown size or part, OSError when the cache cannot be written.
    """
    unknown = sorted(set(parts) - {"train", "test"})
    if unknown:
        raise ValueError(f'unknown part {unknown}; known are "train" and "test"')
    sets = {}
    for number in (seed, test_seed):  # both before anything is drawn
        _check_seed(number)
    for part in ("train", "test"):
        people = (0, 0) if part not in parts else None
        sets[part] = load_part(
            part,
            size,
            seed if part == "train" else test_seed,
            image_size,
            cache_dir,
            difficulty,
            workers,
            progress,
            people=people,
            labels_only=labels_only,
        )
    return ReIDData("synthetic", "sysu", sets["train"], sets["test"])


def truth(
    test_seed: int = 0,
    size: str = "small",
    image_size: tuple[int, int] | None = None,
    cache_dir: str | Path | None = None,
    difficulty: Difficulty | None = None,
    workers: int | None = None,
    progress: bool = True,
    domain: str = "test",
) -> ImageSet:
    """What an infrared camera would have seen in place of each visible one, row by row with the visible images.

    Rows equal those of the part's visible images, in order (same names, identities, cameras); the modality is infrared.
    """
    return load_part(
        domain, size, test_seed, image_size, cache_dir, difficulty, workers, progress, infrared=True
    )


def load_part(
    domain: str,
    size: str = "small",
    seed: int = 0,
    image_size: tuple[int, int] | None = None,
    cache_dir: str | Path | None = None,
    difficulty: Difficulty | None = None,
    workers: int | None = None,
    progress: bool = True,
    people: tuple[int, int] | None = None,
    infrared: bool | None = None,
    labels_only: bool = False,
) -> ImageSet:
    """One part ("train" | "test"). `people` restricts it to a range of persons (not cached under another name).

    `infrared=True` gives the aligned truth: visible cameras only, in infrared.
    """
    if size not in SIZES:
        raise ValueError(f"size must be one of {', '.join(SIZES)}, not {size!r}")
    _check_seed(seed)
    spec, knobs = SIZES[size], difficulty or Difficulty()
    height, width = image_size or spec.image_size
    if not (8 <= height <= HEIGHT and 8 <= width <= WIDTH):
        raise ValueError(f"image_size must lie between 8 x 8 and {HEIGHT} x {WIDTH}, not {height} x {width}")
    first, last = people or (0, spec.train if domain == "train" else spec.test)
    shots = _shots(spec, infrared)
    labels = [(person, camera, shot) for person in range(first, last) for camera, shot in shots]
    shape = (len(labels), height, width, 3)
    if labels_only or not labels:
        return _image_set(np.broadcast_to(np.zeros((), np.uint8), shape), labels, domain, infrared)
    kind = "" if infrared is None else "-truth"
    span = "" if people is None else f"-{first}-{last}"
    folder = (
        cache_root(cache_dir)
        / "synthetic"
        / knobs.key()
        / f"{domain}{kind}-{size}-{seed}-{height}x{width}{span}"
    )
    images = read_images(folder, shape)
    if images is None:
        jobs = [
            Job(domain, seed, person, shots, (height, width), knobs, infrared)
            for person in range(first, last)
        ]
        with new_images(folder, shape) as target:
            _draw(jobs, target, workers, progress, f"synthetic {size} {domain}{kind}")
            del target  # Windows renames no folder with a file that is mapped
        images = read_images(folder, shape)
        if images is None:
            raise OSError(f"the cache in {folder} cannot be read back; remove it and run again")
    return _image_set(images, labels, domain, infrared)


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise ValueError(f"a seed must not be negative, got {seed}")


def _shots(spec: Size, infrared: bool | None) -> tuple[tuple[int, int], ...]:
    shots = []
    for camera in ALL_CAMERAS:
        if CAMERAS[camera].infrared and infrared:
            continue
        count = spec.infrared_shots if CAMERAS[camera].infrared else spec.visible_shots
        shots += [(camera, shot) for shot in range(count)]
    return tuple(shots)


def _image_set(
    images: NDArray[np.uint8], labels: list[tuple[int, int, int]], domain: str, infrared: bool | None
) -> ImageSet:
    numbers = [person + FIRST_IDENTITY[domain] for person, _, _ in labels]
    cameras = [camera for _, camera, _ in labels]
    modalities = [Modality.INFRARED if infrared else CAMERAS[camera].modality for camera in cameras]
    names = tuple(
        f"cam{camera}/{number:04d}/{shot + 1:04d}.jpg"
        for number, (_, camera, shot) in zip(numbers, labels, strict=True)
    )
    return ImageSet(
        images,
        np.array(numbers, dtype=np.int64),
        np.array(cameras, dtype=np.int64),
        np.array(modalities, dtype=np.uint8),
        names,
    )


def resize_area(image: NDArray[np.uint8], image_size: tuple[int, int]) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] to (height, width), each pixel the average of the area it covers."""
    height, width = image_size
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))


def _work(job: Job) -> NDArray[np.uint8]:
    person = draw_person(job.domain, job.seed, job.person, job.difficulty)
    return np.stack(
        [
            resize_area(render(person, camera, shot, job.infrared), job.image_size)
            for camera, shot in job.shots
        ]
    )


def _draw(
    jobs: list[Job], target: NDArray[np.uint8], workers: int | None, progress: bool, title: str
) -> None:
    each = len(jobs[0].shots)
    count = min(workers if workers is not None else os.cpu_count() or 1, len(jobs))
    with Progress[None](total=len(target), title=title, unit="image", show=progress) as bar:
        for row, images in enumerate(_results(jobs, count)):
            target[row * each : (row + 1) * each] = images
            bar.update(each)


def _results(jobs: list[Job], workers: int) -> Iterator[NDArray[np.uint8]]:
    """Pictures of each job, in order."""
    if workers <= 1 or len(jobs) == 1:
        yield from map(_work, jobs)
        return
    method = (
        "fork" if "fork" in multiprocessing.get_all_start_methods() and sys.platform != "darwin" else "spawn"
    )
    if method == "fork":  # drawn here once, the views of the cameras are shared by all children
        for camera in ALL_CAMERAS:
            frame(camera)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # about threads of the parent: children use numpy only
        pool = multiprocessing.get_context(method).Pool(
            workers, initializer=functools.partial(signal.signal, signal.SIGINT, signal.SIG_IGN)
        )
    with pool:
        yield from pool.imap(_work, jobs, chunksize=1)
