"""A bound on what building a network may take, for configurations that come from strangers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_NAMES = ["empty", "empty_strided", "zeros", "ones", "full", "eye", "arange", "linspace", "logspace"]
_MAKERS = frozenset(getattr(torch, name) for name in [*_NAMES, "rand", "randn", "randint", "normal"])
_SPARE_TENSORS, _SPARE_BYTES = 300, 1 << 25  # small tables that a network computes while it is built


class Allowance(TorchFunctionMode):
    """While entered, new tensors are counted before they take memory; above the allowance ValueError is raised.

    shapes  those of the tensors that the network is to hold in the end, as the header of its file gives them
    sized   bound the bytes too, not only the number of tensors (which is what takes time)
    """

    def __init__(self, shapes: Mapping[str, Sequence[int]], sized: bool) -> None:
        super().__init__()
        self.sized = sized
        # float32, and twice: a stem may be copied, and layers are built before they are replaced
        self.bytes = 2 * 4 * sum(math.prod(shape) for shape in shapes.values()) + _SPARE_BYTES
        self.tensors = 4 * len(shapes) + _SPARE_TENSORS

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _MAKERS:
            self.tensors -= 1
            if self.sized:
                self.bytes -= func(*args, **{**kwargs, "device": "meta"}).nbytes
            if self.tensors < 0 or self.bytes < 0:
                raise ValueError("its model is larger than the tensors beside it")
        return func(*args, **kwargs)
