"""One run: steps, epochs, evaluation on held-out training identities, and a state to continue from."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from eval.evaluate import evaluate_settings
from eval.protocols import Setting
from mtrl.checkpoint import write_atomically
from mtrl.data.augment import AugmentConfig, PairedAugment
from mtrl.data.imageset import ReIDData
from mtrl.data.imagewise import Scale
from mtrl.data.sampler import IdentitySampler
from mtrl.data.transition_cache import transition_images
from mtrl.losses.total import LossWeights, total_loss
from mtrl.model import MTRL, Features
from mtrl.translate import Learned, load_translator
from train.compile import CompiledForward, worth_compiling
from train.distributed import PeerLostError, World, peers, with_sync_bn
from train.log import RunLog, draw_curves, environment
from train.memory import keep_freed_memory
from train.optimizer import build_optimizer, learning_rate, set_learning_rate
from train.pipeline import BatchPipeline, TrainBatch
from train.settings import TrainSettings
from train.state import load_state, save_state
from train.stop import StopRequest

DIRECTIONS = ("ir2vis", "vis2ir")


class NonFiniteLossError(ValueError):
    """A loss was not a number; the message names step, epoch and images."""


class Trainer:
    """Builds everything from settings and data; `run` trains to the end or to Ctrl-C and leaves a run folder."""

    def __init__(self, settings: TrainSettings, data: ReIDData) -> None:
        self.settings = settings
        self.data = data
        self.folder = Path(settings.run_folder)
        self.world = World.current()
        self.world.check_batch(settings.identities)
        self.device = self.world.device(settings.device)
        self.precision = pick_precision(settings.precision, self.device)
        rows, held_out = data.train.split_identities(settings.hold_out, seed=settings.data_seed)
        self.held_out = data.train.take(held_out) if settings.hold_out else data.validation
        self.sampler = IdentitySampler(
            data.train.identities[rows],
            data.train.modalities[rows],
            num_identities=settings.identities,
            num_instances=settings.instances,
            seed=settings.seed,
        )
        self.steps_per_epoch = min(settings.batches or len(self.sampler), len(self.sampler))
        self.model = _seeded_model(settings, len(self.sampler.classes)).to(self.device)
        self.model = self.model.to(memory_format=torch.channels_last)
        if settings.sync_bn:
            self.model = with_sync_bn(self.model)
        self.forward = self._forward()
        self.average = self._averaged_model()
        self.optimizer = build_optimizer(self.model, settings)
        translator = load_translator(settings.translator).to(self.device) if settings.transition else None
        if translator is not None:
            # One that draws at random gives every step fresh transition images; nothing of it is trained.
            translator.train(not translator.deterministic).requires_grad_(False)
        kept = None
        if isinstance(translator, Learned):  # run once over the set; the others cost less than reading
            kept = transition_images(data.train, translator, self.device, settings.cache_dir, self.world.main)
        how = (self.sampler, translator, self.device, settings.seed, settings.pad, self.world)
        scale = Scale(self.model.config.mean, self.model.config.std)
        self.pipeline = BatchPipeline(data.train, rows, *how, kept=kept, scale=scale)
        self.weights = loss_weights(settings)
        self.progress: dict[str, Any] = {"epoch": 0, "batch": 0, "step": 0, "best": -1.0, "best_step": 0}

    def _forward(self) -> Callable[[Tensor, Tensor], Features]:
        """What a step calls: the model, where asked for compiled, and among several processes synchronised."""
        module = self.world.wrap(self.model, self.settings.sync_bn)
        steps = self.settings.epochs * self.steps_per_epoch
        return (
            CompiledForward(module) if worth_compiling(self.settings.compile, self.device, steps) else module
        )

    def _averaged_model(self) -> AveragedModel | None:
        if not self.settings.ema:
            return None
        update = get_ema_multi_avg_fn(self.settings.ema)
        return AveragedModel(self.model, multi_avg_fn=update, use_buffers=True)

    def run(self) -> dict[str, Any]:
        """Trains, or continues a run with `resume`. Returns the last progress. Ctrl-C saves before it is raised."""
        self._open_folder()
        if self.device.type == "cpu":
            keep_freed_memory()
        log = RunLog(self.folder, self.progress["step"]) if self.world.main else None
        try:
            with peers(), StopRequest() as stop:
                for epoch in range(self.progress["epoch"], self.settings.epochs):
                    self._train_epoch(epoch, log, stop)
                    self._evaluate(epoch, log)
                    self.progress |= {"epoch": epoch + 1, "batch": 0}
                    self._save()
        except (KeyboardInterrupt, PeerLostError):
            if self.world.main:
                self._save()
                again = f"python -m train --config {self.folder / 'settings.yaml'} --resume"
                tqdm.write(
                    f"stopped at step {self.progress['step']}; continue with: {again}", file=sys.stderr
                )
            raise
        finally:
            if log is not None:
                log.close()
        if self.world.main:
            draw_curves(self.folder)
        return self.progress

    def _open_folder(self) -> None:
        state = self.folder / "last" / "state.safetensors"
        if self.settings.resume:
            self.progress = load_state(state, self.model, self.optimizer, self.average)
            return
        if state.exists():
            raise ValueError(
                f"{self.folder} already holds a run: add --resume to continue it, or choose another --output"
            )
        if not self.world.main:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        saved = dataclasses.asdict(self.settings) | {"output": str(self.folder), "resume": False}
        write_atomically(self.folder / "settings.yaml", _yaml(saved).encode())
        write_atomically(self.folder / "environment.json", json.dumps(environment(), indent=1).encode())

    def _train_epoch(self, epoch: int, log: RunLog | None, stop: StopRequest) -> None:
        settings = self.settings
        warm = epoch + 1e-9 < settings.warmup_epochs
        augment = PairedAugment(augment_config(settings, erase=not warm))
        self.model.train()
        start = self.progress["batch"]
        title = f"epoch {epoch + 1}/{settings.epochs}"
        last = settings.epochs * self.steps_per_epoch
        since, images = perf_counter(), 0
        with tqdm(
            total=self.steps_per_epoch,
            initial=start,
            desc=title,
            unit="step",
            leave=False,
            mininterval=1.0,
            disable=not self.world.main,
        ) as bar:
            remaining = range(start, self.steps_per_epoch)
            for _, batch in zip(remaining, self.pipeline.epoch(epoch, augment, start), strict=False):
                stop.check()
                step = self.progress["step"]
                set_learning_rate(self.optimizer, learning_rate(settings, step, self.steps_per_epoch))
                parts = self._step(batch, step)
                images += len(batch.images) * self.world.size
                self.progress |= {"step": step + 1, "batch": self.progress["batch"] + 1}
                bar.update()
                if log is not None and ((step + 1) % settings.log_every == 0 or step + 1 == last):
                    rate = images / (perf_counter() - since)
                    since, images = perf_counter(), 0
                    bar.set_postfix_str(self._record(log, epoch, parts, rate))
            stop.check()

    def _record(self, log: RunLog, epoch: int, parts: dict[str, Tensor], rate: float) -> str:
        """Logs the terms of the step that just ended; returns them as a line for the progress bar."""
        values = {name: float(value) for name, value in parts.items()}
        more = {"learning_rate": self.optimizer.param_groups[-1]["lr"], "images_per_second": rate}
        terms = {f"loss_{name}": value for name, value in values.items()}
        log.write("train", self.progress["step"], {"epoch": epoch + 1, **terms, **more})
        return " ".join(f"{name}={value:.2f}" for name, value in values.items()) + f" {rate:.0f} images/s"

    def _step(self, batch: TrainBatch, step: int) -> dict[str, Tensor]:
        settings = self.settings
        position = step / self.steps_per_epoch - settings.warmup_epochs
        ramp = (
            min(1.0, max(0.0, position / settings.ramp_epochs))
            if settings.ramp_epochs
            else float(position >= 0)
        )
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            features = self.forward(batch.images, batch.modality)
        features, layout = self.world.gather(features, batch.layout)
        loss, parts = total_loss(
            features, layout, self.weights, ramp=ramp, triplet_scale=0.0 if position < 0 else 1.0
        )
        # On a GPU every look at a value waits for the device: there the check goes with the log records.
        if self.device.type == "cpu" or (step + 1) % min(settings.log_every, self.steps_per_epoch) == 0:
            self._check_finite(parts, batch, step)
        self.optimizer.zero_grad(set_to_none=True)
        # The gradients are averaged over the processes, and each process has those of its own rows alone.
        (loss * self.world.size).backward()
        if settings.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip)
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        return parts

    def _check_finite(self, parts: dict[str, Tensor], batch: TrainBatch, step: int) -> None:
        bad = [name for name, value in parts.items() if not np.isfinite(float(value))]
        if bad:
            names = ", ".join(self.data.train.names[row] for row in batch.rows[:4])
            raise NonFiniteLossError(
                f"the loss is not finite at step {step} ({', '.join(bad)}); the batch begins with {names}. "
                f"The state before it stands in {self.folder / 'last'}; try a lower --lr, --clip 5 or --precision fp32"
            )

    def best_network(self) -> MTRL:
        """The network that is evaluated and shipped: the averaged one if there is one."""
        return self.model if self.average is None else self.average.module  # type: ignore[return-value]

    def _evaluate(self, epoch: int, log: RunLog | None) -> None:
        if log is None:
            return  # process 0 evaluates and chooses; the others wait in their next step
        settings, last = self.settings, epoch + 1 == self.settings.epochs
        if self.held_out is None or not settings.eval_every:
            self.best_network().save_pretrained(self.folder)
            return
        if (epoch + 1) % settings.eval_every and not last:
            return
        both = [Setting(self.data.protocol, direction) for direction in DIRECTIONS]
        values, gaps = {}, []
        for done in evaluate_settings(self.best_network(), self.held_out, both):
            direction, figures = done.report.setting.direction, done.report.mean
            values[f"map_{direction}"] = figures["map"]
            values[f"rank1_{direction}"] = figures["cmc"]["1"]
            gaps.append(done.report.modality_gap)
        score = (values["map_ir2vis"] + values["map_vis2ir"]) / 2
        log.write("eval", self.progress["step"], values | {"modality_gap": float(np.mean(gaps))})
        shown = " ".join(f"{name} {100 * value:.1f}" for name, value in values.items())
        tqdm.write(f"epoch {epoch + 1}: held-out identities: {shown}")
        if score > self.progress["best"]:
            self.progress |= {"best": score, "best_step": self.progress["step"]}
            self.best_network().save_pretrained(self.folder)

    def _save(self) -> None:
        if not self.world.main:
            return
        last = self.folder / "last"
        self.best_network().save_pretrained(last)
        save_state(last / "state.safetensors", self.model, self.optimizer, self.average, self.progress)


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


def _seeded_model(settings: TrainSettings, num_identities: int) -> MTRL:
    """A model whose initial weights follow from the seed alone; the process's random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return MTRL(settings.model_config(num_identities), pretrained=settings.pretrained)


def pick_precision(name: str, device: torch.device) -> str:
    """`"auto"` is bf16 where the processor computes in it (CUDA, CPUs with AVX512-BF16 or AMX), else fp32."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return "bf16" if device.type == "cpu" and probe is not None and probe() else "fp32"


def _yaml(values: dict[str, Any]) -> str:
    import yaml

    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return yaml.safe_dump(plain, sort_keys=False)
