"""Checks a checkpoint before it is loaded or saved: its settings, and whether its tensors fit the network.

A configuration may come from an unknown source, so the memory for building its network is limited.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mtrl.files.untrusted import MODEL
from mtrl.hub.client import WEIGHTS
from mtrl.models.checkpoint.weights import Shapes, check_outline, parse_config, shapes_of
from mtrl.models.config import POOLINGS, ModelConfig

FORMAT = MODEL
_MAX_ARGUMENT = 8192
_MAX_BLOCKS = 256
_KINDS = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}
_NAMES = ["empty", "empty_strided", "zeros", "ones", "full", "eye", "arange", "linspace", "logspace"]
_MAKERS = frozenset(getattr(torch, name) for name in [*_NAMES, "rand", "randn", "randint", "normal"])
_SPARE_TENSORS, _SPARE_BYTES = 300, 1 << 25  # small tables that a network computes while it is built

Builder = Callable[[ModelConfig], nn.Module]


def parse_settings(text: str, where: str) -> tuple[ModelConfig, str]:
    """(model settings, checksum) from the text of an untrusted `config.json`. Raises ValueError."""
    return parse_config(text, where, FORMAT, _settings)


def expected_tensors(config: ModelConfig, shapes: Shapes, build: Builder) -> dict[str, Tensor]:
    """The state dict of the network that `build` makes from `config`. Usually on the meta device, without values.

    shapes  shapes of the tensors in the checkpoint's file, which limit the memory that building may take
    Raises ValueError for settings from which no network can be built.
    """
    odd = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError)
    try:
        try:
            with torch.device("meta"), AllocationLimit(shapes, count_bytes=False):
                model = build(config)
        except ValueError:  # the configuration is wrong, or timm needs real values while it builds this model
            with torch.random.fork_rng(devices=[]), AllocationLimit(shapes, count_bytes=True):
                model = build(config)
    except odd as error:  # errors of timm for unusual arguments
        raise ValueError(f"it describes no model that can be built: {error}") from error
    return model.state_dict()


def check_loads(tensors: Mapping[str, Tensor], config: ModelConfig, build: Builder) -> None:
    """Raises ValueError if weights could not be loaded again with this configuration."""
    found = {n: (_KINDS.get(v.dtype, str(v.dtype)), tuple(v.shape)) for n, v in tensors.items()}
    try:
        if config.pooling == "auto":
            raise ValueError("its pooling was left open")
        check_outline(found, expected_tensors(config, shapes_of(found), build), Path(WEIGHTS))
    except ValueError as error:
        raise ValueError(
            f"this network is not the one that its config describes, so it could not be loaded again ({error}); "
            "save its state_dict yourself, or undo what was changed in it"
        ) from error


def _settings(values: dict[str, Any]) -> ModelConfig:
    values.setdefault("pooling", "gem")  # in older files without this entry, all models had GeM
    config = ModelConfig.from_dict(values)
    if config.pooling == "auto":
        raise ValueError(f'a saved model names its pooling: one of {POOLINGS[1:]}, not "auto"')
    _check_arguments(config.backbone_args, depth=0)
    return config


def _check_arguments(value: Any, depth: int, limit: int = _MAX_ARGUMENT) -> None:
    """Limits the size of what `backbone_args` can make timm build. Raises ValueError."""
    if isinstance(value, (dict, list)):
        if depth > 3 or len(value) > 64:
            raise ValueError("backbone_args are nested too deeply or have too many entries")
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            _check_arguments(item, depth + 1, _MAX_BLOCKS if key in ("layers", "depth", "depths") else limit)
    elif isinstance(value, (int, float)) and not abs(value) <= limit:
        raise ValueError(f"backbone_args hold {value!r}; numbers up to {limit} are accepted there")
    elif isinstance(value, str) and len(value) > 256:
        raise ValueError("backbone_args hold a text of more than 256 characters")


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
