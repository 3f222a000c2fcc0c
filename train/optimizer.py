"""The optimiser with its parameter groups, and the learning rate of each step.

The learning rate is a function of the step alone, so that a resumed run needs no state of a schedule.
"""

from __future__ import annotations

import math
import re
from typing import Any

import torch
from torch import nn

from train.settings import TrainSettings


def build_optimizer(model: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """AdamW or SGD over four groups: {backbone, head} x {decayed, not decayed}.

    Not decayed: biases, norms, and what the backbone itself exempts, such as position and class tokens.
    """
    exempt = exempt_from_decay(model)
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        part = "backbone" if name.startswith("backbone.") else "head"
        groups.setdefault((part, parameter.ndim > 1 and name not in exempt), []).append(parameter)
    described = [
        {
            "params": parameters,
            "weight_decay": settings.weight_decay if decayed else 0.0,
            "factor": settings.backbone_lr if part == "backbone" else 1.0,
        }
        for (part, decayed), parameters in groups.items()
    ]
    device = next(model.parameters()).device.type
    if settings.optimizer == "sgd":
        # On a GPU `StepGuard` needs a fused one.
        fused = device == "cuda"
        sgd = torch.optim.SGD(described, lr=settings.lr, momentum=0.9, nesterov=True, fused=fused)
        for parameter in model.parameters():
            if (
                parameter.requires_grad
            ):  # as after a first step on zeros, which a guarded first step can leave out
                sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return sgd
    # One pass over each parameter instead of a dozen, where torch has it.
    fused = device in ("cpu", "cuda")
    return torch.optim.AdamW(described, lr=settings.lr, fused=fused)


def exempt_from_decay(model: nn.Module) -> set[str]:
    """Names of parameters that the timm backbone of `model` wants without weight decay, wherever they now stand."""
    listed: Any = getattr(getattr(getattr(model, "backbone", None), "body", None), "no_weight_decay", set)
    exempt = set(listed())
    # A dual stem has moved the first layers out of the body: `backbone.stems.0.patch_embed.proj.weight`.
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
