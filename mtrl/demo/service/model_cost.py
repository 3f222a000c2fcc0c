"""What a stranger's model would cost, worked out from shapes: nothing of it is computed and no memory is taken."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from mtrl.demo.service.service import ENCODED_TOGETHER
from mtrl.models.fake_weights import fake_weights
from mtrl.models.reid import MTRL

MAX_PIXELS = 512 * 256
MAX_ACTIVATIONS = 2 << 30  # bytes of the largest intermediate result while the gallery is encoded
MAX_SECONDS = 300  # for the whole gallery
MAX_IMAGE_SECONDS = 2.0
MAX_TRACING = 30.0  # seconds to follow the network's shapes
# What one core of a server does in a second with networks like these, measured on AMD EPYC: multiplications and
# additions, and bytes that are written.
OPERATIONS, WRITTEN = 40e9, 4e9


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of one image: operations, bytes of all intermediate results together, and of the largest one."""

    operations: float
    written: float
    largest: int

    @property
    def seconds(self) -> float:
        return self.operations / OPERATIONS + self.written / WRITTEN


class _Results(TorchDispatchMode):
    """Adds up the sizes of the results of all operations."""

    def __init__(self) -> None:
        super().__init__()
        self.written = self.largest = 0
        self._end = time.monotonic() + MAX_TRACING

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "attention" in str(function):  # a fused one, which the counter takes for free
            raise RuntimeError(f"the cost of {function} is not known")
        result = function(*args, **(kwargs or {}))
        size = sum(t.numel() * t.element_size() for t in tree_leaves(result) if isinstance(t, Tensor))
        self.written += size
        self.largest = max(self.largest, size)
        if time.monotonic() > self._end:
            raise ValueError("this model has too many layers for this page")
        return result


def cost_of(model: MTRL) -> Cost:
    """The cost of encoding one image. Raises ValueError for a network whose shapes depend on the image's content."""
    shapes, weights = fake_weights(model)
    results, operations = _Results(), FlopCounterMode(display=False)
    try:
        # Plain attention: its products count, and it holds all pairs, as it may have to here.
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), shapes, operations, results:
            image = torch.empty(1, 3, *model.config.image_size)
            torch.func.functional_call(model, weights, (image, 0))
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError) as error:
        said = str(error).strip().partition("\n")[0]
        raise ValueError(f"this model cannot encode a picture: {said}") from error
    return Cost(operations.get_total_flops(), results.written, results.largest)


def check_cost(model: MTRL, images: int) -> None:
    """Raises ValueError for a model that would take too much memory or time on a gallery of `images`.

    A small file can describe a network with very wide layers, or with very many small patches.
    """
    height, width = model.config.image_size
    if height * width > MAX_PIXELS:
        raise ValueError(
            f"this model reads pictures of {height} × {width} pixels; this page loads models of up to "
            f"{MAX_PIXELS:,} pixels, such as 512 × 256"
        )
    cost = cost_of(model)
    if cost.largest * ENCODED_TOGETHER > MAX_ACTIVATIONS:
        raise ValueError(
            f"this model needs {cost.largest / 2**20:,.0f} MB per picture and layer; too much for this page"
        )
    if cost.seconds > MAX_IMAGE_SECONDS:
        raise ValueError(
            f"this model would take about {cost.seconds:,.0f} seconds for one picture; this page allows "
            f"{MAX_IMAGE_SECONDS:.0f}"
        )
    if cost.seconds * images > MAX_SECONDS:
        raise ValueError(
            f"this model would take about {cost.seconds * images / 60:,.0f} minutes for the {images} pictures of the "
            f"gallery; this page allows {MAX_SECONDS // 60}"
        )
