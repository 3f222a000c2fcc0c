"""Writes and reads the two files of a saved network, `config.json` and `model.safetensors`.

Models and translators are stored this way. The weights file repeats the configuration and holds a checksum of its
tensors. So a damaged file, or two files that do not belong together, are refused. Reading executes no code.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from mtrl.files.atomic import make_folder, write_atomically
from mtrl.files.tensor_file import tensor_bytes, tensor_digest
from mtrl.files.untrusted import (
    FLOATS,
    check_finite,
    damaged,
    inside,
    open_tensors,
    outline,
    parse_object,
    read_limited,
)
from mtrl.hub.client import CARD, CONFIG, WEIGHTS
from mtrl.models.checkpoint.wrappers import plain_names

Config = TypeVar("Config")
Shapes = Mapping[str, tuple[int, ...]]  # tensor name -> shape
Outline = Mapping[str, tuple[str, tuple[int, ...]]]  # tensor name -> (type as "F32", shape)

_COUNTS = ("I64",)  # types in which integer tensors are stored
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def write_files(
    folder: Path,
    form: str,
    settings: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    card: str | None = None,
) -> None:
    """Writes a network into `folder`: the weights, then `README.md` if there is a card, then `config.json`.

    Each file is written atomically.
    form      value of "format" in `config.json`, such as "mtrl-1"
    settings  the network's configuration as JSON values
    tensors   tensors by name, each prepared by `stored`
    card      text of `README.md`
    Raises OSError if the folder cannot be written.
    """
    values = {"format": form, **settings, "sha256": tensor_digest(tensors)}
    text = json.dumps(values, indent=1, allow_nan=False)
    make_folder(folder)
    write_atomically(folder / WEIGHTS, tensor_bytes(tensors, {"format": "pt", "mtrl": text}))
    if card is not None:
        write_atomically(folder / CARD, card.encode())
    write_atomically(folder / CONFIG, (text + "\n").encode())


def read_files(
    folder: Path,
    what: str,
    parse: Callable[[str, str], tuple[Config, str]],
    expected: Callable[[Config, Shapes], Mapping[str, Tensor]],
) -> tuple[Config, dict[str, Tensor]]:
    """Reads a network from a folder: (configuration, state dict). Floating-point tensors become float32.

    what      "checkpoint" or "translator", for the message about missing files
    parse     (JSON text, where it comes from) -> (configuration, checksum); see `parse_config`
    expected  (configuration, shapes in the file) -> the network's state dict; only names, types and shapes are used
    Names, types and shapes in the file's header are compared with `expected` before any tensor is read. Raises
    FileNotFoundError for missing files, ValueError for files that are damaged, of another program or do not fit.
    """
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{folder} is no {what}: it lacks {' and '.join(missing)}")
    config, _ = parse(read_limited(folder / CONFIG), str(folder / CONFIG))
    path = inside(folder / WEIGHTS)
    with open_tensors(path) as file:
        digest = _recorded_checksum(file.metadata() or {}, config, path, parse)
        found = outline(file)
        try:
            wanted = expected(config, shapes_of(found))
        except ValueError as error:
            raise ValueError(f"{folder / CONFIG}: {error}") from error
        names = check_outline(found, wanted, path)
        tensors = {name: file.get_tensor(name) for name in names}
    if tensor_digest(tensors) != digest:
        raise ValueError(damaged(path, "its checksum differs"))
    check_finite(tensors, path)
    return config, {
        names[name]: value.float() if value.is_floating_point() else value for name, value in tensors.items()
    }


def parse_config(
    text: str, where: str, form: str, build: Callable[[dict[str, Any]], Config]
) -> tuple[Config, str]:
    """(configuration, checksum) from JSON text of an unknown source.

    where  name of the file, for messages
    form   required value of "format"
    build  makes the configuration from the remaining values, and raises ValueError for bad ones
    Raises ValueError for other text.
    """
    values = parse_object(text, where, form)
    checksum = values.pop("sha256", None)
    if not isinstance(checksum, str):
        raise ValueError(f"{where} lacks the checksum sha256")
    try:
        return build(values), checksum
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def check_outline(found: Outline, expected: Mapping[str, Tensor], path: Path) -> dict[str, str]:
    """Compares the names, types and shapes in a file's header with a network's state dict, `expected`.

    Returns {name in the file: name in the network}. Raises ValueError for a tensor that is missing, unknown, or of
    another shape or type.
    """
    names = plain_names(found, expected)
    found = {names[name]: about for name, about in found.items()}
    for word, wrong in (
        ("lacks", expected.keys() - found.keys()),
        ("has unknown", found.keys() - expected.keys()),
    ):
        if wrong:
            raise ValueError(
                f"{path} {word} {len(wrong)} tensors, first {min(wrong)}; it is not this model's file"
            )
    for name, value in expected.items():
        kind, shape = found[name]
        if shape != tuple(value.shape):
            raise ValueError(f"{path}: {name} is {list(shape)}, but {CONFIG} describes {list(value.shape)}")
        if kind not in (FLOATS if value.is_floating_point() else _COUNTS):
            raise ValueError(f"{path}: {name} is of type {kind}, in which no such tensor is stored")
    return names


def shapes_of(found: Outline) -> dict[str, tuple[int, ...]]:
    """{tensor name: shape} of a file's header."""
    return {name: shape for name, (_, shape) in found.items()}


def parse_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """The torch type of a name in which weights can be stored; None for None. Raises ValueError for others."""
    if dtype is None or dtype in _DTYPES.values():
        return dtype  # type: ignore[return-value]
    if dtype not in _DTYPES:
        raise ValueError(f"dtype must be one of {sorted(_DTYPES)}, not {dtype!r}")
    return _DTYPES[str(dtype)]


def stored(name: str, value: Tensor, dtype: torch.dtype | None) -> Tensor:
    """A copy of a tensor in the form in which it is saved: on the CPU, contiguous, in `dtype` or float32.

    Floating-point vectors and scalars stay float32: they are small, and a variance may lie outside the range of
    float16. Integers keep their type. Raises ValueError for values that are not finite or overflow `dtype`.
    """
    value = value.detach().cpu()
    if value.is_floating_point():
        value = value.to(dtype) if dtype is not None and value.ndim >= 2 else value.float()
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"{name} holds values that are not finite, or too large for {dtype}; not saved")
    return value.contiguous().clone()


def _recorded_checksum(
    metadata: Mapping[str, str], config: Config, path: Path, parse: Callable[[str, str], tuple[Config, str]]
) -> str:
    """The checksum in the metadata of the weights file. Its configuration must equal that of `config.json`.

    The checksum in `config.json` is not compared, so that a folder still loads if saving over it stopped between the
    two files.
    """
    if "mtrl" not in metadata:
        raise ValueError(f"{path} was not written by this library: it holds no configuration")
    own, checksum = parse(metadata["mtrl"], str(path))
    if own != config:
        raise ValueError(f"{path} belongs to another {CONFIG} than the one beside it; restore the pair")
    return checksum
