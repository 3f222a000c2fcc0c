"""Weights that have shapes and no values: with them a network is followed without computing or taking memory."""

from __future__ import annotations

from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode


def fake_weights(module: nn.Module) -> tuple[FakeTensorMode, dict[str, Tensor]]:
    """(the mode in which to call it, its parameters and buffers by name for `torch.func.functional_call`)."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    named = [*module.named_parameters(), *module.named_buffers()]
    return mode, {name: mode.from_tensor(value) for name, value in named}
