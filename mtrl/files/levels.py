"""Scales deep images (more than 8 bits, or floating point) to the 256 levels that a model reads.

With a value range (low, high), `low` becomes 0 and `high` becomes 255 in every image, so that equal values stay equal
across images. Without one, each image is scaled from its own smallest to its own largest value, outliers excepted.
Let d be the distance between the 1st and the 99th percentile of the values: an outlier lies more than d/2 below the
former or above the latter. So hot and dead pixels do not flatten the rest, and an image without outliers keeps its full
range. Values outside the range get the nearest level.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

ValueRange: TypeAlias = "tuple[float, float]"

RANGE_HELP = "the two numbers of images of more than 8 bits (degrees, counts) that become black and white"
PERCENT = 1  # percent of the values at each end that may be outliers
MARGIN = 0.5  # share of the distance between the percentiles that a value may lie outside of them
# Programs write it for "not measured", besides NaN, infinity and the smallest value of a type.
NO_DATA = -9999
_HUGE = 1e30  # floating-point fill values are larger, measurements are not
_SAMPLE = 1 << 20
_VALUES_AT_ONCE = 1 << 20


class OutsideRange(UserWarning):
    """Warning: all values of an image lie outside the given value range, so that its content is lost."""


def checked_range(value: Any) -> ValueRange | None:
    """A value range as (low, high), or None for None. Raises ValueError unless it is two finite numbers, low < high."""
    if value is None:
        return None
    low = high = math.nan
    if not isinstance(value, (str, bytes, dict, set)):
        with contextlib.suppress(TypeError, ValueError):
            low, high = (float(end) for end in value)
    if not (low < high and math.isfinite(high - low)):
        raise ValueError(
            f"a value range is two numbers, the lower one first, such as (20, 45), not {value!r}"
        )
    return low, high


def to_levels(
    values: NDArray[Any],
    value_range: ValueRange | None,
    name: str,
    missing: NDArray[np.bool_] | None = None,
    inverted: bool = False,
) -> NDArray[np.uint8]:
    """Numbers of any type [H,W] or [H,W,3] -> uint8 levels of the same shape. All channels share one range.

    value_range  (low, high), or None for the image's own range
    name         the image's name, for errors and warnings
    missing      bool [H,W], pixels without data, or None. NaN, infinity, -9999, the smallest value of a signed type and
                 floating-point values beyond +-1e30 count as missing too.
    inverted     True maps the highest value to level 0 instead of 255

    Missing values become level 0 and have no influence on the range. An image with one single value becomes level 128,
    unless a range is given. Raises ValueError if every pixel is missing; warns if no value lies in the given range.
    """
    low, high = value_range or _own_range(values, missing, name)
    wide = np.float32 if values.dtype.itemsize <= 2 else np.float64
    result = np.empty(values.shape, np.uint8)
    step = max(1, _VALUES_AT_ONCE // values[0].size)
    usable = inside = False
    for top in range(0, len(values), step):  # in parts: a whole image in float64 may take gigabytes
        rows = slice(top, top + step)
        good = _measured(values[rows], None if missing is None else missing[rows])
        part = np.where(good, values[rows], 0).astype(wide)
        usable = usable or bool(good.any())
        inside = inside or bool((good & (part >= low) & (part <= high)).any())
        level = (part - low) / (high - low) * 255 if high > low else np.full_like(part, 128)
        level = 255 - level if inverted else level
        result[rows] = np.where(good, np.rint(level.clip(0, 255)), 0)
    if not usable:
        raise ValueError(f"{name} has no finite value: every pixel is NaN, infinite or marked as no data")
    if not inside:
        warnings.warn(
            f"no value of {name} lies within {low:g} to {high:g}; is the value range in the image's own units?",
            OutsideRange,
            stacklevel=2,
        )
    return result


def _own_range(values: NDArray[Any], missing: NDArray[np.bool_] | None, name: str) -> ValueRange:
    """(low, high) of one image's measured values without outliers; low equals high if there is only one value.

    Percentiles of more than a million pixels are estimated from evenly spaced pixels. Raises ValueError if no value is
    measured.
    """
    height, width = values.shape[:2]
    step = max(1, height * width // _SAMPLE)
    while math.gcd(step, width) > 1:  # otherwise some columns would never be sampled
        step += 1
    for every in dict.fromkeys((step, 1)):  # if the sample has one single value, take all pixels
        part = values.reshape(height * width, -1)[::every]
        known = np.sort(part[_measured(part, None if missing is None else missing.reshape(-1)[::every])])
        last = known.size - 1
        if last >= 0 and known[0] < known[-1]:
            low, high = known[-(-last * PERCENT // 100)], known[last * (100 - PERCENT) // 100]
            margin = MARGIN * (float(high) - float(low)) if low < high else math.inf
            first = np.searchsorted(known, float(low) - margin)
            return float(known[first]), float(
                known[np.searchsorted(known, float(high) + margin, "right") - 1]
            )
    if not known.size:
        raise ValueError(f"{name} has no finite value: every pixel is NaN, infinite or marked as no data")
    return float(known[0]), float(known[0])


def _measured(values: NDArray[Any], missing: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """bool of the shape of `values`: which of them are measured. `missing` is [H,W] or flat, without a channel axis."""
    good: NDArray[np.bool_]
    if values.dtype.kind == "f":
        limit = _HUGE if values.dtype.itemsize > 2 else np.inf
        good = (values != NO_DATA) & (np.abs(values) < limit)  # a comparison with NaN is false
    elif values.dtype.kind == "i":
        good = (values != NO_DATA) & (values != np.iinfo(values.dtype).min)
    else:
        good = np.ones(values.shape, bool)
    if missing is not None:
        good &= ~(missing if missing.ndim == values.ndim else missing[..., None])
    return good
