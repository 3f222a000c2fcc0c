"""Removes the wrappers that torch puts around modules (compiled, parallel, averaged) from modules and weights' names.

So a checkpoint of compiled or parallel modules is the same file as that of a plain model, and loads into one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

# {wrapper class: attribute of the module inside}. torch.compile's wrapper is recognised by its attribute instead.
_INSIDE: dict[type[nn.Module], str] = {
    DataParallel: "module",
    DistributedDataParallel: "module",
    AveragedModel: "module",
}
_COMPILED = "_orig_mod"


def plain_state(module: nn.Module) -> dict[str, Tensor]:
    """The state dict of a module, with the names that its weights have without wrappers."""
    inner = [f"{name}.{part}".lstrip(".") + "." for name, part in _wrapped(module)]
    state: dict[str, Tensor] = {}
    for name, value in module.state_dict().items():
        # Innermost wrappers first, so that the prefixes of outer ones still match.
        for prefix in sorted(inner, key=len, reverse=True):
            if name.startswith(prefix):
                outer = prefix.rstrip(".").rpartition(".")[0]
                name = f"{outer}.{name.removeprefix(prefix)}".lstrip(".")
        state[name] = value
    if isinstance(module, AveragedModel):
        del state["n_averaged"]
    return state


def unwrapped(module: Any) -> Any:
    """The module without wrappers. Changes the given module in place, so pass a copy."""
    part = _part(module)
    if part is not None:
        return unwrapped(getattr(module, part))
    for name, child in list(module.named_children()):
        inner = unwrapped(child)
        if inner is not child:
            setattr(module, name, inner)
    return module


def plain_names(found: Iterable[str], expected: Iterable[str]) -> dict[str, str]:
    """{name in a file: name in the model}. Files of older versions may have the names of wrapped modules."""
    wanted = set(expected)
    names = {name: _without(name, _COMPILED) for name in found}
    if not set(names.values()) <= wanted:
        stripped = {name: _without(plain, "module") for name, plain in names.items()}
        names = {name: plain if plain in wanted else stripped[name] for name, plain in names.items()}
    unique = len(set(names.values())) == len(names)
    return names if unique else {name: name for name in names}


def _wrapped(module: nn.Module) -> list[tuple[str, str]]:
    return [(name, part) for name, child in module.named_modules() if (part := _part(child)) is not None]


def _part(module: nn.Module) -> str | None:
    if _COMPILED in module._modules:
        return _COMPILED
    return next((part for kind, part in _INSIDE.items() if isinstance(module, kind)), None)


def _without(name: str, part: str) -> str:
    return ".".join(piece for piece in name.split(".") if piece != part)
