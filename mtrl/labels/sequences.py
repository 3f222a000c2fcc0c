"""Reads the elements of any kind of sequence in order: lists, arrays, tensors, columns of a table."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any


def by_position(values: Any, what: str, axes: tuple[int, ...] = (1,)) -> list[Any]:
    """The elements, in order, of a list, tuple, range, array, tensor, or column of a table (pandas, pyarrow, polars).

    They are not looked up by index, since [0] is not the first element of a pandas Series that was sorted or filtered.
    what  name of the values in errors
    axes  numbers of axes that an array may have
    Raises ValueError for text, for values without order or length (a dict, a set, a generator), and for whole tables.
    """
    kind = type(values)
    sized = hasattr(kind, "__len__") and (hasattr(kind, "__iter__") or hasattr(kind, "__getitem__"))
    unfit = isinstance(values, (str, bytes, bytearray, memoryview, Mapping, Set)) or hasattr(kind, "columns")
    if not sized or unfit or getattr(values, "ndim", axes[0]) not in axes:
        shape = f" of shape {list(values.shape)}" if hasattr(kind, "shape") else ""
        raise ValueError(
            f"{what} must be a list or another sequence in a fixed order, such as a column of a table, not "
            f"{kind.__name__}{shape}"
        )
    if hasattr(kind, "detach"):  # a tensor: iterating it would give tensors
        return list(values.detach().cpu().tolist())
    if hasattr(kind, "to_pylist"):  # a pyarrow column: iterating it would give pyarrow scalars
        return list(values.to_pylist())
    return list(values) if hasattr(kind, "__iter__") else [values[place] for place in range(len(values))]
