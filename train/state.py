"""Everything a run needs to continue, in one safetensors file that is replaced atomically."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from mtrl.checkpoint import write_atomically

FORMAT = "mtrl-train-1"


def save_state(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: nn.Module | None,
    progress: dict[str, Any],
) -> None:
    """Writes model, optimiser and averaged weights, and `progress` (JSON values) as the file's metadata."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in average.state_dict().items()}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{name}|{key}"] = torch.as_tensor(value)
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, save(tensors, {"format": FORMAT, "progress": json.dumps(progress)}))


def load_state(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: nn.Module | None
) -> dict[str, Any]:
    """Restores what `save_state` wrote and returns its `progress`.

    Raises FileNotFoundError if there is no state, ValueError if it is damaged or of another model.
    """
    if not path.is_file():
        raise FileNotFoundError(f"nothing to resume: {path} does not exist")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); start the run afresh in another folder") from error
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} is not a training state of this program")
    try:
        model.load_state_dict(_under("model.", tensors))
        if average is not None:
            average.load_state_dict(_under("average.", tensors))
    except RuntimeError as error:
        raise ValueError(f"{path} belongs to a run with other model settings: {error}") from error
    parameters = dict(model.named_parameters())
    for key, tensor in _under("optimizer.", tensors).items():
        name, _, slot = key.rpartition("|")
        parameter = parameters[name]
        # In the parameter's own memory format: a fused optimiser walks through both side by side.
        like = parameter if tensor.shape == parameter.shape else tensor
        optimizer.state[parameter][slot] = torch.empty_like(like, device=parameter.device).copy_(tensor)
    return json.loads(metadata["progress"])


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
