"""`load_data`, which reads any data set by name; `mtrl.data.sources` lists the names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mtrl.data.decode import empty_set
from mtrl.data.imageset import ImageSet, ReIDData
from mtrl.data.sources import SOURCES, Request, find_source
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
    spectrum: str = "nir",
) -> ReIDData:
    """Reads a data set by its name, or one of your own by `module:function` (see `mtrl.data.sources.own`).

    An argument marked with data sets concerns only those.

    root         folder of the data, for every set that is read from files; "folder" also takes a table of images
    size, seed, test_seed, spectrum  "synthetic": see `mtrl.data.synthetic.load`
    image_size   (height, width) in pixels to which images are resized; None: the data set's default
    cache_dir    folder that keeps images once they are rendered or decoded; None: MTRL_CACHE, else ~/.cache/mtrl
    parts        which of "train" and "test" are needed; the other part may come without images
    trial        "regdb": split 1 to 10
    train_ids    "sysu": "395" training identities, or "296" with the other 99 as `validation`
    on_bad       what to do about unreadable image files: "error" | "skip"
    labels_only  True reads the labels alone: no image is drawn or opened, pixels are zeros that take no memory
    value_range  "folder": (low, high) that scales images of more than 8 bits; None: each image's own range

    Raises ValueError for an unknown name or damaged data, FileNotFoundError for a missing folder or file.
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
    if trial != 1 and not source.splits:
        raise ValueError(f"trial is a split of RegDB; {name} has none")
    if spectrum != "nir" and not source.spectra:
        raise ValueError(
            f"the spectrum is a choice of drawn images; those of {name} are what its cameras saw"
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
        spectrum,
    )
    sets = source.load(request)
    if isinstance(sets, ReIDData):
        return sets
    for part in {"train", "test"} - sets.keys():
        sets[part] = empty_set(request.height_width)
    return ReIDData(name, source.protocol, **sets)
