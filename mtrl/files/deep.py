"""Reads images of more than 8 bits a channel ("deep" images) as arrays of the numbers in the file.

Pillow keeps these numbers for grey images only: in colour images and grey images with alpha it silently drops the
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

# Pillow's names for layouts of 16-bit channels -> the same with the bytes of each number swapped. Unpacking an image
# as either gives one byte of every number.
_SWAPPED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_COLOURS = ("RGB", "RGBX", "RGBA")
_ORIENTATION = 274  # tag of EXIF
_BITS, _PHOTOMETRIC, _PLANAR, _SAMPLE_FORMAT, _GDAL_NODATA = 258, 262, 284, 339, 42113  # tags of TIFF


@dataclasses.dataclass(frozen=True, eq=False)
class Deep:
    """The pixel values of a deep image.

    values       [H,W] or [H,W,3], as they are stored
    opacity      uint8 [H,W], 0 transparent to 255 opaque, or None; fully transparent pixels hold no data
    missing      bool [H,W], True where the file says that there are no data, or None
    inverted     the largest number is black
    orientation  EXIF's number for how the image is turned
    """

    values: NDArray[Any]
    opacity: NDArray[np.uint8] | None = None
    missing: NDArray[np.bool_] | None = None
    inverted: bool = False
    orientation: int = 1

    def to_image(self, value_range: ValueRange | None, name: str) -> Image.Image:
        """The image as 8-bit RGB on white, not yet turned upright; scaled by `mtrl.files.levels.to_levels`."""
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
    """The EXIF orientation, 1 (upright) where the metadata are damaged.

    To be read after loading, since some decoders turn the image themselves.
    """
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # an image with damaged metadata is still an image
        return 1


def deep_of_array(array: NDArray[Any], name: str) -> Deep:
    """A deep image from an array [H,W], [H,W,3] or [H,W,4] of any type but uint8.

    The fourth channel is opacity: 0 to the largest value of an integer type, 0 to 1 in floating point. Masked pixels
    of a masked array hold no data. Raises ValueError for opacity in a signed type or outside its range.
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
    """The pixel values of a deep image, or None for an image of 8 bits.

    An image that was not loaded before stays so, and can be read again. Raises ValueError for a deep image whose
    numbers cannot be had: of deep colours Pillow keeps 8 bits once they are loaded.
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
            values = values.view(np.uint32)  # Pillow takes them for signed
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
        pixels, turned = _reopened(image, "RGBA")  # four bytes a pixel, as they come
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
    """(decoder, layout of the numbers in the file, largest number or 0 where unknown) of an image that is not loaded
    yet; ("", "", 0) for any other.
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
    """Whether an image that is loaded comes from a file of deep colours, as far as its tags or its file still say."""
    if getattr(image, "tile", None) != [] or image.format not in ("PNG", "PPM", "TIFF"):
        return False
    if max(getattr(image, "tag_v2", {}).get(_BITS, (8,))) > 8:
        return True
    try:
        with Image.open(image.filename, formats=[image.format]) as again:  # type: ignore[attr-defined]
            _, layout, largest = _stored(again)
    except (OSError, ValueError, AttributeError):  # it came from memory, or its file has gone
        return False
    return ";16" in layout or largest > 255


def _reopened(image: Image.Image, layout: str = "") -> tuple[NDArray[Any], int]:
    """(pixels, EXIF orientation), read again from the image's file with its numbers unpacked as `layout`.

    `image` itself stays unloaded.
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
        file.seek(place)  # where `image` goes on


def _of_ppm(image: Image.Image, codec: str, largest: int, name: str) -> NDArray[Any]:
    """The numbers of a PGM or PPM file above 255, which Pillow scales to 65535 or cuts to 8 bits."""
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
    """Opacity of an image that names one transparent colour; None for any other."""
    key = image.info.get("transparency")
    if not isinstance(key, (int, tuple)):
        return None
    return np.where(_in_all_channels(values == np.array(key)), 0, 255).astype(np.uint8)


def _declared(values: NDArray[Any], text: Any) -> NDArray[np.bool_] | None:
    """True where the pixel has the value that a TIFF's GDAL_NODATA tag gives for "no data"; None without that tag."""
    try:
        number = float(str(text).strip("\0 "))
    except ValueError:  # no such tag, or no number
        return None
    return _in_all_channels(values == number)


def _in_all_channels(same: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return same if same.ndim == 2 else np.logical_and.reduce(same, 2)


def is_deep(path: Path) -> bool:
    """Whether an image file has more than 8 bits a channel. Raises ValueError or OSError where it cannot be read."""
    name = as_text(path)
    with opened(path, name) as image:
        return (
            image.format not in ("JPEG", "MPO", "WEBP", "GIF", "BMP")
            and deep_of_image(image, name) is not None
        )
