"""Data sets behind one call. Adding one: a module with a loader, and a line in `DATASETS`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mtrl.data.imageset import ImageSet, ReIDData
from mtrl.files.levels import ValueRange, checked_range

__all__ = ["DATASETS", "ImageSet", "ReIDData", "load_data"]

IMAGE_SIZE = (288, 144)


@dataclasses.dataclass(frozen=True)
class Request:
    """What `load_data` was asked for; each loader reads what concerns it."""

    root: str | Path | None
    size: str
    seed: int
    test_seed: int
    image_size: tuple[int, int] | None
    cache_dir: str | Path | None
    parts: tuple[str, ...]
    trial: int
    train_ids: str
    on_bad: str
    labels_only: bool
    value_range: ValueRange | None


def _synthetic(request: Request) -> ReIDData:
    from mtrl.data.synthetic import load

    if request.root is not None:
        raise ValueError("the synthetic data set is drawn, not read: leave the data root out")
    return load(
        request.size,
        request.seed,
        request.test_seed,
        request.image_size,
        request.cache_dir,
        parts=request.parts,
        labels_only=request.labels_only,
    )


def _files(request: Request) -> dict[str, Any]:
    """What every data set of image files is asked for."""
    return {
        "root": request.root,
        "image_size": request.image_size or IMAGE_SIZE,
        "cache_dir": request.cache_dir,
        "parts": request.parts,
        "on_bad": request.on_bad,
        "labels_only": request.labels_only,
    }


def _sysu(request: Request) -> ReIDData:
    from mtrl.data.sources.sysu import load

    return load(**_files(request), train_ids=request.train_ids)


def _regdb(request: Request) -> ReIDData:
    from mtrl.data.sources.regdb import load

    return load(**_files(request), trial=request.trial)


def _llcm(request: Request) -> ReIDData:
    from mtrl.data.sources.llcm import load

    return load(**_files(request))


def _folder(request: Request) -> ReIDData:
    from mtrl.data.sources.folder import load

    return load(**_files(request), value_range=request.value_range)


Loader = Callable[[Request], ReIDData]
DATASETS: dict[str, Loader] = {
    "synthetic": _synthetic,
    "sysu": _sysu,
    "regdb": _regdb,
    "llcm": _llcm,
    "folder": _folder,
}


def load_data(
    name: str,
    root: str | Path | None = None,
    *,
    size: str = "small",
    seed: int = 0,
    test_seed: int = 0,
    image_size: tuple[int, int] | None = None,
    cache_dir: str | Path | None = None,
    parts: tuple[str, ...] = ("train", "test"),
    trial: int = 1,
    train_ids: str = "395",
    on_bad: str = "error",
    labels_only: bool = False,
    value_range: Sequence[float] | None = None,
) -> ReIDData:
    """A data set by name.

    root       folder of the data, for data sets that have one (folder: or a table of images)
    size, seed, test_seed  of the synthetic set (see `mtrl.data.synthetic.load`)
    image_size (height, width) at which images are kept; None: the data set's default
    cache_dir  where rendered, and decoded and resized images are kept; None: MTRL_CACHE, else ~/.cache/mtrl
    parts      which of "train" and "test" are needed; the other may come without rows
    trial      regdb: split 1 to 10
    train_ids  sysu: "395" identities, or "296" with the other 99 as `validation`
    on_bad     "error" | "skip" image files that cannot be read
    labels_only  draw and open nothing: the labels stand there, pixels are zeros that take no memory
    value_range  folder: (low, high) of images of more than 8 bits; None: each image's own values

    Raises ValueError for an unknown name or a data set that is not as it should be, FileNotFoundError for a
    missing folder or file.
    """
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}; known are {', '.join(sorted(DATASETS))}")
    unknown = sorted(set(parts) - {"train", "test"})
    if unknown:
        raise ValueError(f'unknown part {unknown}; known are "train" and "test"')
    limits = checked_range(value_range)
    if limits and name != "folder":
        raise ValueError(
            f"a value range is for images of more than 8 bits in your own folder; {name} has none"
        )
    request = Request(
        root,
        size,
        seed,
        test_seed,
        image_size,
        cache_dir,
        parts,
        trial,
        train_ids,
        on_bad,
        labels_only,
        limits,
    )
    return DATASETS[name](request)
