"""Pictures of any kind to RGB, and from there to the tensor that a model reads: one path for all users."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mtrl.files.filenames import as_text
from mtrl.picture_file import check_size, opened, pixels_of

ImageSource: TypeAlias = "Image.Image | str | Path | NDArray[np.generic]"

_LARGE = 8_000_000
_DECODERS = 4
_VALUES_AT_ONCE = 1 << 20
_ORIENTATION_TAG = 274
_ON_THEIR_SIDE = (5, 6, 7, 8)
_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(source: ImageSource, what: str = "") -> Image.Image:
    """An RGB picture from a file, a PIL image of any mode, or a uint8 array [H,W], [H,W,1], [H,W,3] or
    [H,W,4].

    EXIF orientation is applied. Transparent pixels are laid on white. Pictures deeper than 8 bits are scaled
    from their own smallest to their own largest value, not clipped. Animations give their first frame.
    `what` names the picture in errors (default: its path). Raises ValueError for something that is no
    picture, is larger than 64 million pixels, or is more than 50 times longer than wide; OSError for a file
    that cannot be read.
    """
    name = what or _name_of(source)
    try:
        if isinstance(source, (str, Path)):
            with opened(Path(source), name) as image:
                return _to_rgb(image, name)
        if isinstance(source, np.ndarray):
            return _to_rgb(_from_array(source, name), name)
        if isinstance(source, Image.Image):
            return _to_rgb(source, name)
    # Decoders of damaged files raise SyntaxError, struct.error, KeyError and others too.
    except Exception as error:
        if isinstance(error, OSError) and error.errno:  # the system's, in numbers
            raise type(error)(f"{name} cannot be read: {error.strerror}") from error
        if isinstance(error, (ValueError, OSError)) and name in str(error):
            raise
        reason = str(error) if isinstance(error, (ValueError, OSError)) else type(error).__name__
        raise (OSError if isinstance(error, OSError) else ValueError)(
            f"{name} is damaged or no supported image ({reason}); get it again or leave it out"
        ) from error
    raise ValueError(
        f"{name} is no image: expected a path, a PIL image or a uint8 array, not {type(source).__name__}"
    )


def to_batch(images: Sequence[ImageSource] | Tensor, size: tuple[int, int]) -> Tensor:
    """Pictures -> float32 [N,3,H,W] in [0,1], resized to `size` = (H, W) by antialiased bilinear
    interpolation.

    images: pictures as `read_image` takes them, or a tensor [N,3,h,w], uint8 or floating in [0,1].
    Resized values are whole 255ths, the same for a picture and its tensor, unless a tensor asks for gradients.
    Raises as `read_image`, and ValueError for a tensor of another shape or type, or with values that are not
    finite or outside [0,1].
    """
    check_list(images)
    if isinstance(images, Tensor):
        return _resize(_checked(images), size)
    if len(images) == 0:
        return torch.zeros(0, 3, *size)
    return torch.cat([_read_resized(source, size, row) for row, source in enumerate(images)])


def iter_batches(
    images: Sequence[ImageSource] | Tensor, size: tuple[int, int], batch_size: int, *, ahead: bool = True
) -> Iterator[Tensor]:
    """`to_batch` in parts of `batch_size`, so that memory does not grow with the number of images.

    Threads decode the files of one part together; with `ahead` while the part before it is used, which pays where
    that leaves processor cores free.
    """
    check_list(images)
    if isinstance(images, Tensor):
        for start in range(0, len(images), batch_size):
            yield to_batch(images[start : start + batch_size], size)
        return
    with ThreadPoolExecutor(_DECODERS) as pool:

        def submit(start: int) -> list[Future[Tensor]]:
            rows = range(start, min(start + batch_size, len(images)))
            return [_decode(pool, images[row], size, row) for row in rows]

        coming = submit(0)
        try:
            for start in range(0, len(images), batch_size):
                current, coming = coming, submit(start + batch_size) if ahead else []
                yield torch.cat([future.result() for future in current])
                coming = coming if ahead else submit(start + batch_size)
        finally:
            for future in coming:
                future.cancel()


def check_list(images: object) -> None:
    """Raises ValueError for what is neither an image tensor nor a list of images."""
    if isinstance(images, Tensor):
        if images.layout != torch.strided or images.is_quantized or images.is_meta:
            raise ValueError("an image tensor must be dense and hold plain numbers")
        return
    one = isinstance(images, (str, Path, Image.Image)) or (isinstance(images, np.ndarray) and images.ndim < 4)
    if one or not (hasattr(images, "__len__") and hasattr(images, "__getitem__")) or isinstance(images, dict):
        what = "one image" if one else type(images).__name__
        raise ValueError(
            f"images must be a list of images or a tensor [N,3,H,W], not {what}; wrap it in a list"
        )


def _decode(pool: ThreadPoolExecutor, source: ImageSource, size: tuple[int, int], row: int) -> Future[Tensor]:
    """One picture for `iter_batches`: ordinary files by a thread, everything else at once.

    A PIL picture is loaded in place and may stand in the list twice. Very large files come one by one, since
    each thread keeps the memory that its largest picture took.
    """
    if isinstance(source, (str, Path)) and pixels_of(source) <= _LARGE:
        return pool.submit(_read_resized, source, size, row)
    done: Future[Tensor] = Future()
    done.set_result(_read_resized(source, size, row))
    return done


def _read_resized(source: ImageSource, size: tuple[int, int], row: int) -> Tensor:
    """One picture -> float32 [1,3,H,W] in [0,1]; errors name its file, or its row where it has none."""
    named = isinstance(source, (str, Path)) or getattr(source, "filename", None)
    pixels = torch.from_numpy(np.array(read_image(source, "" if named else f"image {row}")))
    return _resize(pixels.permute(2, 0, 1).unsqueeze(0), size)


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    check_size(image.size, name)
    image.load()
    check_size(image.size, name)
    orientation = _orientation(image)
    if image.mode.startswith(("I", "F")):
        rgb = Image.fromarray(_to_uint8(np.asarray(image), name)).convert("RGB")
    elif image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        with_alpha = image if image.mode == "RGBA" else image.convert("RGBA")
        rgb = Image.new("RGB", image.size, "white")
        rgb.paste(with_alpha, mask=with_alpha.getchannel("A"))
    else:
        rgb = image.convert("RGB") if image.mode != "RGB" else image.copy()
    if orientation in _ORIENTATIONS:
        rgb = rgb.transpose(_ORIENTATIONS[orientation])
    rgb.info = {}  # else the orientation would be applied again to a picture that was read before
    return rgb


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) of a picture once its EXIF orientation is applied."""
    width, height = image.size
    return (height, width) if _orientation(image) in _ON_THEIR_SIDE else (width, height)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, read after loading since some decoders turn the picture themselves. 1 when
    damaged.
    """
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # a picture with damaged metadata is still a picture
        return 1


def _to_uint8(values: NDArray[np.generic], name: str) -> NDArray[np.uint8]:
    """Integer or float grey values [H,W] -> uint8, keeping 8-bit data as they are and stretching everything
    else. What is not finite becomes the darkest value.
    """
    wide = np.float32 if values.dtype.itemsize <= 2 else np.float64
    step = max(1, _VALUES_AT_ONCE // values.shape[1])
    parts = [slice(top, top + step) for top in range(0, len(values), step)]
    limits = [(part.min(), part.max()) for rows in parts if (part := _finite(values[rows])).size]
    if not limits:
        raise ValueError(f"{name} has no finite value")
    low, high = (wide(value) for value in (min(a for a, _ in limits), max(b for _, b in limits)))
    result = np.empty(values.shape, np.uint8)
    for rows in parts:  # a whole picture of wide numbers may be gigabytes
        grey = values[rows].astype(wide)
        grey = np.where(np.isfinite(grey), grey, low)
        if low >= 0 and high <= 1 and values.dtype.kind == "f":
            grey = grey * 255
        elif low < 0 or high > 255:
            grey = (grey - low) * (255 / (high - low)) if high > low else np.full_like(grey, 128)
        result[rows] = np.rint(grey)
    return result


def _finite(values: NDArray[np.generic]) -> NDArray[np.generic]:
    return values[np.isfinite(values)] if values.dtype.kind == "f" else values


def _from_array(array: NDArray[np.generic], name: str) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise ValueError(
            f"{name} must be a uint8 array [H,W], [H,W,3] or [H,W,4], not {array.dtype} {array.shape}"
        )
    check_size((array.shape[1], array.shape[0]), name)
    return Image.fromarray(np.ascontiguousarray(array))


def _name_of(source: object) -> str:
    if isinstance(source, (str, Path)):
        return as_text(source)
    return as_text(getattr(source, "filename", "") or "the image")


def _checked(images: Tensor) -> Tensor:
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape[2:]:
        raise ValueError(f"an image tensor must be [N,3,H,W] with pixels, not {list(images.shape)}")
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point():
        raise ValueError(f"an image tensor must be uint8, or floating in [0,1], not {images.dtype}")
    images = images.float()
    # A comparison with NaN is false, so this refuses NaN too.
    if images.numel() and not bool(((images >= -1e-4) & (images <= 1 + 1e-4)).all()):
        raise ValueError(
            "a floating image tensor must be finite and within [0,1]; pass uint8 for values up to 255"
        )
    return images.clamp(0, 1)


def _resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Whole levels stay whole levels, as when training data are resized: a fifth of the time of float32."""
    if images.shape[0] == 0:
        return torch.zeros(0, 3, *size, device=images.device)
    if tuple(images.shape[2:]) != tuple(size):
        resized = partial(F.interpolate, size=size, mode="bilinear", antialias=True, align_corners=False)
        if images.requires_grad:
            return resized(images).clamp(0, 1)
        levels = images if images.dtype == torch.uint8 else images.mul(255).round_().byte()
        if levels.device.type != "cpu":  # where torch resizes floating point only
            levels = levels.float()
        return resized(levels).float().round_().div_(255)
    return images.float().div_(255) if images.dtype == torch.uint8 else images.clamp(0, 1)
