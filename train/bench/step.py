"""Speed of a training step, compared with a plain two-stream step, and the gain of each optimisation."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice, repeat
from pathlib import Path
from time import perf_counter

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mtrl.data.augment import PairedAugment
from mtrl.data.imageset import ReIDData
from mtrl.models.reid import MTRL
from train.batches.memory import keep_freed_memory
from train.batches.pipeline import TrainBatch
from train.bench.data import random_people
from train.bench.table import Line, Options, Task, paired
from train.build import augment_config, pick_precision
from train.presets import METHODS
from train.settings import TrainSettings, parse
from train.trainer import Trainer

PLAIN_NAME = "two-stream step: fp32, NCHW, plain Adam, a loop per triplet anchor, losses read each step"
LATE = 10**6  # number of a step at which every warm-up is over


def lines(options: Options) -> Iterator[Line]:
    """Measures images per second of whole steps, for one or two presets, and with and without each optimisation."""
    if options.device.type == "cpu":
        keep_freed_memory()
    small = parse(["--size", "small", "--method", "baseline", "--device", str(options.device)])
    large = parse(
        ["--dataset", "sysu", "--method", "baseline", "--no-pretrained", "--device", str(options.device)]
    )
    if options.device.type == "cpu":
        large = dataclasses.replace(large, identities=2)  # with 8 identities, a step takes a minute in fp32
    cases = {"small preset": small} if options.quick else {"small preset": small, "ResNet-50": large}
    for name, settings in cases.items():
        yield from _case(name, settings, options)


def _case(name: str, settings: TrainSettings, options: Options) -> Iterator[Line]:
    size = f"{settings.image_size[0]}x{settings.image_size[1]}"
    shown = f"{name} {size} P{settings.identities} K{settings.instances}"
    with tempfile.TemporaryDirectory() as folder:
        bench = _Bench(settings, Path(folder))
        base = bench.trainer()
        rates = paired(bench.task(base), bench.plain(), options.repeats)
        yield Line("step", f"{shown}, baseline", *rates, PLAIN_NAME, "images/s", True)
        full = bench.trainer(method="mtrl", **METHODS["mtrl"])
        rates = paired(bench.task(full), bench.task(base), options.repeats)
        yield Line("step", f"{shown}, mtrl (V|T|I)", *rates, "baseline (V|I), ours", "images/s", True,
                   _use(bench, full, options))  # fmt: skip
        rates = paired(bench.loop(base, moving=True), bench.loop(base, moving=False), options.repeats)
        yield Line("step", f"{shown}, with its data", *rates, "the same steps on one batch", "images/s", True)
        if base.precision == "bf16":
            rates = paired(bench.task(base), bench.task(bench.trainer(precision="fp32")), options.repeats)
            yield Line("step", f"{shown}, bf16", *rates, "fp32", "images/s", True)
        planar = bench.trainer()
        planar.model.to(memory_format=torch.contiguous_format)
        rates = paired(bench.task(base), bench.task(planar), options.repeats)
        yield Line("step", f"{shown}, channels-last", *rates, "NCHW", "images/s", True)
        fast = bench.trainer(compile="on")
        rates = paired(bench.task(fast), bench.task(base), options.repeats)
        note = "did not compile here" if getattr(fast.forward, "failed", False) else ""
        yield Line("step", f"{shown}, compiled", *rates, "eager", "images/s", True, note)


class _Bench:
    """Makes trainers with changed settings on the same random images, and tasks that time their steps."""

    def __init__(self, settings: TrainSettings, folder: Path) -> None:
        height, width = settings.image_size
        people = random_people(32 * max(16, settings.identities), (height, width))
        self.data = ReIDData("synthetic", "sysu", people, people)
        self.settings = dataclasses.replace(settings, hold_out=0, output=str(folder))

    def trainer(self, **changes: object) -> Trainer:
        trainer = Trainer(dataclasses.replace(self.settings, **changes), self.data)  # type: ignore[arg-type]
        trainer.model.train()
        return trainer

    def batch(self, trainer: Trainer) -> TrainBatch:
        augment = PairedAugment(augment_config(trainer.settings, erase=True))
        return next(trainer.pipeline.epoch(0, augment))

    def task(self, trainer: Trainer) -> Task:
        batch = self.batch(trainer)

        def step() -> float:
            return _rate(lambda: trainer._step(batch, LATE), batch, trainer.device)

        return step

    def loop(self, trainer: Trainer, moving: bool) -> Task:
        """Task: images per second of several steps, on new batches (`moving`) or always on the same one."""
        count = 20 if trainer.device.type == "cuda" else 3
        augment = PairedAugment(augment_config(trainer.settings, erase=True))
        ready, epochs = self.batch(trainer), iter(range(10**9))

        def batches() -> Iterator[TrainBatch]:
            while True:
                yield from trainer.pipeline.epoch(next(epochs), augment)

        def steps() -> float:
            source = batches() if moving else repeat(ready)
            began, images = perf_counter(), 0
            for batch in islice(source, count):
                trainer._step(batch, LATE)
                images += len(batch.images)
            if trainer.device.type == "cuda":
                torch.cuda.synchronize(trainer.device)
            return images / (perf_counter() - began)

        return steps

    def plain(self) -> Task:
        """Task of the baseline: a step as in common public code for two-stream networks."""
        trainer = self.trainer(precision="fp32", compile="off")
        model = trainer.model.to(memory_format=torch.contiguous_format)
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-4, foreach=False, fused=False)
        batch = self.batch(trainer)

        def one() -> None:
            visible, infrared = batch.images.chunk(2)
            images = torch.cat([visible.contiguous(), infrared.contiguous()])
            features = model(images, batch.modality)
            assert features.logits is not None
            identity = F.cross_entropy(features.logits, batch.layout.identities)
            triplet = batch_hard_loop(features.pooled, batch.layout.identities)
            loss = identity + triplet
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item(), identity.item(), triplet.item()

        return lambda: _rate(one, batch, trainer.device)


def batch_hard_loop(features: Tensor, labels: Tensor, margin: float = 0.3) -> Tensor:
    """Batch-hard triplet loss, one anchor at a time: farthest of its identity against nearest of another."""
    squares = features.pow(2).sum(dim=1, keepdim=True)
    distance = (squares + squares.T - 2 * features @ features.T).clamp(min=1e-12).sqrt()
    same = labels[:, None] == labels[None, :]
    farthest, nearest = [], []
    for anchor in range(len(features)):
        farthest.append(distance[anchor][same[anchor]].max()[None])
        nearest.append(distance[anchor][~same[anchor]].min()[None])
    far, near = torch.cat(farthest), torch.cat(nearest)
    return nn.functional.margin_ranking_loss(near, far, torch.ones_like(near), margin=margin)


def _rate(step: Callable[[], object], batch: TrainBatch, device: torch.device) -> float:
    began = perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return len(batch.images) / (perf_counter() - began)


def _use(bench: _Bench, trainer: Trainer, options: Options) -> str:
    """A remark: operations per second of a step's forward and backward pass, and their share of a matrix product's."""
    batch = bench.batch(trainer)
    with FlopCounterMode(display=False) as counter:
        _forward_backward(trainer.model, batch)
    rate = bench.task(trainer)()
    assert rate is not None
    achieved = counter.get_total_flops() / len(batch.images) * rate
    peak = matmul_peak(options.device)
    return f"{achieved / 1e9:,.0f} GFLOP/s, {100 * achieved / peak:.0f} % of a matrix product's {peak / 1e9:,.0f}"


def _forward_backward(model: MTRL, batch: TrainBatch) -> None:
    features = model(batch.images, batch.modality)
    assert features.logits is not None
    (features.logits.sum() + features.embedding.sum()).backward()
    model.zero_grad(set_to_none=True)


def matmul_peak(device: torch.device, side: int = 2048) -> float:
    """Operations per second of a square matrix product, in the precision that training uses on this device."""
    dtype = torch.bfloat16 if pick_precision("auto", device) == "bf16" else torch.float32
    a = torch.randn(side, side, device=device).to(dtype)

    def product() -> None:
        a @ a
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    seconds, _ = paired(product, None, 5)
    return 2 * side**3 / seconds
