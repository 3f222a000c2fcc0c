"""A limit on the memory that building a network may take, for configurations from unknown sources."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_NAMES = ["empty", "empty_strided", "zeros", "ones", "full", "eye", "arange", "linspace", "logspace"]
_MAKERS = frozenset(getattr(torch, name) for name in [*_NAMES, "rand", "randn", "randint", "normal"])
_SPARE_TENSORS, _SPARE_BYTES = 300, 1 << 25  # small tables that a network computes while it is built


class AllocationLimit(TorchFunctionMode):
    """Context manager that counts every new tensor before it is allocated. Raises ValueError above the limit.

    shapes       shapes of the tensors in the network's file, from the file's header
    count_bytes  True limits the number of tensors and their bytes; False only the number, since each takes time
    """

    def __init__(self, shapes: Mapping[str, Sequence[int]], count_bytes: bool) -> None:
        super().__init__()
        self.count_bytes = count_bytes
        # 4 bytes for float32. Twice, since a stem may be copied, and some layers are built and then replaced.
        self.bytes_left = 2 * 4 * sum(math.prod(shape) for shape in shapes.values()) + _SPARE_BYTES
        self.tensors_left = 4 * len(shapes) + _SPARE_TENSORS

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _MAKERS:
            self.tensors_left -= 1
            if self.count_bytes:
                self.bytes_left -= func(*args, **{**kwargs, "device": "meta"}).nbytes
            if self.tensors_left < 0 or self.bytes_left < 0:
                raise ValueError("its model is larger than the tensors beside it")
        return func(*args, **kwargs)
