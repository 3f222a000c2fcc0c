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

from mtrl.demo.service.false_colour import coloured_later
from mtrl.demo.service.gallery_folder import GalleryImage
from mtrl.files.image_limits import pixels_of
from mtrl.files.images import read_image
from mtrl.files.levels import ValueRange
from mtrl.models.config import Modality

DISPLAY_PIXELS = 512
WORKING_PIXELS = 1024
FALSE_COLOUR = (
    "The colours of this picture follow its brightness, as if they had been added to an infrared picture. Is it one? "
    "Then choose “infrared to visible”: only its brightness is used then."
)
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


def detect_modality(image: Image.Image) -> Modality:
    """Infrared if the channels are nearly equal everywhere, else visible.

    Compression leaves a little colour in a grey image, and a few coloured pixels (a time stamp) do not make
    an image visible, so the mean spread between channels decides, at low resolution.
    """
    pixels = np.asarray(image.convert("RGB").resize((48, 96), Image.Resampling.BOX), dtype=np.float32) / 255
    spread = pixels.max(axis=2) - pixels.min(axis=2)
    return Modality.INFRARED if spread.mean() < 0.02 else Modality.VISIBLE


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
    if known is None and modality is detected is Modality.VISIBLE and coloured_later(query):
        hints.append(FALSE_COLOUR)
    if modality is not detected:
        seen = "has no colour" if detected is Modality.INFRARED else "has colour"
        used = " Only its brightness was used." if modality is Modality.INFRARED else ""
        hints.append(f"This picture {seen}. You chose that it is {modality.name.lower()}.{used}")
    if known is None and not 1.5 <= height / width <= 3:
        people = " If it shows several people, cut out one." if width > height else ""
        hints.append(
            f"The model expects one person from head to feet, twice as tall as wide. Yours is {width} × {height} "
            f"pixels, so it was stretched to that shape. Cut it close around the person.{people}"
        )
    if known is None and height < 64:
        hints.append(f"This picture is only {height} pixels tall, which is too small to recognise much.")
    return hints


def _flat(image: Image.Image) -> bool:
    """Whether the image shows almost nothing: black, white, or one colour."""
    pixels = np.asarray(image.convert("L").resize((24, 48), Image.Resampling.BOX), dtype=np.float32)
    return bool(pixels.std() < 3)
