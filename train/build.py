"""Builds the parts of a training from its settings: model, loss weights, augmentation, precision, seeds."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mtrl.console.own_part import find_own
from mtrl.data.augment import AugmentConfig
from mtrl.losses.own import OwnLoss, own_loss
from mtrl.losses.total import LossWeights
from mtrl.models.load import load_pretrained
from mtrl.models.pretrained import read_origin
from mtrl.models.reid import CLASSIFIER, MTRL
from mtrl.models.stem import EMBEDDING
from train.optimizer import blocks_of, layers_of
from train.settings import TrainSettings, own_weight


def loss_weights(settings: TrainSettings) -> LossWeights:
    names = {field.name for field in dataclasses.fields(LossWeights)}
    return LossWeights(**{n: v for n, v in dataclasses.asdict(settings).items() if n in names - {"identity"}})


def augment_config(settings: TrainSettings, erase: bool, grey: bool = False) -> AugmentConfig:
    """The augmentation of a batch; `erase` switches erasing on, `grey` shows every visible image in grey."""
    low, high = settings.erase_area
    return AugmentConfig(
        pad=settings.pad,
        flip=settings.flip,
        erase=settings.erase if erase else 0.0,
        erase_area=(low, high),
        channel="grey" if grey else settings.channel,
        channel_prob=1.0 if grey else 0.5,
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
        model = MTRL(config, pretrained=settings.pretrained if source is None else False)
    if source is not None:
        if source.config.stem == "shared" != config.stem:
            source.backbone.change_stem(config)
        take_weights(model, source, str(settings.init))
    freeze_blocks(model, settings.freeze_blocks)
    if settings.grad_checkpointing:
        keep_no_activations(model)
    return model


def freeze_blocks(model: MTRL, count: int) -> None:
    """Stops the training of the first `count` blocks and of all that stands before them but a modality embedding.

    Raises ValueError for more blocks than there are.
    """
    if not count:
        return
    layers, most = layers_of(model), blocks_of(model)
    if count >= most:
        raise ValueError(
            f"--freeze-blocks {count}: {model.config.backbone} has {most} blocks, and one at least is trained"
        )
    for name, parameter in model.named_parameters():
        if name in layers and layers[name] <= count and f".{EMBEDDING}." not in name:
            parameter.requires_grad_(False)


def keep_frozen_statistics(model: nn.Module) -> None:
    """Puts the batch normalisations whose weights are frozen into evaluation mode: their statistics stay."""
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.weight is not None and not module.weight.requires_grad:
            module.eval()


def keep_no_activations(model: MTRL) -> None:
    """Switches timm's gradient checkpointing on. Raises ValueError where the backbone has none, or where computing it
    twice would count batch statistics twice.
    """
    body: Any = model.backbone.body
    if any(isinstance(module, _BatchNorm) for module in body.modules()):
        raise ValueError(
            f"--grad-checkpointing counts batch statistics twice: it is for backbones without batch normalisation, not "
            f"{model.config.backbone}"
        )
    try:
        body.set_grad_checkpointing(True)
    except (AttributeError, AssertionError) as error:
        raise ValueError(f"--grad-checkpointing: timm's {model.config.backbone} has none") from error


def take_weights(model: MTRL, source: MTRL, name: str) -> None:
    """Copies every weight of `source` but its classifier. Raises ValueError where one does not fit, or where the
    stride of a convolution, which no weight shows, is another; `name` is said.
    """
    theirs = {n: value for n, value in source.state_dict().items() if n != CLASSIFIER}
    sides = [_shapes(source), _shapes(model)]
    wrong = sorted(n for n in sides[0].keys() | sides[1].keys() if sides[0].get(n) != sides[1].get(n))
    if wrong:
        there, here = (side.get(wrong[0], "absent") for side in sides)
        config = source.config
        raise ValueError(
            f"{name} does not fit: {len(wrong)} tensors or strides differ, first {wrong[0]}, {there} there and {here} "
            f"here. That checkpoint needs --backbone {config.backbone} --backbone-args "
            f"'{json.dumps(config.backbone_args)}' --stem {config.stem} --image-size {config.image_size[0]} "
            f"{config.image_size[1]} --last-stride {config.last_stride} --patch-stride {config.patch_stride}"
        )
    model.load_state_dict(theirs, strict=False)


def _shapes(model: MTRL) -> dict[str, list[int]]:
    """The shape of every weight but the classifier's, and the stride of every convolution, by their names."""
    shapes = {name: list(value.shape) for name, value in model.state_dict().items() if name != CLASSIFIER}
    convolutions = {name: part for name, part in model.named_modules() if isinstance(part, nn.Conv2d)}
    return shapes | {f"{name}.stride": list(part.stride) for name, part in convolutions.items()}


def own_losses(settings: TrainSettings, dim: int, num_identities: int) -> list[OwnLoss]:
    """The losses of --loss; weights that they begin with follow from the seed. Raises ValueError."""
    entries = [own_weight(entry) for entry in settings.loss]
    parts = [
        find_own(name, "loss") for name, _ in entries
    ]  # before the seed: a first import may draw numbers
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return [
            own_loss(part, name.partition(":")[2], weight, dim, num_identities)
            for part, (name, weight) in zip(parts, entries, strict=True)
        ]


def starting_weights(settings: TrainSettings) -> dict[str, str]:
    """Where the weights that a run starts from come from, and their licence; empty for a start at random."""
    if settings.init:
        digest = load_pretrained(settings.init).fingerprint()
        source = f"the checkpoint {settings.init} (fingerprint {digest[:16]})"
        return {"source": source, "license": "", "fingerprint": digest}
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
