"""What a training will take, before it is run: `python -m train predict --config FILE --rate TFLOPS`.

The network runs once on torch's fake tensors, which have shapes and no values: any size is predicted in seconds on any
machine. Operations are counted by `torch.utils.flop_counter`. Memory is the sum of what must lie there at once:
weights, gradients, the optimiser's state, what the forward pass keeps for the backward pass, and the training images.
A teacher (`--distil`) adds its weights and its forward pass. Not counted: the losses (matrices of the batch), the
libraries' work space, evaluation.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import math
import sys
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from mtrl.console import cli
from mtrl.console.cli import option
from mtrl.models.config import Modality
from mtrl.models.fake_weights import fake_weights
from mtrl.models.load import load_pretrained
from mtrl.models.reid import MTRL
from train.build import freeze_blocks, keep_no_activations
from train.data import identity_sampler, load, split_rows, steps_per_epoch
from train.settings import TrainSettings, settle

_STATE = {"adamw": 2, "sgd": 1}  # float32 values that the optimiser keeps for each weight
# Fused attention on a CPU, which torch's counter takes for free.
_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(
        q, k, v
    ),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: lambda g, q, k, v, *_, **__: (
        sdpa_backward_flop_count(g, q, k, v)
    ),
}


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Of one process. Bytes of memory; operations are floating-point ones: forward, backward, and the teacher's."""

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
        description="Says what operations, memory and time a training on a GPU will take, without running it. All "
        "options of python -m train hold.",
    )
    cli.add_flags(parser, PredictSettings)
    cli.add_flags(parser, TrainSettings)
    found = cli.given(parser, argv)
    own = cli.build(PredictSettings, {key: found.values[key] for key in ("rate",) if key in found.values})
    flags, file = (
        {key: value for key, value in given.items() if key != "rate"} for given in (found.flags, found.file)
    )
    settings, notes = settle(dataclasses.replace(found, flags=flags, file=file))
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
    """The prediction for one process. Reads the labels of the data set, and none of its images.

    In bfloat16, unless the precision is fp32. Raises ValueError for a network that cannot be built or followed; for a
    teacher that cannot be loaded as `load_pretrained` does.
    """
    data = load(settings, parts=("train",), labels_only=True)
    rows, _ = split_rows(data.train, settings)
    sampler = identity_sampler(data.train, rows, settings)
    images = settings.identities * settings.instances * (3 if settings.transition else 2)
    model = MTRL(settings.model_config(len(sampler.classes)))
    freeze_blocks(model, settings.freeze_blocks)
    if settings.grad_checkpointing:
        keep_no_activations(model)
    with _followed(settings.backbone):
        operations, kept = _one_step(model.train(), images, settings.precision != "fp32")
    teaching = taught = 0
    if settings.teacher:
        teacher = load_pretrained(settings.teacher)
        taught = sum(parameter.numel() for parameter in teacher.parameters())
        with _followed(f"the teacher {settings.teacher}"):
            teaching = _teaching(teacher, images)
    values, trained = (
        sum(parameter.numel() for parameter in model.parameters() if every or parameter.requires_grad)
        for every in (True, False)
    )
    height, width = settings.image_size
    return Prediction(
        steps=settings.epochs * steps_per_epoch(sampler, settings),
        images_per_step=images,
        operations_per_step=operations + teaching,
        weights=4 * (values * (1 + (settings.ema > 0)) + trained * (1 + _STATE[settings.optimizer]) + taught),
        kept=kept,
        training_images=len(rows) * 3 * height * (width + 2 * settings.pad),
    )


@contextlib.contextmanager
def _followed(network: str) -> Iterator[None]:
    """Raises ValueError, with the network's name, for what fake tensors cannot do."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError) as error:
        said = str(error).strip().partition("\n")[0]
        raise ValueError(f"{network} cannot be followed without running it: {said}") from error


def _one_step(model: MTRL, images: int, bf16: bool) -> tuple[int, int]:
    """(operations of a forward and backward pass, bytes kept between the two)."""
    step = _Step(model, bf16)
    fake, weights = fake_weights(step)
    with fake, FlopCounterMode(display=False, custom_mapping=_ATTENTION) as counter:
        kept = torch.func.functional_call(
            step, weights, (torch.empty(images, 3, *model.config.image_size), list(weights.values()))
        )
    return int(counter.get_total_flops()), kept


def _teaching(teacher: MTRL, images: int) -> int:
    """Operations of a teacher's forward pass."""
    fake, weights = fake_weights(teacher.eval())
    with fake, torch.no_grad(), FlopCounterMode(display=False, custom_mapping=_ATTENTION) as counter:
        pixels = torch.empty(images, 3, *teacher.config.image_size)
        torch.func.functional_call(teacher, weights, (pixels, Modality.INFRARED))
    return int(counter.get_total_flops())


class _Step(nn.Module):
    """Forward and backward pass in one call, so that checkpointed blocks find the same weights again."""

    def __init__(self, model: MTRL, bf16: bool) -> None:
        super().__init__()
        self.model = model
        self.bf16 = bf16

    def forward(self, images: Tensor, weights: Sequence[Tensor]) -> int:
        """Returns the bytes that the forward pass keeps for the backward pass, without the `weights`."""
        kept: dict[int, int] = {}

        def keep(value: Tensor) -> Tensor:
            kept[value.untyped_storage()._cdata] = value.untyped_storage().nbytes()
            return value

        hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value)
        with hooks, torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
            features = self.model(images, Modality.INFRARED)
        for weight in weights:
            kept.pop(weight.untyped_storage()._cdata, None)
        (features.logits.sum() + features.embedding.sum()).backward()
        return sum(kept.values())
