"""The device that a command runs on."""

from __future__ import annotations

import torch


def pick_device(name: str) -> torch.device:
    """`"auto"` is the first CUDA device, else the CPU; anything else is torch's own name of a device.

    Raises ValueError for a device that does not exist or cannot be used here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:  # an unsupported kind of device is a RuntimeError too
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {name!r} cannot be used here; try auto or cpu ({reason})") from error
    return torch.device(name)
