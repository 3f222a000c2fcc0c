"""Reads local files of timm's ImageNet weights, and the records of their origin.

The metadata of a .safetensors file may name the normalisation that its weights expect, their source and their licence;
`python -m train imagenet` writes all three. A .pth file holds only tensors.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from timm.models import clean_state_dict
from torch import Tensor, nn

from mtrl.files.untrusted import damaged, named_file, open_tensors

SUFFIXES = (".safetensors", ".pth")


@dataclasses.dataclass(frozen=True)
class WeightsOrigin:
    """Where weights come from, as their file records it. Fields that the file lacks are empty or None.

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
        """The record as metadata of a .safetensors file, which `read_origin` reads."""
        values = {key: value for key, value in dataclasses.asdict(self).items() if value}
        return {"format": "pt"} | {
            key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()
        }


def read_origin(path: str | Path) -> WeightsOrigin:
    """Reads the origin of the weights in a file. Raises FileNotFoundError, or ValueError for a damaged file."""
    path = existing(path)
    if path.suffix != ".safetensors":
        return WeightsOrigin()
    with open_tensors(named_file(path)) as opened:
        given = opened.metadata() or {}
    names = {"backbone", "source", "license"}
    texts = {name: str(given[name]) for name in names & given.keys()}
    return WeightsOrigin(**texts, mean=_three(path, given, "mean"), std=_three(path, given, "std"))


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Reads weights from a .safetensors or .pth file: {name: tensor on the CPU}. Executes no code.

    Of a training checkpoint, its entry "state_dict" or "model" is taken, and "module." before all names is removed, as
    timm does. Raises FileNotFoundError for a file that is
    missing or of another kind, and ValueError for one that is damaged or holds something other than tensors.
    """
    path = existing(path)
    if path.suffix == ".safetensors":
        with open_tensors(named_file(path)) as opened:
            values: Any = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    else:
        values = _unpacked(path)
    if not isinstance(values, dict) or not values or not all(isinstance(v, Tensor) for v in values.values()):
        raise ValueError(f"{path} does not hold weights: a mapping of names to tensors was expected")
    return clean_state_dict(values)


def _unpacked(path: Path) -> Any:
    """The content of a .pth file, of a training checkpoint its weights."""
    try:
        values: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises errors of many kinds for damaged files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(damaged(path, reason)) from error
    for key in ("state_dict", "model"):
        if isinstance(values, dict) and isinstance(values.get(key), dict):
            values = values[key]
    return values


def check_complete(weights: Mapping[str, Tensor], body: nn.Module) -> None:
    """Raises RuntimeError unless the weights have each parameter and each running statistic of a timm model.

    timm itself loads the tensors whose names fit, and leaves the others at random without an error.
    """
    wanted = {name for name, _ in body.named_parameters()}
    wanted |= {name for name, _ in body.named_buffers() if name.endswith(("running_mean", "running_var"))}
    missing = wanted - weights.keys()
    if missing:  # timm may know how to rename the tensors of another library
        rename = getattr(sys.modules[type(body).__module__], "checkpoint_filter_fn", None)
        missing -= _renamed(rename, weights, body) if rename is not None else set()
    if missing:
        raise RuntimeError(
            f"the file lacks {len(missing)} of {len(wanted)} tensors, first {min(missing)}; it begins with "
            f"{min(weights)}"
        )


def _renamed(
    rename: Callable[..., Mapping[str, Tensor]], weights: Mapping[str, Tensor], body: nn.Module
) -> set[str]:
    try:
        return set(rename(dict(weights), body))
    except TypeError:  # some of timm's take the weights alone
        return set(rename(dict(weights)))


def existing(path: str | Path) -> Path:
    """The path of a weights file. Raises FileNotFoundError if it does not exist."""
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
