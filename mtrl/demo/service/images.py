"""Query images: reading, size limits, detection of the modality, hints for the visitor."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mtrl.demo.service.gallery_folder import GalleryImage
from mtrl.files.image_limits import pixels_of
from mtrl.files.images import read_image
from mtrl.files.levels import ValueRange
from mtrl.models.config import Modality

DISPLAY_PIXELS = 512
WORKING_PIXELS = 1024
LARGE = 8_000_000  # pixels; of such images one at a time is decoded, as each takes up to 2 GB
_alone = threading.Lock()


def read_query(
    image: Image.Image | str | Path, what: str = "the picture", value_range: ValueRange | None = None
) -> tuple[Image.Image, tuple[int, int]]:
    """The image, no larger than any model needs, and its own (width, height). `value_range` as in `read_image`."""
    with in_turn(image):
        loaded = read_image(image, what, value_range)
        size = loaded.size
        if max(size) > WORKING_PIXELS:
            loaded.thumbnail((WORKING_PIXELS, WORKING_PIXELS), Image.Resampling.BOX, reducing_gap=2.0)
        return loaded, size


def in_turn(image: Image.Image | str | Path) -> AbstractContextManager[Any]:
    """Waits while another large image is decoded, if this is one."""
    return _alone if _is_large(image) else contextlib.nullcontext()


def _is_large(image: Image.Image | str | Path) -> bool:
    """By its header; false for what cannot be read, which is refused with words later."""
    if isinstance(image, Image.Image):
        return image.width * image.height > LARGE
    return pixels_of(Path(image)) > LARGE


def digest(image: Image.Image) -> bytes:
    return hashlib.sha256(repr(image.size).encode() + image.tobytes()).digest()


def fit(image: Image.Image, longest: int = DISPLAY_PIXELS) -> Image.Image:
    """The image with its longer side at most `longest` pixels and both sides multiples of 4, at least 16."""
    scale = min(1.0, longest / max(image.size))
    width, height = (max(16, round(side * scale / 4) * 4) for side in image.size)
    if (width, height) == image.size:
        return image
    return image.resize((width, height), Image.Resampling.LANCZOS)


def hints_for(
    query: Image.Image,
    size: tuple[int, int],
    known: GalleryImage | None,
    detected: Modality,
    modality: Modality,
) -> list[str]:
    """Sentences for the user about what was assumed; `size` is the (width, height) that was sent."""
    width, height = size
    hints = []
    if known is None and _flat(query):
        return ["This picture is almost one colour: there is nobody to see in it."]
    if known is None and modality is detected is Modality.INFRARED:
        hints.append(
            "This picture has no colour, so it was taken as infrared. Is it an ordinary black-and-white "
            "photograph? Then choose “visible to infrared”."
        )
    if modality is not detected:
        seen = "has no colour" if detected is Modality.INFRARED else "has colour"
        hints.append(f"This picture {seen}; it was searched with as {modality.name.lower()}, as you asked.")
    if known is None and not 1.5 <= height / width <= 3:
        people = " If it shows several people, crop it to one." if width > height else ""
        hints.append(
            f"The model expects one person from head to feet, twice as tall as wide. Yours is {width} × "
            f"{height} pixels and was resized as it is: a tight full-body crop works better.{people}"
        )
    if known is None and height < 64:
        hints.append(f"Only {height} pixels tall: too small to recognise much.")
    return hints


def _flat(image: Image.Image) -> bool:
    """Whether the image shows almost nothing: black, white, or one colour."""
    pixels = np.asarray(image.convert("L").resize((24, 48), Image.Resampling.BOX), dtype=np.float32)
    return bool(pixels.std() < 3)
