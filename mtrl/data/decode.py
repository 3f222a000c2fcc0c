"""Image files to one memory-mapped uint8 array: decoded and resized once, then read without a decoder."""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mtrl.data.imageset import ImageSet
from mtrl.data.listing import Sample
from mtrl.data.pixel_cache import Store, open_or_make
from mtrl.data.synthetic.cache import cache_root
from mtrl.images import read_image
from mtrl.levels import ValueRange, checked_range

ON_BAD = ("error", "skip")
_VERSION = 2  # part of every key: another way to decode or resize needs another number


@dataclasses.dataclass(frozen=True, eq=False)
class Pixels:
    """Decoded files. images uint8 [M, H, W, 3]; rows {path: row}; bad {path: why it is not among them}."""

    images: NDArray[np.uint8]
    rows: Mapping[str, int]
    bad: Mapping[str, str]


def decode_images(
    root: Path,
    paths: Sequence[str],
    image_size: tuple[int, int],
    cache_dir: str | Path | None = None,
    what: str = "images",
    value_range: ValueRange | None = None,
) -> Pixels:
    """Every file of a list as RGB of `image_size` = (height, width), from the cache or decoded into it.

    Files that are missing or no readable image are named in `bad`, and do not stop the others.
    `value_range` scales images of more than 8 bits, as in `read_image`.
    The key of the cache follows from the files' names, sizes and times, from the image size and the value range.
    Raises OSError when the cache cannot be written, with what to do about it.
    """
    limits = checked_range(value_range)
    kept, missing, key = _fingerprint(root, paths, image_size, limits)
    if not kept:
        return Pixels(np.zeros((0, *image_size, 3), np.uint8), {}, missing)
    files = tuple(root / path for path in kept)
    store = Store(cache_root(cache_dir) / "images", key, image_size, files)
    reader = partial(decode, value_range=limits) if limits else decode
    images, unreadable = open_or_make(store, reader, what)
    good = [path for position, path in enumerate(kept) if position not in unreadable]
    bad = missing | {kept[position]: why for position, why in unreadable.items()}
    return Pixels(images, {path: row for row, path in enumerate(good)}, bad)


def image_set(pixels: Pixels, samples: Sequence[Sample], on_bad: str = "error") -> ImageSet:
    """The decoded images of some samples with their labels: a view where they stand in one run, else a copy.

    on_bad  "error": raises FileNotFoundError or ValueError that names them; "skip": leaves them out, with a
            warning
    """
    if on_bad not in ON_BAD:
        raise ValueError(f"on_bad must be one of {', '.join(ON_BAD)}, not {on_bad!r}")
    bad = [(sample.path, pixels.bad[sample.path]) for sample in samples if sample.path in pixels.bad]
    if bad:
        text = f"{len(bad)} of {len(samples)} images cannot be read: " + "; ".join(w for _, w in bad[:5])
        text += "; ..." if len(bad) > 5 else ""
        if on_bad == "error":
            kind = FileNotFoundError if "does not exist" in bad[0][1] else ValueError
            raise kind(
                f"{text}. python -m mtrl verify --full finds all of them; get them again, "
                "or leave them out with --on-bad skip"
            )
        warnings.warn(f"{text}; they are left out", stacklevel=2)
    used = [sample for sample in samples if sample.path not in pixels.bad]
    rows = np.array([pixels.rows[sample.path] for sample in used], dtype=np.int64)
    in_one_run = len(rows) > 0 and bool((np.diff(rows) == 1).all())
    subsets = np.array([sample.subset for sample in used], dtype=np.int8)
    return ImageSet(
        images=pixels.images[rows[0] : rows[-1] + 1] if in_one_run else pixels.images[rows],
        identities=np.array([sample.identity for sample in used], dtype=np.int64),
        cameras=np.array([sample.camera for sample in used], dtype=np.int64),
        modalities=np.array([int(sample.modality) for sample in used], dtype=np.uint8),
        names=tuple(sample.path for sample in used),
        subsets=subsets if subsets.any() else None,
    )


def load_images(
    root: Path,
    samples: Sequence[Sample],
    image_size: tuple[int, int],
    cache_dir: str | Path | None = None,
    *,
    on_bad: str = "error",
    what: str = "images",
    value_range: ValueRange | None = None,
) -> ImageSet:
    """`decode_images` and `image_set` in one: the samples' images, memory-mapped, in the samples' order."""
    paths = [sample.path for sample in samples]
    pixels = decode_images(root, paths, image_size, cache_dir, what, value_range)
    return image_set(pixels, samples, on_bad)


def empty_set(image_size: tuple[int, int]) -> ImageSet:
    """No images: the part of a data set that was not asked for."""
    return image_set(Pixels(np.zeros((0, *image_size, 3), np.uint8), {}, {}), [])


def decode(path: Path, size: tuple[int, int], value_range: ValueRange | None = None) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] of a file: RGB, upright, antialiased bilinear. Raises as `read_image`."""
    image = read_image(path, value_range=value_range)
    if image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(image)


def _fingerprint(
    root: Path, paths: Sequence[str], size: tuple[int, int], limits: ValueRange | None
) -> tuple[list[str], dict[str, str], str]:
    """(files that exist, {missing file: why}, key of the cache)."""
    digest = hashlib.sha256(f"{_VERSION} {size[0]}x{size[1]} {limits}\n".encode())
    kept, missing = [], {}
    for path in paths:
        try:
            info = (root / path).stat()
        except OSError as error:
            absent = isinstance(error, FileNotFoundError)
            missing[path] = f"{root / path} " + ("does not exist" if absent else f"cannot be read: {error}")
            continue
        kept.append(path)
        digest.update(f"{path}\0{info.st_size}\0{info.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return kept, missing, digest.hexdigest()[:32]
