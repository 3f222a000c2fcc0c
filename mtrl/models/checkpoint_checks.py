"""Checks of a checkpoint before it is loaded or saved: its settings, and its tensors against the network they describe.

A configuration may come from a stranger, so building the network that it describes is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mtrl.hub.client import WEIGHTS
from mtrl.models.allocation_limit import AllocationLimit
from mtrl.models.config import POOLINGS, ModelConfig
from mtrl.models.weights import Shapes, check_outline, parse_config, shapes_of

FORMAT = "mtrl-1"
_MAX_ARGUMENT = 8192
_MAX_BLOCKS = 256
_KINDS = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}

Builder = Callable[[ModelConfig], nn.Module]


def parse_settings(text: str, where: str) -> tuple[ModelConfig, str]:
    """(model settings, checksum) from the text of `config.json`, which may come from anywhere. Raises ValueError."""
    return parse_config(text, where, FORMAT, _settings)


def expected_tensors(config: ModelConfig, shapes: Shapes, build: Builder) -> dict[str, Tensor]:
    """The state dict of the network that `build` makes of `config`, mostly without content.

    Building may take no more memory than tensors of these `shapes` would. Raises ValueError for settings of which
    no network can be built.
    """
    odd = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError)
    try:
        try:
            with torch.device("meta"), AllocationLimit(shapes, count_bytes=False):
                model = build(config)
        except ValueError:  # the configuration is bad, or this timm computes with real values while it builds
            with torch.random.fork_rng(devices=[]), AllocationLimit(shapes, count_bytes=True):
                model = build(config)
    except odd as error:  # what timm makes of arguments that nobody has tried
        raise ValueError(f"it describes no model that can be built: {error}") from error
    return model.state_dict()


def check_loads(tensors: Mapping[str, Tensor], config: ModelConfig, build: Builder) -> None:
    """Raises ValueError for weights that could not be loaded again with this configuration."""
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
    values.setdefault("pooling", "gem")  # files without the entry are older than it: all models had GeM then
    config = ModelConfig.from_dict(values)
    if config.pooling == "auto":
        raise ValueError(f'a saved model names its pooling: one of {POOLINGS[1:]}, not "auto"')
    _check_arguments(config.backbone_args, depth=0)
    return config


def _check_arguments(value: Any, depth: int, limit: int = _MAX_ARGUMENT) -> None:
    """Bounds what `backbone_args` can make timm build before any weight was compared."""
    if isinstance(value, (dict, list)):
        if depth > 3 or len(value) > 64:
            raise ValueError("backbone_args are nested too deeply or have too many entries")
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            _check_arguments(item, depth + 1, _MAX_BLOCKS if key in ("layers", "depth", "depths") else limit)
    elif isinstance(value, (int, float)) and not abs(value) <= limit:
        raise ValueError(f"backbone_args hold {value!r}; numbers up to {limit} are accepted there")
    elif isinstance(value, str) and len(value) > 256:
        raise ValueError("backbone_args hold a text of more than 256 characters")
