"""Saves and loads a learned translator: `config.json` and `model.safetensors`, checked as strictly as a checkpoint."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import torch
from torch import Tensor

from mtrl.files.tensor_file import tensor_digest
from mtrl.files.untrusted import TRANSLATOR, read_limited
from mtrl.hub.client import CONFIG
from mtrl.models.checkpoint.weights import Shapes, parse_config, parse_dtype, read_files, stored, write_files
from mtrl.models.checkpoint.wrappers import plain_state

from .learned import Learned, LearnedConfig

FORMAT = TRANSLATOR
_ASSETS = Path(__file__).parents[1] / "assets"
SHIPPED = {"learned": _ASSETS / "translator", "learned-thermal": _ASSETS / "translator-thermal"}
"""{name: folder} of the learned translators that are shipped in the package: near-infrared and thermal."""


def save_translator(
    translator: Learned,
    folder: str | Path,
    *,
    dtype: str | torch.dtype | None = None,
    card: str | None = None,
) -> None:
    """Writes `config.json`, `model.safetensors` and, with `card`, `README.md` into `folder`, each atomically.

    dtype  "float16" or "bfloat16" stores matrices in half the space; loading makes them float32 again
    card   text of `README.md`, or None
    Raises ValueError for values that are not finite, and OSError if the folder cannot be written.
    """
    kind = parse_dtype(dtype)
    tensors = {name: stored(name, value, kind) for name, value in plain_state(translator).items()}
    write_files(Path(folder), FORMAT, dataclasses.asdict(translator.config), tensors, card)


def read_translator(folder: str | Path) -> Learned:
    """Reads the translator in a folder, float32, on the CPU, in evaluation mode. Its weights require no gradient.

    Raises FileNotFoundError for missing files, ValueError for files that are damaged, of another program or do not fit.
    """
    config, state = read_files(Path(folder), "translator", _parse, _expected_tensors)
    with torch.random.fork_rng(devices=[]):  # keeps the caller's random state
        translator = Learned(config)
    translator.load_state_dict(state, strict=True)
    return translator.eval().requires_grad_(False)


def is_translator(folder: str | Path) -> bool:
    """Whether the folder's `config.json` is that of a translator; False if it cannot be read."""
    try:
        _parse(read_limited(Path(folder) / CONFIG), CONFIG)
    except (ValueError, OSError):
        return False
    return True


def fingerprint(translator: Learned) -> str:
    """SHA-256, as hex digits, of configuration and weights."""
    values = json.dumps(dataclasses.asdict(translator.config), sort_keys=True)
    return tensor_digest({values: torch.zeros(0), **{n: v.cpu() for n, v in plain_state(translator).items()}})


def _parse(text: str, where: str) -> tuple[LearnedConfig, str]:
    """(settings, checksum) from untrusted JSON text. Raises ValueError."""
    return parse_config(text, where, FORMAT, LearnedConfig.from_dict)


def _expected_tensors(config: LearnedConfig, shapes: Shapes) -> dict[str, Tensor]:
    """The state dict of a translator of this configuration, without values (on the meta device)."""
    with torch.device("meta"):
        return Learned(config).state_dict()
