"""Query images: reading, size limits, detection of the modality, hints for the visitor."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

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
TAKEN_AS_INFRARED = (
    "The colours of this picture look as if they had been added to an infrared picture, so only its brightness was "
    "searched with. Is it an ordinary photograph? Then choose “visible to infrared”."
)
COLOURLESS = (
    "This picture has no colour. Translators start from a visible picture; an infrared one changes little."
)
STRANGE = (
    "This picture is unlike every picture in the gallery. Does it show one person alone, upright, from head to feet? "
    "If not, cut one person out."
)
LEAST_PART = 16  # pixels of each side of a part that is cut out
LARGE = 8_000_000  # pixels; of such images one at a time is decoded, as each takes up to 2 GB
COLOUR_SIZE = (48, 96)
LEVELS = 24  # of brightness
MOST_SCATTER = 0.2
GLARING = 0.48  # mean difference of the channels that photographs do not reach
GREY = 0.06  # difference of the channels that compression leaves in a grey image
EDGE = 0.2  # share of the width or height that a scale takes at most
_alone = threading.Lock()

Array = NDArray[Any]


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


def mark(image: Image.Image) -> str:
    """A short text by which the page tells one picture from another."""
    return digest(image)[:6].hex()


def working_copy(image: Image.Image | str, value_range: ValueRange | None = None) -> Image.Image:
    """The copy of a visitor's picture that is shown and searched for people."""
    return fit(read_query(image, "the picture", value_range)[0], WORKING_PIXELS)


def coloured_later(image: Image.Image) -> bool:
    """Whether an image with colour looks like an infrared one that was given false colours.

    A palette gives each brightness one colour, so colours scatter little among pixels of one brightness; palettes that
    return to a brightness, such as rainbows, are more glaring than photographs. A grey image with colours in a strip at
    its edge has a scale beside it.
    """
    small = image.convert("RGB").resize(COLOUR_SIZE, Image.Resampling.BOX)
    pixels = np.asarray(small, dtype=np.float32) / 255
    spread = pixels.max(axis=2) - pixels.min(axis=2)
    return bool(_scatter(pixels) < MOST_SCATTER or spread.mean() > GLARING or _has_scale(spread > GREY))


def _has_colour(image: Image.Image) -> bool:
    """Whether more than compression and a time stamp has given an image colour."""
    pixels = (
        np.asarray(image.convert("RGB").resize(COLOUR_SIZE, Image.Resampling.BOX), dtype=np.float32) / 255
    )
    return bool(np.median(pixels.max(axis=2) - pixels.min(axis=2)) > GREY)


def _scatter(pixels: Array) -> float:
    """How much the colours of one brightness differ, as a share of all colour; 0 for a palette, about 0.5 otherwise."""
    flat = pixels.reshape(-1, 3)
    brightness = flat @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    colour = flat - brightness[:, None]
    level = np.minimum((brightness * LEVELS).astype(int), LEVELS - 1)
    within = sum(
        float(((c - c.mean(axis=0)) ** 2).sum()) for c in (colour[level == n] for n in np.unique(level))
    )
    return float(np.sqrt(within / max(float((colour**2).sum()), 1e-9)))


def _has_scale(coloured: Array) -> bool:
    """Whether nearly all coloured pixels [H,W] lie in a strip along one edge."""
    for lines in (coloured, coloured[:, ::-1], coloured.T, coloured.T[:, ::-1]):
        strip = round(EDGE * lines.shape[1])
        if lines[:, :strip].mean() > 0.3 and lines[:, strip:].mean() < 0.02:
            return True
    return False


def fit(image: Image.Image, longest: int = DISPLAY_PIXELS) -> Image.Image:
    """The image with its longer side at most `longest` pixels and both sides multiples of 4, at least 16."""
    scale = min(1.0, longest / max(image.size))
    width, height = (max(16, round(side * scale / 4) * 4) for side in image.size)
    if (width, height) == image.size:
        return image
    return image.resize((width, height), Image.Resampling.LANCZOS)


def part_of(image: Image.Image, box: Any) -> Image.Image:
    """The part of an image between left, top, right and bottom, each a share in [0, 1] of its size.

    Raises ValueError for what is no such box, and for a part that is too small to search with.
    """
    if not isinstance(box, (list, tuple)) or len(box) != 4:
        raise ValueError("a part of a picture needs left, top, right and bottom")
    try:
        left, top, right, bottom = (min(1.0, max(0.0, float(value))) for value in box if value == value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("left, top, right and bottom of a part must be numbers") from None
    x, right_x = round(left * image.width), round(right * image.width)
    y, bottom_y = round(top * image.height), round(bottom * image.height)
    if right_x - x < LEAST_PART or bottom_y - y < LEAST_PART:
        raise ValueError(f"that part is too small: it needs {LEAST_PART} pixels each way at least")
    return image.crop((x, y, right_x, bottom_y))


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
    if known is None and modality is detected is Modality.INFRARED and _has_colour(query):
        hints.append(TAKEN_AS_INFRARED)
    elif known is None and modality is detected is Modality.INFRARED:
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
