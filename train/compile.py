"""torch.compile for the forward pass: used for long runs on a GPU, dropped where it fails."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from mtrl.models.reid import Features

# Compiling takes about a minute; with fewer steps than this a GPU does not earn it back.
WORTH_STEPS = 2000


def worth_compiling(mode: str, device: torch.device, steps: int) -> bool:
    """Whether to compile: "auto" says yes on a GPU for long runs, and no on a CPU, where it was measured slower."""
    return mode == "on" or (mode == "auto" and device.type == "cuda" and steps >= WORTH_STEPS)


class CompiledForward:
    """Calls a compiled module; if the first call fails, warns and calls the module as it is from then on.

    The module itself is not changed: its weights keep their names, and evaluation runs it uncompiled.

    failed  the first call failed, and what runs is the module itself
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.proven = self.failed = False
        self.call: Any = None

    def __call__(self, images: Tensor, modality: Tensor) -> Features:
        """As the module's forward."""
        if self.proven:
            return self.call(images, modality)
        try:
            self.call = torch.compile(self.module)
            features = self.call(images, modality)
        except Exception as error:  # a compiler that is missing or breaks raises anything
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            warnings.warn(
                f"torch.compile does not work here, so training goes on without it ({first})", stacklevel=2
            )
            self.call, self.failed = self.module, True
            features = self.module(images, modality)
        self.proven = True
        return features
