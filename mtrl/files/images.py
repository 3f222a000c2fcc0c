"""Reads images of any kind as RGB and turns them into the tensor that a model takes. All commands read images here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mtrl.files.deep import deep_of_array, deep_of_image, exif_orientation, on_white
from mtrl.files.filenames import as_text
from mtrl.files.image_limits import check_size, opened, opened_content, pixels_of
from mtrl.files.levels import ValueRange, checked_range
from mtrl.labels.sequences import by_position

ImageSource: TypeAlias = "Image.Image | str | Path | bytes | NDArray[np.generic]"

_LARGE = 8_000_000
_DECODERS = 4
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


def read_image(source: ImageSource, what: str = "", value_range: ValueRange | None = None) -> Image.Image:
    """Reads an image as RGB with 8 bits a channel.

    source       a file or its content (`bytes`), a PIL image of any mode, or an array [H,W], [H,W,1], [H,W,3] or
                 [H,W,4] of bytes, booleans or deep numbers (integers of 16 bits and more, or floating point)
    what         the image's name in errors (default: its path)
    value_range  (low, high) that scales deep images to 256 levels; None: each image's own range without hot and dead
                 pixels (see `mtrl.files.levels`, also for pixels without data). All channels are scaled alike. Images
                 of 8 bits a channel are not scaled.

    EXIF orientation is applied. Transparent pixels become white. Animations give their first frame.
    Pass a deep colour image by its path, or as a PIL image that is not loaded yet: Pillow loads only 8 bits of it.
    Raises ValueError for something that is no image, has more than 64 million pixels, or has one side more than 50
    times the other; OSError for a file that cannot be read.
    """
    name = what or _name_of(source)
    limits = checked_range(value_range)
    try:
        if isinstance(source, (str, Path)):
            with opened(Path(source), name) as image:
                return _to_rgb(image, name, limits)
        if isinstance(source, bytes):
            with opened_content(source, name) as image:
                return _to_rgb(image, name, limits)
        if isinstance(source, np.ndarray):
            return _from_array(source, name, limits)
        if isinstance(source, Image.Image):
            return _to_rgb(source, name, limits)
    # Decoders of damaged files raise SyntaxError, struct.error, KeyError and others too.
    except Exception as error:
        if isinstance(error, OSError) and error.errno:  # an error of the operating system
            raise type(error)(f"{name} cannot be read: {error.strerror}") from error
        if isinstance(error, (ValueError, OSError)) and name in str(error):
            raise
        reason = str(error) if isinstance(error, (ValueError, OSError)) else type(error).__name__
        raise (OSError if isinstance(error, OSError) else ValueError)(
            f"{name} is damaged or no supported image ({reason}); get it again or leave it out"
        ) from error
    raise ValueError(
        f"{name} is no image: expected a path, a PIL image or an array of numbers, not {type(source).__name__}"
    )


def to_batch(
    images: Sequence[ImageSource] | Tensor, size: tuple[int, int], value_range: ValueRange | None = None
) -> Tensor:
    """Images -> float32 [N,3,H,W] in [0,1], resized to `size` = (H, W) by antialiased bilinear interpolation.

    images       a list of what `read_image` takes, or a tensor [N,3,h,w]: uint8, floating in [0,1], or any numbers if
                 `value_range` is given
    value_range  (low, high) that maps to [0,1]; see `read_image` for image files

    Resized values are multiples of 1/255, so that an image file and its tensor give the same result. A tensor that
    requires gradients is not rounded. Raises as `read_image`, and ValueError for a tensor of another shape or type, or
    with values that are not finite or outside [0,1].
    """
    limits = checked_range(value_range)
    images = check_list(images)
    if isinstance(images, Tensor):
        return _resize(_checked(images, limits), size)
    if len(images) == 0:
        return torch.zeros(0, 3, *size)
    return torch.cat([_read_resized(source, size, row, limits) for row, source in enumerate(images)])


def iter_batches(
    images: Sequence[ImageSource] | Tensor,
    size: tuple[int, int],
    batch_size: int,
    value_range: ValueRange | None = None,
    *,
    ahead: bool = True,
) -> Iterator[Tensor]:
    """Yields `to_batch` of `batch_size` images at a time, so that memory does not grow with the number of images.

    Threads decode the files of one batch together. With `ahead` they do so while the caller uses the batch before,
    which is faster if the caller leaves processor cores free.
    """
    limits = checked_range(value_range)
    images = check_list(images)
    if isinstance(images, Tensor):
        for start in range(0, len(images), batch_size):
            yield to_batch(images[start : start + batch_size], size, limits)
        return
    left = enumerate(images)  # in order, not by index: `images[3]` need not be the fourth image
    with ThreadPoolExecutor(_DECODERS) as pool:

        def submit() -> list[Future[Tensor]]:
            return [_decode(pool, source, size, row, limits) for row, source in islice(left, batch_size)]

        coming = submit()
        try:
            while current := coming:
                coming = submit() if ahead else []
                yield torch.cat([future.result() for future in current])
                coming = coming if ahead else submit()
        finally:
            for future in coming:
                future.cancel()


def check_list(images: Any) -> Any:
    """Checks `images`: returns a tensor as it is, and a sequence as a list. Raises ValueError for anything else."""
    if isinstance(images, Tensor):
        if images.layout != torch.strided or images.is_quantized or images.is_meta:
            raise ValueError("an image tensor must be dense and hold plain numbers")
        return images
    plain = isinstance(images, np.ndarray) and images.ndim < 4 and images.dtype.kind in "biufc"
    if plain or isinstance(images, (str, Path, Image.Image)):
        raise ValueError(
            "images must be a list of images or a tensor [N,3,H,W], not one image; wrap it in a list"
        )
    return by_position(images, "images", axes=(1, 4))


def _decode(
    pool: ThreadPoolExecutor, source: ImageSource, size: tuple[int, int], row: int, limits: ValueRange | None
) -> Future[Tensor]:
    """Reads one image for `iter_batches`: a file of ordinary size in a thread of the pool, anything else right here.

    PIL images are not given to threads, since loading changes them and a list may hold one twice. Neither are very
    large files, since each thread keeps the memory that its largest image took.
    """
    if isinstance(source, (str, Path)) and pixels_of(source) <= _LARGE:
        return pool.submit(_read_resized, source, size, row, limits)
    done: Future[Tensor] = Future()
    done.set_result(_read_resized(source, size, row, limits))
    return done


def _read_resized(
    source: ImageSource, size: tuple[int, int], row: int, limits: ValueRange | None = None
) -> Tensor:
    """One image -> float32 [1,3,H,W] in [0,1]. Errors name its file or, without a file, its row in the list."""
    named = isinstance(source, (str, Path)) or getattr(source, "filename", None)
    pixels = torch.from_numpy(np.array(read_image(source, "" if named else f"image {row}", limits)))
    return _resize(pixels.permute(2, 0, 1).unsqueeze(0), size)


def _to_rgb(image: Image.Image, name: str, limits: ValueRange | None = None) -> Image.Image:
    check_size(image.size, name)
    deep = deep_of_image(image, name)
    if deep is None:
        image.load()
        check_size(image.size, name)
    orientation = exif_orientation(image) if deep is None else deep.orientation
    rgb = on_white(image) if deep is None else deep.to_image(limits, name)
    if orientation in _ORIENTATIONS:
        rgb = rgb.transpose(_ORIENTATIONS[orientation])
    rgb.info = {}  # so that reading this image again does not apply the orientation twice
    return rgb


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) of an image once its EXIF orientation is applied."""
    width, height = image.size
    return (height, width) if exif_orientation(image) in _ON_THEIR_SIDE else (width, height)


def _from_array(array: NDArray[Any], name: str, limits: ValueRange | None) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    shaped = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if not shaped or array.dtype.kind not in "buif":
        raise ValueError(
            f"{name} must be an array [H,W], [H,W,3] or [H,W,4] of numbers, not {array.dtype} {array.shape}"
        )
    check_size((array.shape[1], array.shape[0]), name)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint8:
        return on_white(Image.fromarray(np.ascontiguousarray(array)))
    return deep_of_array(array, name).to_image(limits, name)


def _name_of(source: object) -> str:
    if isinstance(source, (str, Path)):
        return as_text(source)
    return as_text(getattr(source, "filename", "") or "the image")


def _checked(images: Tensor, limits: ValueRange | None = None) -> Tensor:
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape[2:]:
        raise ValueError(f"an image tensor must be [N,3,H,W] with pixels, not {list(images.shape)}")
    if images.dtype == torch.uint8:
        return images
    if images.is_complex() or images.dtype == torch.bool or not (limits or images.is_floating_point()):
        raise ValueError(
            f"an image tensor must be uint8, or floating in [0,1], not {images.dtype}; for deep integers give the "
            "value_range = (low, high) that maps to [0,1]"
        )
    if limits:
        low, high = limits
        scaled = (images.double() - low) / (high - low)
        scaled = torch.where(scaled.isfinite(), scaled, 0).clamp(0, 1)
        return scaled.float() if images.requires_grad else scaled.mul(255).round().byte()
    images = images.float()
    # A comparison with NaN is false, so this refuses NaN too.
    if images.numel() and not bool(((images >= -1e-4) & (images <= 1 + 1e-4)).all()):
        raise ValueError(
            "a floating image tensor must be finite and within [0,1]; pass uint8 for values up to 255, or the "
            "value_range of other values"
        )
    return images.clamp(0, 1)


def _resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images [N,3,h,w], uint8 or floating in [0,1] -> float32 [N,3,H,W] in [0,1].

    On a CPU they are resized in uint8, as training data are. That takes a fifth of the time of float32.
    """
    if images.shape[0] == 0:
        return torch.zeros(0, 3, *size, device=images.device)
    if tuple(images.shape[2:]) != tuple(size):
        resized = partial(F.interpolate, size=size, mode="bilinear", antialias=True, align_corners=False)
        if images.requires_grad:
            return resized(images).clamp(0, 1)
        levels = images if images.dtype == torch.uint8 else images.mul(255).round_().byte()
        if levels.device.type != "cpu":  # elsewhere torch resizes only floating point
            levels = levels.float()
        return resized(levels).float().round_().div_(255)
    return images.float().div_(255) if images.dtype == torch.uint8 else images.clamp(0, 1)
