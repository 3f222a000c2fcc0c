"""Builds the parts of a training from its settings: model, loss weights, augmentation, precision, seeds."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mtrl.data.augment import AugmentConfig
from mtrl.losses.total import LossWeights
from mtrl.models.load import load_pretrained
from mtrl.models.pretrained import read_origin
from mtrl.models.reid import CLASSIFIER, MTRL
from train.settings import TrainSettings


def loss_weights(settings: TrainSettings) -> LossWeights:
    names = {field.name for field in dataclasses.fields(LossWeights)}
    return LossWeights(**{n: v for n, v in dataclasses.asdict(settings).items() if n in names - {"identity"}})


def augment_config(settings: TrainSettings, erase: bool) -> AugmentConfig:
    low, high = settings.erase_area
    return AugmentConfig(
        pad=settings.pad,
        flip=settings.flip,
        erase=settings.erase if erase else 0.0,
        erase_area=(low, high),
        channel=settings.channel,
        brightness=settings.jitter,
        contrast=settings.jitter,
        noise=settings.noise,
    )


def step_seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def seeded_model(settings: TrainSettings, num_identities: int) -> MTRL:
    """A model whose initial weights follow from the seed alone; the process's random state is left as it was."""
    config, source = settings.model_config(num_identities), None
    if settings.init:
        source = load_pretrained(settings.init)
        pooling = source.config.pooling if config.pooling == "auto" else config.pooling
        config = dataclasses.replace(config, mean=source.config.mean, std=source.config.std, pooling=pooling)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = MTRL(config, pretrained=settings.pretrained and source is None)
    if source is not None:
        take_weights(model, source, str(settings.init))
    return model


def take_weights(model: MTRL, source: MTRL, name: str) -> None:
    """Copies every weight of `source` but its classifier. Raises ValueError where one does not fit; `name` is said."""
    theirs = {n: value for n, value in source.state_dict().items() if n != CLASSIFIER}
    ours = {n: value for n, value in model.state_dict().items() if n != CLASSIFIER}
    sides = [{n: list(value.shape) for n, value in side.items()} for side in (theirs, ours)]
    wrong = sorted(n for n in theirs.keys() | ours.keys() if sides[0].get(n) != sides[1].get(n))
    if wrong:
        there, here = (side.get(wrong[0], "absent") for side in sides)
        config = source.config
        raise ValueError(
            f"{name} does not fit: {len(wrong)} tensors differ, first {wrong[0]}, {there} there and {here} here. That "
            f"checkpoint needs --backbone {config.backbone} --backbone-args '{json.dumps(config.backbone_args)}' "
            f"--stem {config.stem} --image-size {config.image_size[0]} {config.image_size[1]}"
        )
    model.load_state_dict(theirs, strict=False)


def starting_weights(settings: TrainSettings) -> dict[str, str]:
    """Where the weights that a run starts from come from, and their licence; empty for a start at random."""
    if settings.init:
        digest = load_pretrained(settings.init).fingerprint()
        return {"source": f"the checkpoint {settings.init} (fingerprint {digest[:16]})", "license": ""}
    if not settings.pretrained:
        return {}
    if isinstance(settings.pretrained, str):
        origin = read_origin(settings.pretrained)
        return {"source": origin.source or Path(settings.pretrained).name, "license": origin.license}
    known: Any = timm.get_pretrained_cfg(settings.backbone)
    return {"source": f"timm's weights of {settings.backbone}", "license": known.license or ""}


def averaged(model: MTRL, decay: float) -> AveragedModel | None:
    """A moving average of weights and buffers; None for a decay of 0."""
    if not decay:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)


def pick_precision(name: str, device: torch.device) -> str:
    """`"auto"` is bf16 where the processor computes in it (CUDA, CPUs with AVX512-BF16 or AMX), else fp32."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return "bf16" if device.type == "cpu" and probe is not None and probe() else "fp32"
