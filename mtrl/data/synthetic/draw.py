"""Draws many images with a pool of processes. This code, and what it imports, is in the key of every drawn set."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Generator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mtrl.data.synthetic.difficulty import Difficulty
from mtrl.data.synthetic.render import draw_person, prepare, render


@dataclasses.dataclass(frozen=True)
class Job:
    """Images of one person: what a worker draws at a time."""

    domain: str
    seed: int
    person: int
    shots: tuple[tuple[int, int], ...]  # (camera, shot)
    image_size: tuple[int, int]
    difficulty: Difficulty
    infrared: bool | None
    spectrum: str


def draw_all(jobs: Sequence[Job], workers: int | None = None) -> Generator[NDArray[np.uint8], None, None]:
    """The images of all jobs, one by one in order. workers: processes; None: one per core."""
    count = min(workers if workers is not None else os.cpu_count() or 1, len(jobs))
    with contextlib.closing(_results(jobs, count)) as results:
        yield from itertools.chain.from_iterable(results)


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
            resize_area(render(person, camera, shot, job.infrared, job.spectrum), job.image_size)
            for camera, shot in job.shots
        ]
    )


def _results(jobs: Sequence[Job], workers: int) -> Generator[NDArray[np.uint8], None, None]:
    """Pictures of each job, in order."""
    if workers <= 1 or len(jobs) == 1:
        yield from map(_work, jobs)
        return
    method = (
        "fork" if "fork" in multiprocessing.get_all_start_methods() and sys.platform != "darwin" else "spawn"
    )
    if method == "fork":  # drawn here once, the views of the cameras are shared by all children
        for job in jobs:
            for camera, shot in job.shots:
                prepare(camera, shot, job.infrared, job.spectrum)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # about threads of the parent: children use numpy only
        pool = multiprocessing.get_context(method).Pool(
            workers, initializer=functools.partial(signal.signal, signal.SIGINT, signal.SIG_IGN)
        )
    with pool:
        yield from pool.imap(_work, jobs, chunksize=1)
