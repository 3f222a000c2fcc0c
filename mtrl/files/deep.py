"""Reads images of more than 8 bits a channel ("deep" images) as arrays of the numbers in the file.

Pillow keeps these numbers only for grey images. In colour images, and in grey images with alpha, it silently drops the
lower byte of each number.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mtrl.files.filenames import as_text
from mtrl.files.image_limits import opened
from mtrl.files.levels import ValueRange, to_levels

# {Pillow's suffix for a byte order of 16-bit channels: suffix of the opposite order}. Unpacking an image in one order
# gives the upper byte of every number, in the other order the lower byte.
_SWAPPED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_COLOURS = ("RGB", "RGBX", "RGBA")
_ORIENTATION = 274  # EXIF tag
_BITS, _PHOTOMETRIC, _PLANAR, _SAMPLE_FORMAT, _GDAL_NODATA = 258, 262, 284, 339, 42113  # TIFF tags


@dataclasses.dataclass(frozen=True, eq=False)
class Deep:
    """The pixel values of a deep image.

    values       [H,W] or [H,W,3], as stored in the file
    opacity      uint8 [H,W], 0 transparent to 255 opaque; None: opaque. Fully transparent pixels count as missing
    missing      bool [H,W], True for pixels that the file marks as missing, or None
    inverted     True if the largest number is black
    orientation  EXIF orientation, 1 is upright
    """

    values: NDArray[Any]
    opacity: NDArray[np.uint8] | None = None
    missing: NDArray[np.bool_] | None = None
    inverted: bool = False
    orientation: int = 1

    def to_image(self, value_range: ValueRange | None, name: str) -> Image.Image:
        """The image as 8-bit RGB on white, scaled by `mtrl.files.levels.to_levels`. EXIF orientation is not applied."""
        missing = self.missing
        if self.opacity is not None:
            clear = self.opacity == 0
            missing = clear if missing is None else missing | clear
        levels = to_levels(self.values, value_range, name, missing, self.inverted)
        image = Image.fromarray(levels).convert("RGB")
        if self.opacity is None:
            return image
        image.putalpha(Image.fromarray(self.opacity))
        return on_white(image)


def on_white(image: Image.Image) -> Image.Image:
    """A new RGB image from an 8-bit one; transparent pixels become white."""
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        with_alpha = image if image.mode == "RGBA" else image.convert("RGBA")
        rgb = Image.new("RGB", image.size, "white")
        rgb.paste(with_alpha, mask=with_alpha.getchannel("A"))
        return rgb
    return image.convert("RGB") if image.mode != "RGB" else image.copy()


def exif_orientation(image: Image.Image) -> int:
    """The EXIF orientation of an image; 1 (upright) if it has none or its metadata are damaged.

    Call it after the image is loaded, since some decoders rotate the image themselves.
    """
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged metadata do not make the image unusable
        return 1


def deep_of_array(array: NDArray[Any], name: str) -> Deep:
    """A deep image from an array [H,W], [H,W,3] or [H,W,4] of any type but uint8.

    The fourth channel is opacity: 0 to the largest value of an integer type, or 0 to 1 in floating point. Masked pixels
    of a masked array count as missing. Raises ValueError for opacity in a signed type or outside its range.
    """
    masked = np.ma.getmaskarray(array) if isinstance(array, np.ma.MaskedArray) else None
    array, opacity = np.asarray(array), None
    if array.ndim == 3 and array.shape[2] == 4:
        if array.dtype.kind == "i":
            raise ValueError(f"{name}: opacity cannot be told from {array.dtype}; give three channels")
        opacity = _opacity(array[:, :, 3], name)
        array = array[:, :, :3]
        masked = None if masked is None else masked[:, :, :3]
    return Deep(array, opacity, None if masked is None else ~_in_all_channels(~masked))


def deep_of_image(image: Image.Image, name: str) -> Deep | None:
    """The pixel values of a deep image; None for an image of 8 bits a channel.

    Raises ValueError for a deep image whose numbers are lost or cannot be read: of deep colours, Pillow keeps only 8
    bits once the image is loaded. Colours are read here without loading `image`, so that it can be read again.
    """
    codec, layout, largest = _stored(image)
    tags = getattr(image, "tag_v2", {})
    nodata = tags.get(_GDAL_NODATA)
    if codec.startswith("ppm") and largest > 255:
        return Deep(_of_ppm(image, codec, largest, name))
    if image.mode.startswith(("I", "F")):
        image.load()
        values = np.asarray(image)
        if image.mode == "I" and tags.get(_BITS) == (32,) and tags.get(_SAMPLE_FORMAT, (1,)) == (1,):
            values = values.view(np.uint32)  # unsigned, but Pillow reads them as signed
        missing, inverted = _declared(values, nodata), tags.get(_PHOTOMETRIC) == 0
        return Deep(values, _keyed(values, image), missing, inverted, exif_orientation(image))
    deep_tiff = bool(layout) and max(tags.get(_BITS, (8,))) > 8
    kind, deep, order = layout.partition(";16")
    if not deep and not deep_tiff:
        if _cut_by_loading(image):
            raise ValueError(
                f"{name} has more than 8 bits a channel, of which Pillow kept 8 when it was loaded; pass its path"
            )
        return None
    if kind == "LA":
        pixels, turned = _reopened(image, "RGBA")  # the four bytes of a pixel, unchanged
        pairs = pixels.view(">u2")
        return Deep(pairs[:, :, 0], _opacity(pairs[:, :, 1], name), orientation=turned)
    if kind not in _COLOURS or order not in _SWAPPED or (deep_tiff and tags.get(_PLANAR, 1) != 1):
        raise ValueError(
            f"{name} has more than 8 bits a channel in a layout that would be cut to 8; save it as a 16-bit PNG"
        )
    values = _reopened(image, layout)[0].astype(np.uint16)
    values <<= 8
    low, turned = _reopened(image, f"{kind};16{_SWAPPED[order]}")
    values |= low
    opacity = _opacity(values[:, :, 3], name) if kind == "RGBA" else _keyed(values, image)
    values = values[:, :, :3]
    return Deep(values, opacity, _declared(values, nodata), orientation=turned)


def _stored(image: Image.Image) -> tuple[str, str, int]:
    """How an image that is not loaded yet is stored: (Pillow's decoder, layout of numbers, largest possible number).

    The largest number is 0 if unknown. A loaded image gives ("", "", 0).
    """
    tiles: Any = getattr(image, "tile", None)
    if not tiles:
        return "", "", 0
    codec, arguments = tiles[0][0], tiles[0][3]
    if isinstance(arguments, str):
        return codec, arguments, 0
    arguments = tuple(arguments or ())
    layout = next((value for value in arguments if isinstance(value, str)), "")
    largest = arguments[1] if codec.startswith("ppm") and len(arguments) > 1 else 0
    return codec, layout, int(largest)


def _cut_by_loading(image: Image.Image) -> bool:
    """Whether a loaded image lost bits of deep colours, as far as its tags or its file can tell."""
    if getattr(image, "tile", None) != [] or image.format not in ("PNG", "PPM", "TIFF"):
        return False
    if max(getattr(image, "tag_v2", {}).get(_BITS, (8,))) > 8:
        return True
    try:
        with Image.open(image.filename, formats=[image.format]) as again:  # type: ignore[attr-defined]
            _, layout, largest = _stored(again)
    except (OSError, ValueError, AttributeError):  # the image came from memory, or its file is gone
        return False
    return ";16" in layout or largest > 255


def _reopened(image: Image.Image, layout: str = "") -> tuple[NDArray[Any], int]:
    """(pixels, EXIF orientation) of the image's file, read again with its numbers unpacked as Pillow's `layout`.

    `image` itself is not loaded. Raises ValueError if its file is closed.
    """
    file: Any = getattr(image, "fp", None)
    if file is None:
        raise ValueError("its file is closed; pass its path")
    place = file.tell()
    try:
        file.seek(0)
        again: Any = Image.open(file, formats=[str(image.format)])
        again.seek(image.tell())
        if layout:
            again.tile = [
                (codec, extents, offset, layout if isinstance(arguments, str) else (layout, *arguments[1:]))
                for codec, extents, offset, arguments in again.tile
            ]
        return np.asarray(again), exif_orientation(again)
    finally:
        file.seek(place)  # the position that `image` expects


def _of_ppm(image: Image.Image, codec: str, largest: int, name: str) -> NDArray[Any]:
    """The numbers of a deep PGM or PPM file, 16 bits, [H,W] or [H,W,3], which Pillow would scale or cut to 8 bits.

    largest  the largest number that the file's header allows
    """
    if codec == "ppm_plain":
        if image.mode != "I":
            raise ValueError(f"{name} is a PPM of deep colours written as text; save it in binary form (P6)")
        return np.rint(_reopened(image)[0] * (largest / 65535)).astype(np.uint16)
    file: Any = image.fp  # type: ignore[attr-defined]
    place = file.tell()
    file.seek(image.tile[0][2])  # type: ignore[attr-defined]
    shape = (image.height, image.width, 3) if image.mode == "RGB" else (image.height, image.width)
    content = file.read(2 * int(np.prod(shape)))
    file.seek(place)
    if len(content) < 2 * np.prod(shape):
        raise OSError(f"{name} is truncated: the image file ends before its last pixel")
    return np.frombuffer(content, ">u2").reshape(shape)


def _opacity(values: NDArray[Any], name: str) -> NDArray[np.uint8]:
    full = 1.0 if values.dtype.kind == "f" else float(np.iinfo(values.dtype).max)
    if values.dtype.kind == "f" and not bool(((values >= 0) & (values <= 1)).all()):
        raise ValueError(f"{name}: opacity in floating point must be within [0, 1]")
    return np.rint(values * (255 / full)).astype(np.uint8)


def _keyed(values: NDArray[Any], image: Image.Image) -> NDArray[np.uint8] | None:
    """Opacity [H,W] of an image whose metadata name one transparent colour; None for any other."""
    key = image.info.get("transparency")
    if not isinstance(key, (int, tuple)):
        return None
    return np.where(_in_all_channels(values == np.array(key)), 0, 255).astype(np.uint8)


def _declared(values: NDArray[Any], text: Any) -> NDArray[np.bool_] | None:
    """bool [H,W]: pixels of the value that a TIFF's GDAL_NODATA tag, `text`, marks as missing; None without the tag."""
    try:
        number = float(str(text).strip("\0 "))
    except ValueError:  # the tag is missing or no number
        return None
    return _in_all_channels(values == number)


def _in_all_channels(same: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return same if same.ndim == 2 else np.logical_and.reduce(same, 2)


def is_deep(path: Path) -> bool:
    """Whether an image file has more than 8 bits a channel. Raises ValueError or OSError if unreadable."""
    name = as_text(path)
    with opened(path, name) as image:
        return stores_deep(image, name)


def stores_deep(image: Image.Image, name: str) -> bool:
    """As `is_deep`, for an opened image."""
    shallow = image.format in ("JPEG", "MPO", "WEBP", "GIF", "BMP")
    return not shallow and deep_of_image(image, name) is not None
