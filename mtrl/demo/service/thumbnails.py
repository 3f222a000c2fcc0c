"""Small JPEGs of gallery images, made once and served under addresses of their own, so that an answer holds
addresses instead of images and a browser loads each image once."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import re
from pathlib import Path

from mtrl.demo.service.gallery_folder import GalleryImage
from mtrl.files.file_state import file_state
from mtrl.files.images import read_image

FOLDER = "pictures"
SIZE = (160, 320)
SMALL_FILE = 40_000
KEPT = 4096
# Segments of a JPEG that may say where and with what it was taken: EXIF, XMP, comments. Visitors get none of them.
_REMARK = re.compile(rb"\xff[\xe1-\xef\xfe]")

_paths: dict[str, Path] = {}  # of the images that were shown; no other file can be asked for


def address(image: GalleryImage) -> str:
    """The address of an image's thumbnail, relative to the page's; "" if its file is gone."""
    state = file_state(image.path)
    if not state:
        return ""
    text = f"{image.path.resolve()}\n{state}"
    key = hashlib.blake2b(os.fsencode(text), digest_size=12).hexdigest()
    _paths[key] = image.path
    return f"{FOLDER}/{key}.jpg"


def jpeg(key: str) -> bytes | None:
    """The thumbnail that `address` gave as FOLDER/key.jpg; None for a key that it did not give, or a lost file."""
    path = _paths.get(key)
    if path is None:
        return None
    try:
        return _encode(key, path)
    except (ValueError, OSError):
        return None


@functools.lru_cache(KEPT)
def _encode(key: str, path: Path) -> bytes:
    """A small JPEG of nothing but pixels as it is, anything else made anew. `key` changes with the file."""
    image = read_image(path)
    if image.width <= SIZE[0] and image.height <= SIZE[1] and path.stat().st_size <= SMALL_FILE:
        content = path.read_bytes()
        if content.startswith(b"\xff\xd8") and not _REMARK.search(content.partition(b"\xff\xda")[0]):
            return content
    image.thumbnail(SIZE)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()
