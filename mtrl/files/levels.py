"""Scales deep images (more than 8 bits, or floating point) to the 256 levels that a model reads: one rule for all.

A fixed range that the caller gives maps `low` to 0 and `high` to 255 in every image alike, so that equal values stay
equal. Without one, each image is scaled by itself, from its least to its largest value, outliers left aside: those that
lie further beyond the 1st or the 99th percentile of the values than half of the distance between these two. So hot and
dead pixels do not flatten the others, and an image without them loses nothing. Values beyond the range get the nearest
level.
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
PERCENT = 1  # of the values at each end may be outliers
MARGIN = 0.5  # of the distance between the two percentiles: values further out are outliers
NO_DATA = -9999  # what programs write for "not measured", besides NaN, infinity and the least value of a type
_HUGE = 1e30  # floating-point fill values are larger, measurements are not
_SAMPLE = 1 << 20
_VALUES_AT_ONCE = 1 << 20


class OutsideRange(UserWarning):
    """An image that a fixed value range makes one flat level."""


def checked_range(value: Any) -> ValueRange | None:
    """(low, high) as numbers; None for None. Raises ValueError for anything but two finite numbers, the lower first."""
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
    """Numbers of any type [H,W] or [H,W,3] -> uint8 levels of the same shape; all channels share one range.

    missing  bool [H,W], pixels without data, or None; NaN, infinity, -9999, the least value of a signed type and
             floating-point values beyond +-1e30 are no data either. They decide nothing and become level 0.
    inverted  the highest value becomes level 0 instead of 255
    An image of one single value becomes level 128 everywhere, unless a range is given. Raises ValueError, with the
    image's name, where every pixel is without data; warns where no value lies within a given range.
    """
    low, high = value_range or _own_range(values, missing, name)
    wide = np.float32 if values.dtype.itemsize <= 2 else np.float64
    result = np.empty(values.shape, np.uint8)
    step = max(1, _VALUES_AT_ONCE // values[0].size)
    usable = inside = False
    for top in range(0, len(values), step):  # a whole image of wide numbers may be gigabytes
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
    """(low, high) of one image's measured values, equal where there is one single value.

    The percentiles of more than a million pixels come from evenly spaced ones.
    """
    height, width = values.shape[:2]
    step = max(1, height * width // _SAMPLE)
    while math.gcd(step, width) > 1:  # else some columns would never be looked at
        step += 1
    for every in dict.fromkeys((step, 1)):  # all pixels, where some of them show one value only
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
    """Which values are data. `missing` lacks the axis of channels, if there is one."""
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
