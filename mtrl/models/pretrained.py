"""Local files of timm's ImageNet weights: reading them, and what they say of themselves.

A .safetensors file may name, in its metadata, the normalisation that its weights expect, where they come from and
their licence; `python -m train imagenet` writes all three. A .pth file holds tensors alone.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtrl.files.untrusted import damaged, open_tensors

SUFFIXES = (".safetensors", ".pth")


@dataclasses.dataclass(frozen=True)
class WeightsOrigin:
    """Where a file of weights comes from. Empty or None where the file does not say.

    backbone   timm model name that the tensors belong to
    source     where the weights come from, in words
    license    an SPDX identifier in lower case, e.g. "apache-2.0"
    mean, std  per-channel normalisation of images in [0, 1]
    """

    backbone: str = ""
    source: str = ""
    license: str = ""
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None

    def metadata(self) -> dict[str, str]:
        """The metadata of a .safetensors file; `read_origin` is its inverse."""
        values = {key: value for key, value in dataclasses.asdict(self).items() if value}
        return {"format": "pt"} | {
            key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()
        }


def read_origin(path: str | Path) -> WeightsOrigin:
    """What a file says of its weights. Raises FileNotFoundError, or ValueError for a damaged file."""
    path = existing(path)
    if path.suffix != ".safetensors":
        return WeightsOrigin()
    with open_tensors(path) as opened:
        given = opened.metadata() or {}
    names = {"backbone", "source", "license"}
    texts = {name: str(given[name]) for name in names & given.keys()}
    return WeightsOrigin(**texts, mean=_three(path, given, "mean"), std=_three(path, given, "std"))


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Tensors by name, on the CPU; of a training checkpoint its "state_dict" or "model". Only tensors are
    read: a file cannot run anything.

    Raises FileNotFoundError for a file that is missing or of another kind, ValueError for one that is damaged or
    holds anything else.
    """
    path = existing(path)
    if path.suffix == ".safetensors":
        with open_tensors(path) as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    try:
        values: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and its reader of archives raise errors of many kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(damaged(path, reason)) from error
    for key in ("state_dict", "model"):
        if isinstance(values, dict) and isinstance(values.get(key), dict):
            values = values[key]
    if not isinstance(values, dict) or not values or not all(isinstance(v, Tensor) for v in values.values()):
        raise ValueError(f"{path} does not hold weights: a mapping of names to tensors was expected")
    return dict(values)


def existing(path: str | Path) -> Path:
    """The path of a file of weights. Raises FileNotFoundError."""
    path = Path(path)
    if path.suffix not in SUFFIXES or not path.is_file():
        raise FileNotFoundError(
            f"pretrained weights must be an existing {' or '.join(SUFFIXES)} file, not {path}"
        )
    return path


def _three(path: Path, given: dict[str, str], name: str) -> tuple[float, float, float] | None:
    if name not in given:
        return None
    try:
        first, second, third = map(float, json.loads(given[name]))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: its metadata must give {name} as three numbers") from error
    return first, second, third
