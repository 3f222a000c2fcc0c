"""Data sets behind one call; `mtrl.data.sources` lists them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mtrl.console.own_part import is_own
from mtrl.data.decode import empty_set
from mtrl.data.imageset import ImageSet, ReIDData
from mtrl.data.sources import SOURCES, Request, find_source
from mtrl.data.sources.own import own_data
from mtrl.files.levels import checked_range

__all__ = ["SOURCES", "ImageSet", "ReIDData", "load_data"]


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
    """A data set by name, or one of your own by `module:function` (see `mtrl.data.sources.own`).

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
    source = find_source(name)
    unknown = sorted(set(parts) - {"train", "test"})
    if unknown:
        raise ValueError(f'unknown part {unknown}; known are "train" and "test"')
    limits = checked_range(value_range)
    if limits and not source.value_range:
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
    if is_own(name):
        return own_data(name, request)
    sets = source.load(request)
    for part in {"train", "test"} - sets.keys():
        sets[part] = empty_set(request.height_width)
    return ReIDData(name, source.protocol, **sets)
