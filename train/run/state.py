"""The saved state of a run: one safetensors file, replaced atomically, from which the run can continue.

It holds no states of samplers, schedules or random generators, since batches, learning rates and random draws depend
only on the seed and the number of the step. It holds no loss scale, which bfloat16 does not need.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mtrl.files.atomic import make_folder, write_atomically
from mtrl.files.tensor_file import tensor_bytes, tensor_digest
from mtrl.files.untrusted import open_tensors, outline, parse_json

FORMAT = "mtrl-train-2"
_KINDS = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64"}
_KINDS |= {torch.int64: "I64", torch.int32: "I32", torch.uint8: "U8", torch.bool: "BOOL"}


def save_state(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: nn.Module | None,
    progress: Mapping[str, Any],
    run: Mapping[str, Any],
) -> None:
    """Writes a state with a checksum.

    average   module with the averaged weights, or None
    progress  where the run stands, as JSON values
    run       settings that must not change when the run continues, as JSON values
    Raises OSError if it cannot be written.
    """
    tensors = _weights(model, average)
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{name}|{key}"] = torch.as_tensor(value)
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    facts = json.dumps({"progress": progress, "run": run}, allow_nan=False)
    metadata = {"format": FORMAT, "facts": facts, "sha256": _digest(facts, tensors)}
    make_folder(path.parent)
    write_atomically(path, tensor_bytes(tensors, metadata))


def load_state(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: nn.Module | None,
    run: Mapping[str, Any],
) -> dict[str, Any]:
    """Restores model, optimiser and average from a state that `save_state` wrote. Returns its `progress`.

    Names, types and shapes are compared before any tensor is read. Raises FileNotFoundError if there is no state, and
    ValueError if it is damaged, or of another model or run.
    """
    if not path.is_file():
        raise FileNotFoundError(f"nothing to resume: {path} does not exist; start the run without --resume")
    allowed = _weights(model, average)
    needed = set(allowed)
    slots = _slots(model, optimizer)
    with open_tensors(path) as file:
        metadata = file.metadata() or {}
        facts = _facts(metadata, path)
        _check_run(facts["run"], run, path)
        found = outline(file)
        _check_outline(found, allowed | slots, needed, path)
        tensors = {name: file.get_tensor(name) for name in found}
    if _digest(metadata["facts"], tensors) != metadata.get("sha256"):
        raise ValueError(f"{path} is damaged (its checksum differs); start the run afresh in another folder")
    model.load_state_dict(_under("model.", tensors))
    if average is not None:
        average.load_state_dict(_under("average.", tensors))
    parameters = dict(model.named_parameters())
    for key, tensor in _under("optimizer.", tensors).items():
        name, _, slot = key.rpartition("|")
        parameter = parameters[name]
        # In the parameter's memory format, since a fused optimiser reads both in the order of memory.
        like = parameter if tensor.shape == parameter.shape else tensor
        optimizer.state[parameter][slot] = torch.empty_like(like, device=parameter.device).copy_(tensor)
    return facts["progress"]


def epochs_done(path: Path, planned: int) -> str:
    """How far a run came, for its card: "12", or "3 of 12, then it was stopped", by its saved state at `path`.

    Of a state that cannot be read: "12 planned".
    """
    if not path.is_file():
        return str(planned)
    try:
        with open_tensors(path) as file:
            done = _facts(file.metadata() or {}, path)["progress"]["epoch"]
    except ValueError:
        return f"{planned} planned"
    return str(planned) if done >= planned else f"{done} of {planned}, then it was stopped"


def _weights(model: nn.Module, average: nn.Module | None) -> dict[str, Tensor]:
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in average.state_dict().items()}
    return tensors


def _slots(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The tensors that this optimiser may keep for each parameter, by name in the file. It has none before a step."""
    moments = (
        ("momentum_buffer",) if isinstance(optimizer, torch.optim.SGD) else ("exp_avg", "exp_avg_sq", "step")
    )
    trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    return {
        f"optimizer.{name}|{slot}": torch.zeros(()) if slot == "step" else parameter
        for name, parameter in model.named_parameters()
        if id(parameter) in trained
        for slot in moments
    }


def _facts(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    if metadata.get("format") != FORMAT:
        known = metadata.get("format", "").startswith("mtrl-train-")
        what = "was saved by another version" if known else "is not a training state of this program"
        raise ValueError(f"{path} {what}; start the run afresh in another folder")
    try:
        facts = parse_json(metadata.get("facts", ""))
        counts = [facts["progress"][name] for name in ("epoch", "batch", "step")]
        if not all(type(count) is int and count >= 0 for count in counts) or type(facts["run"]) is not dict:
            raise ValueError("it counts no steps")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); start the run afresh in another folder") from error
    return facts


def _check_run(saved: Mapping[str, Any], run: Mapping[str, Any], path: Path) -> None:
    for name in sorted(saved.keys() | run.keys()):
        if saved.get(name) != run.get(name):
            raise ValueError(
                f"{path} belongs to a run with {name} {saved.get(name)}, not {run.get(name)}: give the settings "
                f"of that run (--config {path.parents[1] / 'settings.yaml'}), or start another one in another folder"
            )


def _check_outline(
    found: Mapping[str, tuple[str, tuple[int, ...]]],
    allowed: Mapping[str, Tensor],
    needed: set[str],
    path: Path,
) -> None:
    """Raises ValueError unless the tensors in a file's header fit the model and its optimiser.

    found    {name: (type, shape)} of the header
    allowed  all tensors that may be in the file
    needed   names of those that must be. If the optimiser has one tensor of a parameter, it must have all of them
    """
    begun = {name.rpartition("|")[0] for name in found if name.startswith("optimizer.")}
    needed = needed | {name for name in allowed if name.rpartition("|")[0] in begun and "|" in name}
    wrong = sorted((needed - found.keys()) | (found.keys() - allowed.keys()))
    wrong += sorted(
        name
        for name, (kind, shape) in found.items()
        if name in allowed and (kind, shape) != (_KINDS.get(allowed[name].dtype), tuple(allowed[name].shape))
    )
    if wrong:
        raise ValueError(
            f"{path} belongs to a run with other model settings: {len(wrong)} tensors do not fit, first {wrong[0]}; "
            f"give the settings of that run (--config {path.parents[1] / 'settings.yaml'})"
        )


def _digest(facts: str, tensors: Mapping[str, Tensor]) -> str:
    return tensor_digest({**tensors, facts: torch.zeros(0)})


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
