"""Data sets behind one call. Adding one: a module with a loader, and a line in `DATASETS`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mtrl.data.imageset import ImageSet, ReIDData

__all__ = ["DATASETS", "ImageSet", "ReIDData", "load_data"]


def _synthetic(root: str | Path | None, size: str, seed: int, test_seed: int, image_size: tuple[int, int] | None,
               cache_dir: str | Path | None, parts: tuple[str, ...]) -> ReIDData:  # fmt: skip
    from mtrl.data.synthetic import load

    if root is not None:
        raise ValueError("the synthetic data set is drawn, not read: leave the data root out")
    return load(size, seed, test_seed, image_size, cache_dir, parts=parts)


Loader = Callable[
    [str | Path | None, str, int, int, tuple[int, int] | None, str | Path | None, tuple[str, ...]], ReIDData
]
DATASETS: dict[str, Loader] = {"synthetic": _synthetic}


def load_data(name: str, root: str | Path | None = None, *, size: str = "small", seed: int = 0, test_seed: int = 0,
              image_size: tuple[int, int] | None = None, cache_dir: str | Path | None = None,
              parts: tuple[str, ...] = ("train", "test")) -> ReIDData:  # fmt: skip
    """A data set by name.

    root       folder of the data, for data sets that have one
    size, seed, test_seed  of the synthetic set (see `mtrl.data.synthetic.load`)
    image_size (height, width) at which images are kept; None: the data set's default
    parts      which of "train" and "test" are needed; the other may come without rows
    Raises ValueError for an unknown name, FileNotFoundError for a missing folder.
    """
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}; known are {', '.join(sorted(DATASETS))}")
    return DATASETS[name](root, size, seed, test_seed, image_size, cache_dir, parts)
