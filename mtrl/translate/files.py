"""Saves and loads a learned translator: `config.json` and `model.safetensors`, checked as strictly as a checkpoint."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

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
from mtrl.hub.client import CONFIG, WEIGHTS
from mtrl.models.checkpoint import parse_dtype, stored, tensor_digest, write_files
from mtrl.models.wrappers import plain_names, plain_state

from .learned import Learned, LearnedConfig

FORMAT = "mtrl-translator-1"
SHIPPED = Path(__file__).parents[1] / "assets" / "translator"


def save_translator(
    translator: Learned,
    folder: str | Path,
    *,
    dtype: str | torch.dtype | None = None,
    card: str | None = None,
) -> None:
    """Writes `config.json`, `model.safetensors` and, with `card`, `README.md` into `folder`, each atomically.

    dtype "float16" or "bfloat16" stores matrices in half the space; they become float32 again when loaded.
    Raises ValueError for values that are not finite, OSError when the folder cannot be written.
    """
    folder, kind = Path(folder), parse_dtype(dtype)
    tensors = {name: stored(name, value, kind) for name, value in plain_state(translator).items()}
    values = dataclasses.asdict(translator.config)
    text = json.dumps({"format": FORMAT, **values, "sha256": tensor_digest(tensors)}, indent=1)
    write_files(folder, tensors, text, card)


def read_translator(folder: str | Path) -> Learned:
    """The translator of a folder, float32, in evaluation mode, without gradients, on the CPU.

    Raises FileNotFoundError for missing files, ValueError for files that are damaged, foreign or do not fit.
    """
    folder = Path(folder)
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{folder} is no translator: it lacks {' and '.join(missing)}")
    config, _ = _parse(read_limited(folder / CONFIG), str(folder / CONFIG))
    path = inside(folder / WEIGHTS)
    with torch.device("meta"):
        expected = {name: tuple(value.shape) for name, value in Learned(config).state_dict().items()}
    with open_tensors(path) as file:
        digest = _check_record(file.metadata() or {}, config, path)
        found = outline(file)
        names = plain_names(found, expected)
        shapes = {names[name]: shape for name, (kind, shape) in found.items() if kind in FLOATS}
        if shapes != expected:
            wrong = min(n for n in shapes.keys() | expected.keys() if shapes.get(n) != expected.get(n))
            raise ValueError(f"{path} does not hold the tensors that {CONFIG} describes; see {wrong}")
        tensors = {name: file.get_tensor(name) for name in found}
    if tensor_digest(tensors) != digest:
        raise ValueError(damaged(path, "its checksum differs"))
    check_finite(tensors, path)
    with torch.random.fork_rng(devices=[]):  # building draws weights; the caller's random state stays
        translator = Learned(config)
    translator.load_state_dict({names[name]: value.float() for name, value in tensors.items()}, strict=True)
    return translator.eval().requires_grad_(False)


def is_translator(folder: str | Path) -> bool:
    """Whether the folder's configuration says that it is a translator; False for anything unreadable."""
    try:
        _parse(read_limited(Path(folder) / CONFIG), CONFIG)
    except (ValueError, OSError):
        return False
    return True


def fingerprint(translator: Learned) -> str:
    """SHA-256 over configuration and weights."""
    values = json.dumps(dataclasses.asdict(translator.config), sort_keys=True)
    return tensor_digest({values: torch.zeros(0), **{n: v.cpu() for n, v in plain_state(translator).items()}})


def _parse(text: str, where: str) -> tuple[LearnedConfig, str]:
    """(settings, checksum) from JSON that may come from anywhere. Raises ValueError."""
    values: dict[str, Any] = parse_object(text, where, FORMAT)
    checksum = values.pop("sha256", None)
    if not isinstance(checksum, str):
        raise ValueError(f"{where} lacks the checksum sha256")
    try:
        return LearnedConfig.from_dict(values), checksum
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _check_record(metadata: Mapping[str, str], config: LearnedConfig, path: Path) -> str:
    """The checksum in the weights file, whose configuration must be that of `config.json`."""
    if "mtrl" not in metadata:
        raise ValueError(f"{path} was not written by this library: it holds no configuration")
    own, checksum = _parse(metadata["mtrl"], str(path))
    if own != config:
        raise ValueError(f"{path} belongs to another {CONFIG} than the one beside it; restore the pair")
    return checksum
