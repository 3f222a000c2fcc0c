"""Takes the elements of any sequence by position: lists, arrays, tensors, columns of a table."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any


def by_position(values: Any, what: str, axes: tuple[int, ...] = (1,)) -> list[Any]:
    """The elements of a list, tuple, range, 1-D array or tensor, or of a column of a table (pandas, pyarrow, polars),
    in their order.

    Nothing is looked up by index: in a pandas Series that was sorted or filtered, [0] is not the first element. `what`
    names the values in errors; `axes` are the numbers of axes that an array may have. Raises ValueError for text, for
    what has no order or no length (a dict, a set, a generator), and for whole tables.
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
    if hasattr(kind, "detach"):  # a tensor, whose elements would be tensors
        return list(values.detach().cpu().tolist())
    if hasattr(kind, "to_pylist"):  # a column of pyarrow, whose elements would be its own scalars
        return list(values.to_pylist())
    return list(values) if hasattr(kind, "__iter__") else [values[place] for place in range(len(values))]
