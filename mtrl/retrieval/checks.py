"""Checks of gallery input: features of unit length and of the right model, labels of the right type."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mtrl.files.filenames import as_text
from mtrl.files.images import ImageSource
from mtrl.files.levels import ValueRange
from mtrl.labels.names import check_integer
from mtrl.models.config import Modality

Identity = str | int
_CHECKED_ROWS = 1 << 14


def check_same_model(known: str, new: str) -> None:
    """Raises ValueError unless `new` is the fingerprint of the gallery's model, `known`. If that is "", all pass."""
    if known and not new:
        raise ValueError(
            "this gallery remembers its model, the new features name none; make them with Gallery.build, or pass "
            "model=model.fingerprint() to Gallery"
        )
    if known and known != new:
        raise ValueError(
            "this gallery was made with another model, whose features cannot be compared; build it again"
        )


def check_same_range(known: ValueRange | None, new: ValueRange | None) -> None:
    """Raises ValueError unless new images were scaled from the same value range as the gallery's."""
    if known != new:
        gallery, images = (
            f"from {limits[0]:g} to {limits[1]:g}" if limits else "each by its own values"
            for limits in (known, new)
        )
        raise ValueError(
            f"this gallery's deep images are scaled {gallery}, the new ones {images}; use the gallery's value range, "
            "or build it again"
        )


def checked_queries(features: Tensor, dim: int, k: int) -> Tensor:
    """Query features as float32 [Q,D], rows of unit length.

    Raises ValueError for another D, values that are not finite, or a k below 1.
    """
    one = isinstance(features, Tensor) and features.ndim == 1
    queries = _floating(features[None] if one else features, "query features").float()
    if not bool(torch.isfinite(queries).all()):
        raise ValueError("query features hold NaN or infinity")
    if queries.shape[1] != dim:
        raise ValueError(
            f"queries have {queries.shape[1]} dimensions, the gallery has {dim}; both must come from the same model"
        )
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ValueError(f"k must be a positive integer, not {k!r}")
    return F.normalize(queries)


def _floating(features: Tensor, what: str) -> Tensor:
    if not isinstance(features, Tensor) or features.ndim != 2 or not features.is_floating_point():
        shape = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ValueError(f"{what} must be a floating tensor [N,D], not {shape}")
    return features.detach().cpu()


def unit_rows(features: Tensor) -> Tensor:
    features = _floating(features, "gallery features")
    features = features if features.dtype == torch.float16 else features.float()
    for block in features.split(_CHECKED_ROWS):  # in blocks, since the whole may not fit into memory
        norms = torch.linalg.vector_norm(block, dim=1, dtype=torch.float32)
        if not bool(torch.isfinite(norms).all()):
            raise ValueError("gallery features hold NaN or infinity")
        if not torch.allclose(norms, torch.ones_like(norms), atol=1e-3):
            raise ValueError("gallery features must be rows of unit length, as `encode` gives them")
    return features


def _name(value: Any) -> str:
    if isinstance(value, (str, PurePath)):
        return str(value)
    return str(_camera(value))


def _identity(value: Any) -> Identity:
    return value if isinstance(value, str) else _camera(value)


def _camera(value: Any) -> int:
    """A camera as a 64-bit integer, from an integer of Python, NumPy or torch. Raises ValueError for other values."""
    try:
        if not isinstance(value, (bool, np.bool_)):
            return check_integer(operator.index(value), "a gallery label that is a number")
    except TypeError:
        pass
    raise ValueError(f"a gallery label must be an integer (a name or an identity may be text), not {value!r}")


def _time(value: Any) -> float:
    if (
        isinstance(value, (bool, str))
        or not isinstance(value, (int, float, np.number))
        or isinstance(value, np.timedelta64)
        or not math.isfinite(value)
    ):
        raise ValueError(f"a time must be a finite number of seconds, not {value!r}")
    return float(value)


LABEL_PARSERS: dict[str, Any] = {
    "names": _name,
    "identities": _identity,
    "cameras": _camera,
    "times": _time,
    "tracks": _name,
    "modalities": Modality.parse,
}


def row_number(row: Any, count: int) -> int:
    """A row as a plain integer. Raises ValueError for what is no row's number."""
    if isinstance(row, (bool, np.bool_)) or not hasattr(row, "__index__"):
        raise ValueError(f"a row is an integer, not {row!r}; choose by a mask with numpy.flatnonzero(mask)")
    number = operator.index(row)
    if not -count <= number < count:
        raise ValueError(f"row {number} is not among {count} gallery images")
    return number


def default_names(images: Sequence[ImageSource] | Tensor) -> tuple[str, ...]:
    """The paths of files, and the numbers of other images."""
    if isinstance(images, Tensor):
        return tuple(str(row) for row in range(len(images)))
    return tuple(
        as_text(image) if isinstance(image, (str, Path)) else str(row) for row, image in enumerate(images)
    )
