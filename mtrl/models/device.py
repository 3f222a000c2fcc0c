"""The device that a command runs on."""

from __future__ import annotations

import warnings

import torch

GPUS = ("cuda", "mps")  # "auto" takes the first of these that works


def pick_device(name: str | int | torch.device) -> torch.device:
    """The torch device of this name. "auto" is the first GPU that works (CUDA, else Apple's MPS), else the CPU.

    name  "auto", a device name of torch, or the number of a CUDA GPU
    Raises ValueError, with a message of one line, for a device that does not exist or cannot be used here. Warns if
    there is a GPU but it does not work.
    """
    if name == "auto":
        for kind in GPUS:
            reason = _trouble(torch.device(kind))
            if not reason:
                return torch.device(kind)
            if _count(kind):
                warnings.warn(f"there is a GPU, but {kind} does not work here ({reason})", stacklevel=2)
        return torch.device("cpu")
    text = f"cuda:{name}" if type(name) is int else str(name)
    try:
        device = torch.device(text)
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"device {text!r} cannot be used here: there is no such name; give auto, cpu, cuda, cuda:1 or mps"
        ) from error
    reason = _trouble(device)
    if reason:
        raise ValueError(f"device {text!r} cannot be used here: {reason}; give auto or cpu")
    return device


def _trouble(device: torch.device) -> str:
    """Why a device cannot be used, in a line; "" if it can."""
    if device.type == "meta":
        return "it computes nothing"
    if device.type in GPUS:
        count = _count(device.type)
        if not count:
            return "torch was built without it, or finds no GPU for it"
        if device.index is not None and device.index >= count:
            numbers = f"{device.type}:0" + (f" to {device.type}:{count - 1}" if count > 1 else "")
            return f"this machine has {count} such device{'s' * (count > 1)}, {numbers}"
    try:
        torch.zeros(1, device=device).add_(1).item()  # some drivers can allocate memory but not run kernels
    except Exception as error:  # RuntimeError, AssertionError, NotImplementedError and what plug-ins raise
        lines = str(error).splitlines()
        return (lines[0] if lines else type(error).__name__)[:200]
    return ""


def _count(kind: str) -> int:
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    return torch.cuda.device_count() if torch.cuda.is_available() else 0
