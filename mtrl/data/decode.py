"""Decodes and resizes image files once, into one memory-mapped uint8 array that the cache keeps.

The key of the array is a digest of the files' bytes, the image size and the decoding code. Names, folders and times of
the files are not part of it, since they do not identify the content: two folders may hold files of equal names, sizes
and times; a file may be overwritten and its time restored (cp -p, rsync, tar); a link may be changed; a network drive
may number its files anew at every mount. A data set that was copied or moved still finds its array. Reading all files
for the digest takes less than a tenth of the time of decoding them (figures in docs/data.md).
"""

from __future__ import annotations

import dataclasses
import hashlib
import stat
import warnings
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray

from mtrl.data.array_cache import Store, cache_root, open_or_make, threads
from mtrl.data.code_digest import code_digest
from mtrl.data.decoder import decode
from mtrl.data.imageset import ImageSet
from mtrl.data.listing import Sample
from mtrl.files.file_state import file_state
from mtrl.files.filenames import as_text
from mtrl.files.levels import ValueRange, checked_range

ON_BAD = ("error", "skip")
_READERS = 8  # files read in parallel: a network drive answers slowly, but serves many files at once
_CHUNK = 2**20


@dataclasses.dataclass(frozen=True, eq=False)
class Pixels:
    """Decoded image files.

    images  uint8 [M,H,W,3]
    rows    {path: row in `images`}
    bad     {path: reason} of the files that could not be decoded
    """

    images: NDArray[np.uint8]
    rows: Mapping[str, int]
    bad: Mapping[str, str]

    @property
    def unread(self) -> bool:
        """Whether no file was opened and all pixels are zero (`labels_only` of `decode_images`)."""
        return self.images.strides[0] == 0


def decode_images(
    root: Path,
    paths: Sequence[str],
    image_size: tuple[int, int],
    cache_dir: str | Path | None = None,
    what: str = "images",
    labels_only: bool = False,
    value_range: ValueRange | None = None,
) -> Pixels:
    """Decodes files below `root` as RGB of `image_size` = (height, width), or takes them from the cache.

    what         name of the images in the progress bar
    labels_only  True opens no file: images are zeros that take no memory, and no file is bad
    value_range  (low, high) that scales images of more than 8 bits, as in `read_image`
    Missing and unreadable files are listed in `bad`; the others are decoded nevertheless. Raises OSError if the cache
    cannot be written, with what to do about it, or if a file changes while it is decoded.
    """
    if labels_only:
        nothing = np.broadcast_to(np.zeros((), np.uint8), (len(paths), *image_size, 3))
        return Pixels(nothing, {path: row for row, path in enumerate(paths)}, {})
    limits = checked_range(value_range)
    contents = _read_contents([root / path for path in paths])
    unread = {path: found for path, found in zip(paths, contents, strict=True) if isinstance(found, str)}
    files = [
        (path, found) for path, found in zip(paths, contents, strict=True) if isinstance(found, _Content)
    ]
    if not files:
        return Pixels(np.zeros((0, *image_size, 3), np.uint8), {}, unread)

    def rows(start: int, stop: int) -> Generator[NDArray[np.uint8] | str, None, None]:
        return _decode_all(root, files[start:stop], image_size, limits)

    key = _key([content for _, content in files], image_size, limits)
    store = Store(cache_root(cache_dir) / "images", key, len(files), image_size, f"decoded {what}")
    images, damaged = open_or_make(store, rows)
    good = [path for position, (path, _) in enumerate(files) if position not in damaged]
    bad = unread | {files[position][0]: why for position, why in damaged.items()}
    return Pixels(images, {path: row for row, path in enumerate(good)}, bad)


def image_set(pixels: Pixels, samples: Sequence[Sample], on_bad: str = "error") -> ImageSet:
    """The images and labels of some samples. The images are a view if their rows are consecutive, else a copy.

    on_bad  what to do about samples whose file could not be decoded: "error" raises FileNotFoundError or ValueError
            that names them; "skip" leaves them out, with a warning
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


def empty_set(image_size: tuple[int, int]) -> ImageSet:
    """A set without images, for a part of a data set that was not requested."""
    return image_set(Pixels(np.zeros((0, *image_size, 3), np.uint8), {}, {}), [])


@dataclasses.dataclass(frozen=True)
class _Content:
    """SHA-256 of a file's bytes, and the file's state (see `file_state`) before they were read."""

    digest: bytes
    state: tuple[int, ...]


def _read_contents(files: Sequence[Path]) -> list[_Content | str]:
    """The content of each file, or the reason why it cannot be read."""
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(_read_content, files))


def _read_content(path: Path) -> _Content | str:
    digest = hashlib.sha256()
    try:
        state = file_state(path)
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe could block
            return str(_try_to_decode(path, (1, 1)))
        with path.open("rb", buffering=0) as file:
            while part := file.read(_CHUNK):
                digest.update(part)
    except FileNotFoundError:
        return f"{as_text(path)} does not exist"
    except (OSError, ValueError) as error:
        return f"{as_text(path)} cannot be read: {getattr(error, 'strerror', None) or error}"
    return _Content(digest.digest(), state)


def _is_still(path: Path, content: _Content) -> bool:
    if file_state(path) == content.state:
        return True
    now = _read_content(path)
    return isinstance(now, _Content) and now.digest == content.digest


def _key(contents: Sequence[_Content], size: tuple[int, int], limits: ValueRange | None) -> str:
    """The cache key of files of these contents, for this image size, value range, code and version of Pillow."""
    code = code_digest("mtrl.data.decoder")
    how = f"{code} Pillow {PIL.__version__} {size[0]}x{size[1]} {limits}\n"
    digest = hashlib.sha256(how.encode())
    for content in contents:
        digest.update(content.digest)
    return digest.hexdigest()[:32]


def _decode_all(
    root: Path, files: Sequence[tuple[str, _Content]], size: tuple[int, int], limits: ValueRange | None
) -> Generator[NDArray[np.uint8] | str, None, None]:
    """Yields each file's image, or the reason why it cannot be decoded, in order. Keeps only a few images in memory.

    Raises OSError for a file that was changed after its content was read, since the key then does not belong to it.
    """
    waiting: deque[tuple[Path, _Content, Future[NDArray[np.uint8] | str]]] = deque()

    def next_image() -> NDArray[np.uint8] | str:
        path, content, future = waiting.popleft()
        image = future.result()
        if not isinstance(image, str) and not _is_still(path, content):
            raise OSError(
                f"{as_text(path)} was changed while it was decoded; run again when nothing writes there"
            )
        return image

    with ThreadPoolExecutor(threads()) as pool:
        for name, content in files:
            waiting.append((root / name, content, pool.submit(_try_to_decode, root / name, size, limits)))
            if len(waiting) >= 8 * threads():
                yield next_image()
        while waiting:
            yield next_image()


def _try_to_decode(
    path: Path, size: tuple[int, int], limits: ValueRange | None = None
) -> NDArray[np.uint8] | str:
    try:
        return decode(path, size, limits)
    except (ValueError, OSError) as error:
        return str(error)
