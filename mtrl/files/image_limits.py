"""Opens image files from untrusted sources: limits on size, passes and metadata before anything is decoded."""

from __future__ import annotations

import functools
import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

MAX_PIXELS = 64_000_000
MAX_ASPECT = 50
MAX_SCANS = 100  # of a JPEG; progressive ones of cameras and programs have about ten
# Decoders that run inside this process. Left out are formats that start other programs (EPS) or follow links, and
# JPEG 2000: a file of 300 bytes can announce tiles and components that take its decoder gigabytes.
FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "BMP", "DIB", "TIFF", "GIF", "PPM", "AVIF")
# Bytes times the parts they come in, before the pixels begin. Decoders join the parts of metadata one by one,
# which takes time with the square of their number: 38 s for 20 MB.
_METADATA_WORK = 10_000_000_000
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # stuffed zeros, restarts and padding are none

# Decoders describe in several lines what they repair; a data set of such images would bury everything else.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


@functools.cache
def _endings() -> dict[str, str]:
    Image.init()
    kinds = {**Image.EXTENSION, ".mpo": "JPEG"}  # several JPEGs in one file, read by that decoder
    return {suffix: kind for suffix, kind in kinds.items() if kind in FORMATS and kind in Image.OPEN}


@functools.cache
def image_suffixes() -> frozenset[str]:
    """Endings such as ".jpg" of the formats that `opened` decodes: the only list of them in this project."""
    return frozenset(_endings())


def format_of(path: Path) -> str:
    """The format, such as "JPEG", that a file's ending stands for; "" for no image that is decoded here."""
    return _endings().get(path.suffix.lower(), "")


@contextmanager
def opened(path: Path, name: str) -> Iterator[Image.Image]:
    """An image whose pixels are not decoded yet, and whose size and number of passes are within the limits.

    Raises ValueError for anything else, OSError for what cannot be read or is no file; other errors are the decoders'.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{name} is a folder, not an image")
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise OSError(f"{name} is no ordinary file; save the image to one")
    if path.exists() and not path.stat().st_size:
        raise ValueError(f"{name} is empty (0 bytes); get it again or leave it out")
    with _Bounded(io.FileIO(path)) as file, _within_limits(file, name, path.read_bytes) as image:
        yield image


@contextmanager
def opened_content(content: bytes, name: str) -> Iterator[Image.Image]:
    """`opened` for the content of a file."""
    if not content:
        raise ValueError(f"{name} is empty (0 bytes); send it again or leave it out")
    raw: Any = io.BytesIO(content)
    with _Bounded(raw) as file, _within_limits(file, name, lambda: content) as image:
        yield image


@contextmanager
def _within_limits(file: _Bounded, name: str, content: Callable[[], bytes]) -> Iterator[Image.Image]:
    with _open(file, name) as image:
        check_size(image.size, name)
        if image.format in ("JPEG", "MPO") and _scans(content()) > MAX_SCANS:
            raise ValueError(
                f"{name} is drawn in more than {MAX_SCANS} passes; save it again as a plain JPEG"
            )
        yield image


def pixels_of(path: str | Path) -> int:
    """Pixels of a file by its header; 0 for what `opened` refuses."""
    try:
        with _Bounded(io.FileIO(path)) as file, _open(file, "") as image:
            return image.width * image.height
    except Exception:  # decoders of damaged files raise errors of many kinds
        return 0


def check_size(size: tuple[int, int], name: str) -> None:
    """Raises ValueError for a (width, height) that no image of a person has."""
    width, height = size
    if width < 1 or height < 1:
        raise ValueError(f"{name} has no pixels ({width} x {height})")
    if width * height > MAX_PIXELS:
        raise ValueError(
            f"{name} is {width} x {height} pixels, more than {MAX_PIXELS / 1e6:.0f} million; scale it down"
        )
    if max(size) > MAX_ASPECT * min(size):
        raise ValueError(
            f"{name} is {width} x {height} pixels: more than {MAX_ASPECT}:1 is no image of a person"
        )


class _Bounded(io.BufferedReader):
    """A file that stops the opening of an image whose metadata comes in too many parts."""

    opening = True
    _done = 0
    _work = 0

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        if self.opening:
            self._done += len(content)
            self._work += self._done
            if self._work > _METADATA_WORK:
                raise ValueError("its metadata comes in too many parts")
        return content


def _open(file: _Bounded, name: str) -> Image.Image:
    Image.init()
    try:
        image = Image.open(file, formats=[kind for kind in FORMATS if kind in Image.OPEN])
    except UnidentifiedImageError as error:
        raise ValueError(
            f"{name} is not an image that can be read; use PNG, JPEG, WebP, BMP or TIFF"
        ) from error
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"{name} is larger than {MAX_PIXELS / 1e6:.0f} million pixels; scale it down"
        ) from error
    file.opening = False
    return image


def _scans(content: bytes) -> int:
    """The number of passes in which a JPEG is drawn, up to its end marker; counting stops above the limit.

    Each pass costs the time of the whole image, and need not be longer than a few bytes.
    """
    scans, place = 0, 2
    while scans <= MAX_SCANS and (marker := _MARKER.search(content, place)):
        kind, place = marker[0][1], marker.end()
        if kind == 0xD9:
            break
        scans += kind == 0xDA
        if kind not in (0x01, 0xD8):  # all others say how long they are
            place += int.from_bytes(content[place : place + 2], "big")
    return scans
