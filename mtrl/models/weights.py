"""The two files of a saved network, `config.json` and `model.safetensors`: written atomically, read strictly.

Models and translators are stored this way. The weights file repeats the configuration and holds a checksum of its
tensors, so that a damaged file, or two files that do not belong together, are refused. Nothing in them is executed.
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
from mtrl.models.wrappers import plain_names

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
    """Writes the weights, with `card` also `README.md`, and last `config.json` into `folder`, each atomically.

    form      what `config.json` says under "format", e.g. "mtrl-1"
    settings  the network's configuration as JSON values
    tensors   as `stored` gives them
    Raises OSError when the folder cannot be written.
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
    """(configuration, state dict) from a folder; floating-point tensors as float32, names those of the network.

    what      "checkpoint" or "translator", for the message about missing files
    parse     (JSON text, its place for messages) -> (configuration, checksum); see `parse_config`
    expected  (configuration, shapes in the file) -> the network's tensors, which may be without content
    Types, names and shapes are compared with the file's header before a tensor is read. Raises FileNotFoundError for
    missing files, ValueError for files that are damaged, foreign or do not fit.
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
    """(configuration, checksum) from JSON that may come from anywhere.

    where  the file, for messages;  form: what it must say under "format"
    build  makes the configuration from the remaining values, and raises ValueError for bad ones
    Raises ValueError.
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
    """Compares the names, types and shapes in a file's header with a network's tensors.

    Returns {name in the file: name in the network}. Raises ValueError for a tensor too few, too many or too different.
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
    """The shapes alone."""
    return {name: shape for name, (_, shape) in found.items()}


def parse_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """A storage type by its name; None stays None. Raises ValueError."""
    if dtype is None or dtype in _DTYPES.values():
        return dtype  # type: ignore[return-value]
    if dtype not in _DTYPES:
        raise ValueError(f"dtype must be one of {sorted(_DTYPES)}, not {dtype!r}")
    return _DTYPES[str(dtype)]


def stored(name: str, value: Tensor, dtype: torch.dtype | None) -> Tensor:
    """A tensor as it is written: on the CPU, contiguous, in `dtype` or float32.

    Vectors stay float32: they are small, and a variance may lie outside the range of float16. Raises ValueError for
    values that are not finite or overflow `dtype`.
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
    """The checksum in the weights file, whose configuration must be that of `config.json`.

    The checksum in `config.json` is not compared: a save that stopped between its two renames still loads.
    """
    if "mtrl" not in metadata:
        raise ValueError(f"{path} was not written by this library: it holds no configuration")
    own, checksum = parse(metadata["mtrl"], str(path))
    if own != config:
        raise ValueError(f"{path} belongs to another {CONFIG} than the one beside it; restore the pair")
    return checksum
