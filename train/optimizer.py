"""The optimiser with its parameter groups, and the learning rate of each step.

The learning rate is a function of the step alone, so that a resumed run needs no state of a schedule.
"""

from __future__ import annotations

import math
import re
from types import SimpleNamespace
from typing import Any

import torch
from timm.models import group_parameters
from torch import nn

from mtrl.models.stem import EMBEDDING
from train.settings import TrainSettings


def build_optimizer(
    model: nn.Module, settings: TrainSettings, losses: nn.Module | None = None
) -> torch.optim.Optimizer:
    """AdamW or SGD over groups: {layers of the backbone, head} x {decayed, not decayed}.

    losses  modules whose parameters are trained as those of the head are
    The learning rate of the backbone is lr x backbone_lr, and falls by `layer_decay` from each layer to the one before.
    Not decayed: biases, norms, and what the backbone itself exempts, such as position and class tokens.
    """
    of_losses = [] if losses is None else list(losses.named_parameters())
    exempt = exempt_from_decay(model)
    layers = layers_of(model) if settings.layer_decay < 1 else {}
    last = max(layers.values(), default=0)
    groups: dict[tuple[str, int, bool], list[nn.Parameter]] = {}
    for name, parameter in [*model.named_parameters(), *of_losses]:
        if not parameter.requires_grad:
            continue
        part = "backbone" if name.startswith("backbone.") else "head"
        place = (part, last - layers.get(name, last), parameter.ndim > 1 and name not in exempt)
        groups.setdefault(place, []).append(parameter)
    described = [
        {
            "params": parameters,
            "weight_decay": settings.weight_decay if decayed else 0.0,
            "factor": settings.backbone_lr * settings.layer_decay**depth if part == "backbone" else 1.0,
        }
        for (part, depth, decayed), parameters in groups.items()
    ]
    device = next(model.parameters()).device.type
    if settings.optimizer == "sgd":
        # On a GPU `StepGuard` needs a fused one.
        fused = device == "cuda"
        sgd = torch.optim.SGD(described, lr=settings.lr, momentum=0.9, nesterov=True, fused=fused)
        for (
            group
        ) in sgd.param_groups:  # as after a first step on zeros, which a guarded first step can leave out
            for parameter in group["params"]:
                sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return sgd
    # One pass over each parameter instead of a dozen, where torch has it.
    fused = device in ("cpu", "cuda")
    return torch.optim.AdamW(described, lr=settings.lr, fused=fused)


def layers_of(model: nn.Module) -> dict[str, int]:
    """{name of a backbone parameter: its layer}, as timm counts them: 0 for what stands before the first block.

    Raises ValueError for a backbone whose layers timm does not name.
    """
    layers = {f"backbone.body.{name}": layer for name, layer in _grouped(model).items()}
    stems = ("backbone.stems.", f"backbone.{EMBEDDING}.")
    return layers | dict.fromkeys((name for name, _ in model.named_parameters() if name.startswith(stems)), 0)


def blocks_of(model: nn.Module) -> int:
    """The number of the backbone's blocks. What timm counts behind them, such as a final norm or `conv_head`, is none.

    Raises ValueError as `layers_of`.
    """
    unknown = ""  # timm puts all that it names no block for into one layer behind the last
    return _grouped(model, unknown)[unknown] - 1


def _grouped(model: nn.Module, *more: str) -> dict[str, int]:
    """{name of a parameter of timm's network, or one of `more`: its layer}."""
    backbone: Any = model.backbone
    body = backbone.body
    if not hasattr(body, "group_matcher"):
        raise ValueError(
            f"timm names no layers of a {type(body).__name__}: leave --layer-decay and --freeze-blocks out"
        )
    named: Any = SimpleNamespace(
        named_parameters=lambda: [*body.named_parameters(), *((n, None) for n in more)]
    )
    found: Any = group_parameters(named, body.group_matcher(coarse=False), reverse=True)
    return {name: int(layer) for name, layer in found.items()}


def exempt_from_decay(model: nn.Module) -> set[str]:
    """Names of parameters that the timm backbone of `model` wants without weight decay, wherever they now stand."""
    listed: Any = getattr(getattr(getattr(model, "backbone", None), "body", None), "no_weight_decay", set)
    exempt = set(listed())
    # Such a stem has moved the first layers out of the body: `backbone.stems.0.patch_embed.proj.weight`.
    place = re.compile(r"backbone\.(body|stems\.\d+)\.")
    names = [name for name, _ in model.named_parameters() if place.match(name)]
    return {name for name in names if place.sub("", name, count=1) in exempt}


def learning_rate(settings: TrainSettings, step: int, steps_per_epoch: int) -> float:
    """Linear warm-up, then a half cosine to zero or tenfold steps. `step` counts from 0 over the whole run."""
    warmup = settings.lr_warmup * steps_per_epoch
    if step < warmup:
        return settings.lr * (step + 1) / warmup
    if settings.schedule == "step":
        return settings.lr * 0.1 ** sum(step >= epoch * steps_per_epoch for epoch in settings.lr_steps)
    total = settings.epochs * steps_per_epoch
    progress = (step - warmup) / max(1.0, total - warmup)
    return settings.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]
