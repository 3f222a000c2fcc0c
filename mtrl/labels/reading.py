"""Reads the labels of images (identities, cameras, ...) from any kind of sequence, in order and without rounding.

A label is an integer of any size, text, bytes, a boolean, a tuple of these, or another hashable value that defines its
own equality (a UUID, an enum, a date). Labels are compared by Python's ==. Text is brought to Unicode's NFC form
first, so that composed and decomposed accents are one name. Values whose equality is unreliable are refused.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrl.labels.names import canonical

_KINDS = {bool: "booleans", int: "integers", str: "text", bytes: "bytes"}


def read_labels(values: Any, name: str) -> list[Hashable]:
    """The labels of a sequence as a list of plain Python values, in order.

    values  a list, a NumPy array (of objects, text and bytes too), a torch tensor, an Arrow array, a pandas or polars
            column, a categorical. Whole numbers in floating point become integers.
    name    what the labels are, for errors

    Raises ValueError, naming the label, for
    - None, NaN, infinity and other missing values; fractions
    - whole numbers too large for their floating type to tell them from their neighbours
    - NumPy dates, and objects that define no equality of their own
    - labels of several kinds (1 and "1" would be different people, 1 and True the same)
    - text, a set, a mapping or a table in place of the sequence
    """
    if isinstance(values, (str, bytes, bytearray, Mapping, Set)) or not hasattr(values, "__iter__"):
        raise ValueError(f"{name} must be a sequence of labels, one per image, not {type(values).__name__}")
    shape = getattr(values, "shape", None)
    if shape is not None and len(shape) != 1:
        raise ValueError(f"{name} must be one label per image, not an array of shape {tuple(shape)}")
    if shape is None and not hasattr(values, "__len__"):
        raise ValueError(
            f"{name} must be a sequence of labels, not {type(values).__name__}: make a list of it"
        )
    labels = _plain(values, name)
    types = set(map(type, labels))
    kinds = set(map(kind_of, labels)) if tuple in types else {_KINDS.get(t, t.__name__) for t in types}
    if len(kinds) > 1:
        raise ValueError(f"{name} mix {' and '.join(sorted(kinds))}; give all labels in one form")
    return labels


def integer_labels(values: Any, name: str) -> NDArray[np.int64]:
    """The labels of a sequence as int64 [N], for data sets, whose identities and cameras are numbers.

    Raises ValueError as `read_labels`, and for labels that are no 64-bit integers.
    """
    if type(values) is np.ndarray and values.ndim == 1 and values.dtype == np.int64:
        return values
    labels = read_labels(values, name)
    if labels and kind_of(labels[0]) != "integers":
        raise ValueError(f"{name} must be integers, not {kind_of(labels[0])}")
    try:
        return np.array(labels, dtype=np.int64)
    except OverflowError as error:
        raise ValueError(f"{name} hold integers beyond 64 bits; number them anew") from error


def kind_of(label: Hashable) -> str:
    """The kind of a label in words, such as "integers" or "text". Labels of different kinds are never compared."""
    if isinstance(label, tuple):
        return f"tuples of ({', '.join(map(kind_of, label))})"
    return _KINDS.get(type(label), type(label).__name__)


def as_array(value: Any) -> NDArray[Any]:
    """A NumPy array of an array, list or tensor on any device, not copied where possible. Does not import torch."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if "bfloat16" in str(value.dtype) else value
        value = value.numpy()
    return np.asarray(value)


def _plain(values: Any, name: str) -> list[Hashable]:
    """The labels as a list. Integer arrays, the usual case, are converted at once, other values one by one."""
    exact = _exact_below(getattr(values, "dtype", None))
    if hasattr(values, "detach"):
        values = as_array(values)
    if isinstance(values, np.ndarray):
        if values.dtype.kind in "Mm":
            raise ValueError(f"{name} are {values.dtype}; give dates as text or integers")
        if type(values) is np.ndarray and values.dtype.kind in "iub":
            return list(values.tolist())
        values = values.tolist()
    elif hasattr(values, "to_pylist"):
        values = values.to_pylist()
    return [_label(value, name, row, exact) for row, value in enumerate(values)]


def _label(value: Any, name: str, row: int, exact: float) -> Hashable:
    """One label as a plain Python value. A whole number in floating point must be smaller than `exact`."""
    if isinstance(value, (np.datetime64, np.timedelta64)):
        raise ValueError(f"{name}[{row}] is a date of NumPy, {value!r}; give dates as text or integers")
    if hasattr(value, "ndim") and hasattr(value, "item"):  # a NumPy or torch value
        if value.ndim:
            raise ValueError(f"{name}[{row}] is an array of shape {tuple(value.shape)}, not one label")
        exact = _exact_below(value.dtype)
        value = value.item()
    if isinstance(value, (bool, bytes)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return _whole(value, name, row, exact)
    if isinstance(value, str):
        return canonical(value)
    if isinstance(value, tuple):
        return tuple(_label(part, name, row, exact) for part in value)
    try:
        known = value is not None and bool(value == value)
        hash(value)
    except Exception as error:  # pandas' NA and arrays are neither true nor false, lists have no hash
        missing = type(value).__name__ == "NAType"
        what = "is missing" if missing else "cannot be compared as a label"
        raise ValueError(f"{name}[{row}] {what}: {value!r}") from error
    if not known:
        raise ValueError(f"{name}[{row}] is missing: {value!r}")
    if getattr(type(value), "__hash__", None) == object.__hash__:
        raise ValueError(f"{name}[{row}] has no equality of its own: {value!r}; give integers or text")
    label: Hashable = value
    return label


def _whole(value: float, name: str, row: int, exact: float) -> int:
    if not (np.isfinite(value) and value == int(value)):
        raise ValueError(
            f"{name}[{row}] is {value}; labels must be integers or strings, or other values that are compared exactly"
        )
    if abs(value) >= exact:
        raise ValueError(
            f"{name}[{row}] is {value:.17g} in floating point, which cannot tell such numbers apart; give integers"
        )
    return int(value)


def _exact_below(dtype: Any) -> float:
    """The bound below which a floating type can tell whole numbers apart. Other types get that of Python's float."""
    dtype = getattr(dtype, "numpy_dtype", dtype)  # pandas' types wrap a NumPy type
    if isinstance(dtype, np.dtype) and dtype.kind == "f":
        return 2 / float(np.finfo(dtype).eps)
    if getattr(dtype, "is_floating_point", False):
        import torch

        return 2 / torch.finfo(dtype).eps
    return 2.0**53
