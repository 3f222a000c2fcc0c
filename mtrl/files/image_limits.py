"""Opens image files from untrusted sources. Size, passes and metadata are checked before pixels are decoded."""

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
MAX_SCANS = 100  # passes of a progressive JPEG; cameras and programs write about ten
# Formats that are read. Excluded are those whose decoder starts other programs (EPS) or follows links, and JPEG 2000,
# where a file of 300 bytes can make the decoder take gigabytes.
FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "BMP", "DIB", "TIFF", "GIF", "PPM", "AVIF")
# Limit on the sum, over all reads before the pixels, of the bytes read so far. Decoders join the parts of metadata one
# by one, so their time grows with the square of the number of parts: 38 s for 20 MB.
_METADATA_WORK = 10_000_000_000
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # a JPEG marker, but no stuffed zero, restart or padding

# Decoders warn at length of faults that they repair. For a whole data set that would hide all other messages.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


@functools.cache
def _endings() -> dict[str, str]:
    Image.init()
    kinds = {**Image.EXTENSION, ".mpo": "JPEG"}  # an MPO holds several JPEGs and is read by the JPEG decoder
    return {suffix: kind for suffix, kind in kinds.items() if kind in FORMATS and kind in Image.OPEN}


@functools.cache
def image_suffixes() -> frozenset[str]:
    """File name endings, such as ".jpg", of all formats that `opened` reads. All of the project uses this list."""
    return frozenset(_endings())


def format_of(path: Path) -> str:
    """The image format of a file by its ending, such as "JPEG"; "" for a file that `opened` does not read."""
    return _endings().get(path.suffix.lower(), "")


@contextmanager
def opened(path: Path, name: str) -> Iterator[Image.Image]:
    """Context manager: opens an image file without decoding its pixels. Its size and number of passes are checked.

    Raises ValueError for a file that is no image or beyond the limits, and OSError for one that cannot be read or is no
    ordinary file. Damaged files can raise other errors of the decoders.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{name} is a folder, not an image")
    if path.exists() and not path.is_file():  # reading a pipe could block
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
    """The number of pixels in an image file, from its header; 0 for a file that cannot be opened as an image."""
    try:
        with _Bounded(io.FileIO(path)) as file, _open(file, "") as image:
            return image.width * image.height
    except Exception:  # decoders of damaged files raise errors of many kinds
        return 0


def check_size(size: tuple[int, int], name: str) -> None:
    """Raises ValueError for a (width, height) that is empty, too large, or too narrow for an image of a person."""
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
    """A file for reading that raises ValueError if an image's metadata are split into too many parts."""

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
    """The number of passes of a JPEG, up to its end marker. Counting stops above the limit.

    A pass may be only a few bytes long, but takes the time to decode a whole image.
    """
    scans, place = 0, 2
    while scans <= MAX_SCANS and (marker := _MARKER.search(content, place)):
        kind, place = marker[0][1], marker.end()
        if kind == 0xD9:
            break
        scans += kind == 0xDA
        if kind not in (0x01, 0xD8):  # after all other markers comes the length of their content
            place += int.from_bytes(content[place : place + 2], "big")
    return scans
