"""Reads labels of images from any sequence, by position and without rounding.

A label is an integer of any size, text, bytes, a boolean, a tuple of these, or another hashable value with an equality
of its own (a UUID, an enum, a date). Labels are compared as Python compares them, text after Unicode's NFC
normalisation: composed and decomposed accents are one name. What equality would surprise with is refused.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrl.labels.names import canonical

_KINDS = {bool: "booleans", int: "integers", str: "text", bytes: "bytes"}


def read_labels(values: Any, name: str) -> list[Hashable]:
    """Labels as plain Python values, by position, whatever holds them: a list, an array of NumPy (objects, text and
    bytes too), torch or Arrow, a pandas or polars column, a categorical.

    Whole numbers in floating point are integers. Raises ValueError, naming the label, for what has no certain
    equality: None, NaN, infinity and other missing values; fractions; whole numbers in a floating type that cannot
    tell them from their neighbours; dates of NumPy; objects without an equality of their own; labels of several kinds
    (1 and "1" would be different people, 1 and True the same). Also for what is no sequence: text, a set, a
    mapping, a table.
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
    """int64 [N]: labels of a data set, which numbers its identities and cameras.

    Raises ValueError as `read_labels`, and for labels that are no integers of 64 bits.
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
    """The kind of a label in words: "integers", "text", ... Labels of different kinds are never compared."""
    if isinstance(label, tuple):
        return f"tuples of ({', '.join(map(kind_of, label))})"
    return _KINDS.get(type(label), type(label).__name__)


def as_array(value: Any) -> NDArray[Any]:
    """numpy view of an array, list or tensor (any device); torch itself is not needed here."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if "bfloat16" in str(value.dtype) else value
        value = value.numpy()
    return np.asarray(value)


def _plain(values: Any, name: str) -> list[Hashable]:
    """The labels one by one; arrays of integers, the usual case, at once."""
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
    """One label as a plain Python value; whole numbers in floating point must be below `exact`."""
    if isinstance(value, (np.datetime64, np.timedelta64)):
        raise ValueError(f"{name}[{row}] is a date of NumPy, {value!r}; give dates as text or integers")
    if hasattr(value, "ndim") and hasattr(value, "item"):  # of NumPy or torch
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
    except Exception as error:  # pandas' NA has no truth, lists have no hash, arrays have many truths
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
    """Whole numbers below this differ from their neighbours in a floating type; of other types, in Python's."""
    dtype = getattr(dtype, "numpy_dtype", dtype)  # pandas' own types wrap one of NumPy
    if isinstance(dtype, np.dtype) and dtype.kind == "f":
        return 2 / float(np.finfo(dtype).eps)
    if getattr(dtype, "is_floating_point", False):
        import torch

        return 2 / torch.finfo(dtype).eps
    return 2.0**53
