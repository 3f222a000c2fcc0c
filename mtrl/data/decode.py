"""Image files to one memory-mapped uint8 array: decoded and resized once, then read without a decoder."""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mtrl.data.imageset import ImageSet
from mtrl.data.listing import Sample
from mtrl.data.pixel_cache import Store, open_or_make
from mtrl.data.synthetic.cache import cache_root
from mtrl.files.filenames import as_text
from mtrl.images import read_image

ON_BAD = ("error", "skip")
_VERSION = 1  # part of every key: another way to decode or resize needs another number


@dataclasses.dataclass(frozen=True, eq=False)
class Pixels:
    """Decoded files. images uint8 [M, H, W, 3]; rows {path: row}; bad {path: why it is not among them}."""

    images: NDArray[np.uint8]
    rows: Mapping[str, int]
    bad: Mapping[str, str]

    @property
    def unread(self) -> bool:
        """Whether the images are one zero that stands for all pixels (see `decode_images`)."""
        return self.images.strides[0] == 0


def decode_images(
    root: Path,
    paths: Sequence[str],
    image_size: tuple[int, int],
    cache_dir: str | Path | None = None,
    what: str = "images",
    labels_only: bool = False,
) -> Pixels:
    """Every file of a list as RGB of `image_size` = (height, width), from the cache or decoded into it.

    Files that are missing or no readable image are named in `bad`, and do not stop the others.
    The key of the cache follows from the files' names, sizes and times and from the image size.
    With `labels_only` no file is opened: the images are zeros that take no memory, and nothing is bad.
    Raises OSError when the cache cannot be written, with what to do about it.
    """
    if labels_only:
        nothing = np.broadcast_to(np.zeros((), np.uint8), (len(paths), *image_size, 3))
        return Pixels(nothing, {path: row for row, path in enumerate(paths)}, {})
    kept, missing, key = _fingerprint(root, paths, image_size)
    if not kept:
        return Pixels(np.zeros((0, *image_size, 3), np.uint8), {}, missing)
    files = tuple(root / path for path in kept)
    store = Store(cache_root(cache_dir) / "images", key, image_size, files)
    images, unreadable = open_or_make(store, decode, what)
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
    if pixels.unread:
        images = pixels.images[: len(rows)]
    else:
        images = pixels.images[rows[0] : rows[-1] + 1] if in_one_run else pixels.images[rows]
    subsets = np.array([sample.subset for sample in used], dtype=np.int8)
    return ImageSet(
        images=images,
        identities=np.array([sample.identity for sample in used], dtype=np.int64),
        cameras=np.array([sample.camera for sample in used], dtype=np.int64),
        modalities=np.array([int(sample.modality) for sample in used], dtype=np.uint8),
        names=tuple(as_text(sample.path) for sample in used),
        subsets=subsets if subsets.any() else None,
        identity_names={sample.identity: sample.shown_identity for sample in used},
        camera_names={s.camera: s.camera_name for s in used if s.camera_name is not None},
    )


def load_images(
    root: Path,
    samples: Sequence[Sample],
    image_size: tuple[int, int],
    cache_dir: str | Path | None = None,
    *,
    on_bad: str = "error",
    what: str = "images",
    labels_only: bool = False,
) -> ImageSet:
    """`decode_images` and `image_set` in one: the samples' images, memory-mapped, in the samples' order."""
    paths = [sample.path for sample in samples]
    pixels = decode_images(root, paths, image_size, cache_dir, what, labels_only)
    return image_set(pixels, samples, on_bad)


def empty_set(image_size: tuple[int, int]) -> ImageSet:
    """No images: the part of a data set that was not asked for."""
    return image_set(Pixels(np.zeros((0, *image_size, 3), np.uint8), {}, {}), [])


def decode(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] of a file: RGB, upright, antialiased bilinear. Raises as `read_image`."""
    image = read_image(path)
    if image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(image)


def _fingerprint(
    root: Path, paths: Sequence[str], size: tuple[int, int]
) -> tuple[list[str], dict[str, str], str]:
    """(files that exist, {missing file: why}, key of the cache)."""
    digest = hashlib.sha256(f"{_VERSION} {size[0]}x{size[1]}\n".encode())
    kept, missing = [], {}
    for path in paths:
        try:
            info = (root / path).stat()
        except OSError as error:
            absent = isinstance(error, FileNotFoundError)
            missing[path] = f"{as_text(root / path)} " + (
                "does not exist" if absent else f"cannot be read: {error}"
            )
            continue
        kept.append(path)
        digest.update(f"{path}\0{info.st_size}\0{info.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return kept, missing, digest.hexdigest()[:32]
