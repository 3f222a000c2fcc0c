"""What a training will take, before it is run: `python -m train predict --config FILE --rate TFLOPS`.

The network runs once on torch's fake tensors, which have shapes and no values: any size is predicted in seconds on any
machine. Operations are counted by `torch.utils.flop_counter`. Memory is the sum of what must lie there at once:
weights, gradients, the optimiser's state, what the forward pass keeps for the backward pass, and the training images.
Not counted: the losses (matrices of the batch), the libraries' work space, evaluation.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from mtrl.console import cli
from mtrl.console.cli import option
from mtrl.data.sampler import IdentitySampler
from mtrl.models.config import Modality, ModelConfig
from mtrl.models.reid import MTRL
from train.data import load, split_rows
from train.settings import TrainSettings, settle

_STATE = {"adamw": 2, "sgd": 1}  # float32 values that the optimiser keeps for each weight


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Of one process. Bytes of memory; operations are floating-point ones of a forward and backward pass."""

    steps: int
    images_per_step: int
    operations_per_step: int
    weights: int
    kept: int
    training_images: int

    @property
    def memory(self) -> int:
        """Bytes that must lie on the device at once."""
        return self.weights + self.kept + self.training_images

    def seconds(self, rate: float) -> float:
        """Duration of all steps at `rate` operations per second, reached while training."""
        return self.steps * self.operations_per_step / rate


@dataclasses.dataclass(frozen=True)
class PredictSettings:
    """The command's own option. The same command line also takes those of the training."""

    rate: float = option(
        0.0,
        "10^12 operations per second that a training step reaches on your machine, which `python -m train bench step` "
        "prints as GFLOP/s; without it no time is said",
    )

    def __post_init__(self) -> None:
        if not 0 <= self.rate < math.inf:
            raise ValueError(f"rate must be finite and not negative, not {self.rate}")


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m train predict",
        description="Says what operations, memory and time a training will take, without running it. All options of "
        "python -m train hold.",
    )
    cli.add_flags(parser, PredictSettings)
    cli.add_flags(parser, TrainSettings)
    found = cli.given(parser, argv)
    own = cli.build(PredictSettings, {key: found.values[key] for key in ("rate",) if key in found.values})
    flags = {key: value for key, value in found.flags.items() if key != "rate"}
    settings, notes = settle(dataclasses.replace(found, flags=flags))
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    print(text(predict(settings), 1e12 * own.rate))
    return 0


def text(found: Prediction, rate: float = 0.0) -> str:
    """The prediction in lines of text; `rate` as in `Prediction.seconds`, 0 for no time."""
    gib = {name: getattr(found, name) / 2**30 for name in ("weights", "kept", "training_images", "memory")}
    lines = [
        f"{found.steps:,} steps of {found.images_per_step} images, {found.operations_per_step / 1e9:,.1f} GFLOP each",
        f"memory: {gib['memory']:.1f} GiB (weights with gradients and optimiser {gib['weights']:.1f}, kept for the "
        f"backward pass {gib['kept']:.1f}, training images {gib['training_images']:.1f})",
    ]
    if rate:
        hours, minutes = divmod(round(found.seconds(rate) / 60), 60)
        lines.append(f"time: {hours} h {minutes} min at {rate / 1e12:g} TFLOP/s")
    return "\n".join(lines)


def predict(settings: TrainSettings) -> Prediction:
    """The prediction for one process with bfloat16. Reads the labels of the data set, and none of its images.
    Raises ValueError for a
       network that cannot be built.
    """
    data = load(settings, parts=("train",), labels_only=True)
    rows, _ = split_rows(data.train, settings)
    sampler = IdentitySampler(
        data.train.identities[rows],
        data.train.modalities[rows],
        num_identities=settings.identities,
        num_instances=settings.instances,
        seed=settings.seed,
    )
    per_epoch = min(settings.batches or len(sampler), len(sampler))
    images = settings.identities * settings.instances * (3 if settings.transition else 2)
    values, operations, kept = _one_pass(settings.model_config(len(sampler.classes)), images)
    height, width = settings.image_size
    return Prediction(
        steps=settings.epochs * per_epoch,
        images_per_step=images,
        operations_per_step=operations,
        weights=4 * values * (2 + _STATE[settings.optimizer] + (settings.ema > 0)),
        kept=kept,
        training_images=len(rows) * 3 * height * (width + 2 * settings.pad),
    )


def _one_pass(config: ModelConfig, images: int) -> tuple[int, int, int]:
    """(number of weights, operations of a forward and backward pass, bytes kept for the latter), in bfloat16."""
    model = MTRL(config).train()
    fake, kept = FakeTensorMode(), dict[int, int]()
    weights: dict[str, Tensor] = {name: fake.from_tensor(value) for name, value in _tensors(model)}

    def keep(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        return value

    with fake, FlopCounterMode(display=False) as counter:
        batch = torch.empty(images, 3, *config.image_size)
        hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value)
        with hooks, torch.autocast("cpu", torch.bfloat16):
            features = torch.func.functional_call(model, weights, (batch, Modality.INFRARED))
        for value in weights.values():
            kept.pop(value.untyped_storage()._cdata, None)
        (features.logits.sum() + features.embedding.sum()).backward()
    values = sum(parameter.numel() for parameter in model.parameters())
    return values, int(counter.get_total_flops()), sum(kept.values())


def _tensors(model: MTRL) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()
