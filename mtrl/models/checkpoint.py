"""Checkpoints: `config.json` beside `model.safetensors`, written atomically and read
strictly; nothing in them is executed.

The weights file also carries its configuration and a checksum of its tensors, so that a damaged file, or a
pair of files that do not belong together, is refused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mtrl.console.os_errors import expanded
from mtrl.files.atomic import make_folder, write_atomically
from mtrl.files.tensor_file import tensor_bytes
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
from mtrl.hub.client import CARD, CONFIG, REPO_ID, WEIGHTS, advice_on_copy, download
from mtrl.models.allocation_limit import Allowance
from mtrl.models.config import POOLINGS, ModelConfig
from mtrl.models.device import pick_device
from mtrl.models.wrappers import plain_names, plain_state

if TYPE_CHECKING:
    from mtrl.models.reid import MTRL

FORMAT = "mtrl-1"
SHIPPED = Path(__file__).parents[1] / "assets" / "model"
_MAX_ARGUMENT = 8192
_MAX_BLOCKS = 256
_COUNTS = ("I64",)
_KINDS = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}
CLASSIFIER = "neck.classifier.weight"


def load_pretrained(
    source: str | Path | None = None,
    *,
    device: str | torch.device = "cpu",
    revision: str | None = None,
    token: str | bool | None = None,
) -> MTRL:
    """A trained model, float32, in evaluation mode.

    source    None: the checkpoint shipped in the package; a folder; or a Hugging Face Hub id "user/repo",
              of which only `config.json` and `model.safetensors` are fetched (and kept in the Hub's cache)
    device    "cpu", "cuda", "cuda:1", "mps", ..., or "auto": a GPU where there is one
    revision  branch, tag or commit on the Hub;  token: for private repositories (default: the one logged in)
    An existing folder always wins over a Hub id. Raises FileNotFoundError for a checkpoint that is not there,
    ValueError for one that is damaged or a device that cannot be used, OSError when the Hub cannot be
    reached.
    """
    chosen = pick_device(device)
    folder = find_checkpoint(source, revision=revision, token=token)
    try:
        model = read_checkpoint(folder)
    except ValueError as error:
        raise ValueError(f"{error}{advice_on_copy(folder)}") from error
    return model.to(chosen)


def find_checkpoint(
    source: str | Path | None, *, revision: str | None = None, token: str | bool | None = None
) -> Path:
    """The local folder of a checkpoint (see `load_pretrained`), after a download if need be."""
    if source is None:
        if not (SHIPPED / CONFIG).is_file():
            raise FileNotFoundError(
                f"no checkpoint is shipped in {SHIPPED}; train one with `python -m train --output runs/x` "
                "and give its folder"
            )
        return SHIPPED
    folder = expanded(source)
    if folder.is_dir():
        if revision is not None:
            raise ValueError(f"{source} is a folder; a revision belongs to a Hub id")
        return folder
    if isinstance(source, Path) or not REPO_ID.fullmatch(source):
        hint = "give the folder that holds it" if folder.exists() else "there is no such folder"
        raise FileNotFoundError(f'cannot load {source}: {hint} (a Hub model is written "user/repo")')
    return download(source, revision, token)


def save_checkpoint(
    model: MTRL,
    folder: str | Path,
    *,
    include_classifier: bool = False,
    dtype: str | torch.dtype | None = None,
    card: str | None = None,
) -> None:
    """Writes `config.json`, `model.safetensors` and, with `card`, `README.md` into `folder`, each file
    atomically.

    The classifier of the training identities is dropped unless asked for. dtype "float16" or "bfloat16"
    stores matrices in half the space; they become float32 again when loaded. Weights of compiled or parallel
    parts are stored under their plain names. Raises ValueError for values that are not finite (or overflow
    float16) and for a changed network, which could not be loaded; OSError when the folder cannot be written.
    """
    folder = Path(folder)
    keep = include_classifier and model.config.num_identities > 0
    tensors = {
        name: stored(name, value, parse_dtype(dtype))
        for name, value in plain_state(model).items()
        if keep or name != CLASSIFIER
    }
    config = dataclasses.replace(model.config, num_identities=model.config.num_identities if keep else 0)
    _check_loads(tensors, config)
    values = {"format": FORMAT, **config.to_dict(), "sha256": tensor_digest(tensors)}
    text = json.dumps(values, indent=1, allow_nan=False)
    write_files(folder, tensors, text, card)


def write_files(folder: Path, tensors: Mapping[str, Tensor], text: str, card: str | None) -> None:
    """Weights, card and, last, the config: `text`, which the weights' header repeats. Each file whole or not at all."""
    make_folder(folder)
    write_atomically(folder / WEIGHTS, tensor_bytes(tensors, {"format": "pt", "mtrl": text}))
    if card is not None:
        write_atomically(folder / CARD, card.encode())
    write_atomically(folder / CONFIG, (text + "\n").encode())


def read_checkpoint(folder: str | Path) -> MTRL:
    """The model of a folder, float32, in evaluation mode, on the CPU.

    Raises FileNotFoundError for missing files, ValueError for files that are damaged, foreign or do not fit.
    """
    from mtrl.models.reid import MTRL

    folder = Path(folder)
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{folder} is no checkpoint: it lacks {' and '.join(missing)}")
    config, _ = _parse_config(read_limited(folder / CONFIG), str(folder / CONFIG))
    path = inside(folder / WEIGHTS)
    with open_tensors(path) as file:
        digest = _check_record(file.metadata() or {}, config, path)
        names = _check_tensors(outline(file), config, path)
        tensors = {name: file.get_tensor(name) for name in names}
    if tensor_digest(tensors) != digest:
        raise ValueError(damaged(path, "its checksum differs"))
    check_finite(tensors, path)
    # Building draws random weights; the caller's random state is none of its business.
    with torch.random.fork_rng(devices=[]):
        model = MTRL(config)
    model.load_state_dict(
        {names[n]: v.float() if v.is_floating_point() else v for n, v in tensors.items()}, strict=True
    )
    return model.eval()


def parse_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """A storage type by name; None: as it is. Raises ValueError."""
    names = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if dtype is None or dtype in names.values():
        return dtype  # type: ignore[return-value]
    if dtype not in names:
        raise ValueError(f"dtype must be one of {sorted(names)}, not {dtype!r}")
    return names[str(dtype)]


def stored(name: str, value: Tensor, dtype: torch.dtype | None) -> Tensor:
    """A tensor as it is written. Vectors stay float32: they are small, and variances may leave half's
    range.
    """
    value = value.detach().cpu()
    if value.is_floating_point():
        value = value.to(dtype) if dtype is not None and value.ndim >= 2 else value.float()
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"{name} holds values that are not finite, or too large for {dtype}; not saved")
    return value.contiguous().clone()


def tensor_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes, in order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        digest.update(f"{name} {value.dtype} {list(value.shape)};".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _parse_config(text: str, where: str) -> tuple[ModelConfig, str]:
    """(model settings, checksum) from JSON that may come from anywhere. Raises ValueError."""
    values = parse_object(text, where, FORMAT)
    checksum = values.pop("sha256", None)
    if not isinstance(checksum, str):
        raise ValueError(f"{where} lacks the checksum sha256")
    values.setdefault("pooling", "gem")
    try:
        config = ModelConfig.from_dict(values)
        if config.pooling == "auto":
            raise ValueError(f'a saved model names its pooling: one of {POOLINGS[1:]}, not "auto"')
        _check_arguments(config.backbone_args, depth=0)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return config, checksum


def _check_arguments(value: Any, depth: int, limit: int = _MAX_ARGUMENT) -> None:
    """Bounds what a stranger's `backbone_args` can make timm build before any weight was compared."""
    if isinstance(value, (dict, list)):
        if depth > 3 or len(value) > 64:
            raise ValueError("backbone_args are nested too deeply or have too many entries")
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            _check_arguments(item, depth + 1, _MAX_BLOCKS if key in ("layers", "depth", "depths") else limit)
    elif isinstance(value, (int, float)) and not abs(value) <= limit:
        raise ValueError(f"backbone_args hold {value!r}; numbers up to {limit} are accepted there")
    elif isinstance(value, str) and len(value) > 256:
        raise ValueError("backbone_args hold a text of more than 256 characters")


def _check_record(metadata: Mapping[str, str], config: ModelConfig, path: Path) -> str:
    """The checksum in the weights file, after comparing the configuration there with that of `config.json`.

    The checksum in `config.json` is not compared: a save that stopped between its two renames still loads.
    """
    if "mtrl" not in metadata:
        raise ValueError(f"{path} was not written by this library: it holds no configuration")
    own, checksum = _parse_config(metadata["mtrl"], str(path))
    if own != config:
        raise ValueError(f"{path} belongs to another {CONFIG} than the one beside it; restore the pair")
    return checksum


def _check_loads(tensors: Mapping[str, Tensor], config: ModelConfig) -> None:
    """Raises ValueError for weights that `read_checkpoint` would not read."""
    found = {n: (_KINDS.get(v.dtype, str(v.dtype)), tuple(v.shape)) for n, v in tensors.items()}
    try:
        if config.pooling == "auto":
            raise ValueError("its pooling was left open")
        _check_tensors(found, config, Path(WEIGHTS))
    except ValueError as error:
        raise ValueError(
            f"this network is not the one that its config describes, so it could not be loaded again ({error}); "
            "save its state_dict yourself, or undo what was changed in it"
        ) from error


def _check_tensors(
    found: Mapping[str, tuple[str, tuple[int, ...]]], config: ModelConfig, path: Path
) -> dict[str, str]:
    """Compares the file's header, as `outline` gives it, with the model's tensors before either takes memory.

    Returns the model's name of each tensor in the file.
    """
    try:
        expected = _expected_tensors(config, {name: shape for name, (_, shape) in found.items()})
    except ValueError as error:
        raise ValueError(f"{path.with_name(CONFIG)}: {error}") from error
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


def _expected_tensors(config: ModelConfig, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The tensors of a model, mostly without content; building may take no more than `shapes` would."""
    from mtrl.models.reid import MTRL

    odd = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError)
    try:
        try:
            with torch.device("meta"), Allowance(shapes, sized=False):
                model = MTRL(config)
        except ValueError:  # the configuration is bad, or this timm computes with real values while it builds
            with torch.random.fork_rng(devices=[]), Allowance(shapes, sized=True):
                model = MTRL(config)
    except odd as error:  # what timm makes of arguments that nobody has tried
        raise ValueError(f"it describes no model that can be built: {error}") from error
    return model.state_dict()
