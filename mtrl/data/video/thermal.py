"""Radiometric images keep one scale from the camera to the search: crops say what their levels mean, and are checked.

A crop of a deep frame is a JPEG of 8 bits, scaled from a fixed value range, which stands in its comment. A deep image
is converted to any range that is asked for; one of 8 bits cannot be, so it must have been scaled from the same range.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from mtrl.files.deep import stores_deep
from mtrl.files.filenames import as_text
from mtrl.files.image_limits import opened, opened_content
from mtrl.files.levels import ValueRange, checked_range
from mtrl.models.config import Modality

_MARK = "mtrl value range "


def comment(value_range: ValueRange | None) -> bytes:
    """The comment of a JPEG whose levels 0 to 255 stand for this range; empty for none."""
    return b"" if value_range is None else f"{_MARK}{value_range[0]!r} {value_range[1]!r}".encode()


def recorded_range(image: Image.Image) -> ValueRange | None:
    """The range in an image's comment; None where there is none."""
    text = image.info.get("comment", b"")
    text = text.decode("ascii", "replace") if isinstance(text, bytes) else str(text)
    if text.startswith(_MARK):
        with contextlib.suppress(ValueError):
            return checked_range([float(part) for part in text.removeprefix(_MARK).split()])
    return None


def check_scaling(
    images: Sequence[Any], modalities: Modality | Sequence[Modality], value_range: ValueRange | None
) -> None:
    """Raises ValueError for an infrared image that was scaled otherwise than from `value_range`.

    images  paths, or contents of files (bytes); anything else, whose origin is not known, passes
    An image of 8 bits that does not say how it was scaled passes where no range is asked for.
    """
    kinds = [modalities] * len(images) if isinstance(modalities, Modality) else modalities
    for row, (source, kind) in enumerate(zip(images, kinds, strict=True)):
        if kind is Modality.INFRARED and isinstance(source, (str, Path, bytes)):
            name = f"image {row}" if isinstance(source, bytes) else as_text(source)
            _check(source, name, value_range)


def _check(source: str | Path | bytes, name: str, wanted: ValueRange | None) -> None:
    content = isinstance(source, bytes)
    with opened_content(source, name) if content else opened(Path(source), name) as image:  # type: ignore[arg-type]
        recorded = recorded_range(image)
        if recorded == wanted or (recorded is None and stores_deep(image, name)):
            return
    asked = "each image by its own values" if wanted is None else f"from {wanted[0]:g} to {wanted[1]:g}"
    if recorded is None:
        raise ValueError(
            f"{name} has 8 bits and does not say how they were scaled, while asked for is {asked}; "
            "give the radiometric file (16 bits or floating point), or make crops with the same --value-range"
        )
    raise ValueError(
        f"{name} was scaled from {recorded[0]:g} to {recorded[1]:g}, but asked for is {asked}; make the crops again "
        "with the same --value-range, or use the range that they have"
    )
