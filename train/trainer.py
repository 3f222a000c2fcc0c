"""Training of the re-identification model: steps, epochs, evaluation on held-out training identities."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from mtrl.console.progress import Progress, say
from mtrl.data.augment import PairedAugment, Scale
from mtrl.data.imageset import ReIDData, pixel_digest
from mtrl.data.transitions import transition_images
from mtrl.losses.total import total_loss
from mtrl.models.reid import MTRL, Features
from mtrl.translate import Luminance, Translator, load_translator
from train.batches.memory import keep_freed_memory
from train.batches.pipeline import BatchPipeline, TrainBatch
from train.build import (
    augment_config,
    averaged,
    keep_frozen_statistics,
    loss_weights,
    own_losses,
    pick_precision,
    seeded_model,
    starting_weights,
    step_seed,
)
from train.compile import CompiledForward, worth_compiling
from train.data import given_transitions, identity_sampler, split_rows, steps_per_epoch
from train.depthwise import faster_depthwise
from train.optimizer import build_optimizer, learning_rate, set_learning_rate
from train.presets import listed
from train.run.distributed import DistributedContext, with_sync_bn
from train.run.log import RunLog
from train.run.origins import of_images, of_translator
from train.run.skipped_steps import StepGuard, StepInfo
from train.run.stop import StopRequest
from train.run.training import TrainingRun
from train.settings import TrainSettings
from train.teacher import Teacher
from train.validate import held_out_metrics


class Trainer(TrainingRun):
    """Builds everything from settings and data; `run` leaves a run folder that `load_pretrained` reads."""

    command = "train"
    settings: TrainSettings
    average: AveragedModel | None

    def __init__(self, settings: TrainSettings, data: ReIDData) -> None:
        super().__init__(settings.run_folder)
        self.settings = settings
        self.data = data
        self.context = DistributedContext.current()
        self.main = self.context.main
        self.context.check_batch(settings.identities)
        self.device = self.context.device(settings.device)
        self.precision = pick_precision(settings.precision, self.device)
        rows, held_out = split_rows(data.train, settings)
        self.held_out = data.train.take(held_out) if settings.hold_out else data.validation
        self.sampler = identity_sampler(data.train, rows, settings)
        self.steps_per_epoch = steps_per_epoch(self.sampler, settings)
        model = seeded_model(settings, len(self.sampler.classes)).to(self.device)
        # The pooling that "auto" stands for.
        self.settings = settings = dataclasses.replace(settings, pooling=model.config.pooling)
        if self.device.type == "cpu":
            faster_depthwise(model, self.precision)
        self.networks = self.model = with_sync_bn(model) if settings.sync_bn else model
        self.losses = own_losses(settings, model.dim, len(self.sampler.classes))
        modules = nn.ModuleDict({loss.name: loss.module for loss in self.losses if loss.module is not None})
        modules.to(self.device)
        if modules:
            self.networks = nn.ModuleDict({"model": self.model, "losses": modules})
        self.origins["training images"] = of_images(data.train)
        self.teacher = None
        if settings.teacher:
            self.teacher = Teacher(settings.teacher, model, self.device)
            self.origins["teacher"] = self.teacher.origin()
        self.forward = self._forward()
        self.average = averaged(self.model, settings.ema)
        self.optimizer = build_optimizer(self.model, settings, modules)
        advice = f"The last saved state stands in {self.folder / 'last'}; try a lower --lr, --clip 5, --precision fp32"
        skip = settings.on_nonfinite == "skip"
        self.guard = StepGuard(
            self.networks, self.optimizer, skip, advice=advice + " or --on-nonfinite skip" * (not skip)
        )
        translator, kept = self._transitions(settings, data)
        how = (self.sampler, translator, self.device, settings.seed, settings.pad, self.context)
        scale = Scale(self.model.config.mean, self.model.config.std)
        self.pipeline = BatchPipeline(data.train, rows, *how, kept=kept, scale=scale)
        self.weights = loss_weights(settings)
        self.progress |= {"best": -1.0, "best_step": 0}

    def _transitions(
        self, settings: TrainSettings, data: ReIDData
    ) -> tuple[Translator | None, NDArray[np.uint8] | None]:
        """What makes transition images, and those of all visible images, where they are made or read once."""
        if not settings.transition:
            return None, None
        if settings.transitions:
            read = given_transitions(settings, data.train)
            self.origins["transitions"] = {"source": settings.transitions, "fingerprint": pixel_digest(read)}
            return Luminance(), read
        translator = load_translator(settings.translator).to(self.device)
        self.origins["translator"] = of_translator(settings.translator, translator)
        # One that draws at random gives every step fresh transition images; nothing of it is trained.
        translator.train(not translator.deterministic).requires_grad_(False)
        if not translator.deterministic or not any(True for _ in translator.parameters()):
            return translator, None  # costs less than reading what it made
        return translator, transition_images(
            data.train, translator, self.device, settings.cache_dir, self.main
        )

    def _forward(self) -> Callable[[Tensor, Tensor], Features]:
        """What a step calls: the model, where asked for compiled, and among several processes synchronised."""
        module = self.context.wrap(self.model, self.settings.sync_bn)
        steps = self.settings.epochs * self.steps_per_epoch
        return (
            CompiledForward(module) if worth_compiling(self.settings.compile, self.device, steps) else module
        )

    def run(self) -> dict[str, Any]:
        """As `TrainingRun.run`; the first process says at the end what came of it."""
        super().run()
        if self.main:
            say(f"{self.folder}: {self.progress['step']} steps, {self.outcome()}", sys.stdout)
        return self.progress

    def _train(self, log: RunLog | None, stop: StopRequest) -> None:
        if self.device.type == "cpu":
            keep_freed_memory()
        for epoch in range(self.progress["epoch"], self.settings.epochs):
            self._train_epoch(epoch, log, stop)
            self._evaluate(epoch, log)
            self._keep_and_look(epoch, log)
            self.progress |= {"epoch": epoch + 1, "batch": 0}
            self._save(log)
        if log is not None:
            log.hyperparameters(dataclasses.asdict(self.settings))

    def origin(self) -> dict[str, Any]:
        return {"starting_weights": starting_weights(self.settings), **self.origins}

    def _save_first(self) -> None:
        say(f"{self.settings.backbone} with pooling {self.settings.pooling}")
        self._save()

    def _train_epoch(self, epoch: int, log: RunLog | None, stop: StopRequest) -> None:
        settings = self.settings
        warm = epoch + 1e-9 < settings.warmup_epochs
        grey = epoch < settings.grey_epochs
        augment = PairedAugment(augment_config(settings, erase=not warm, grey=grey))
        self.networks.train()
        keep_frozen_statistics(self.model)
        start = self.progress["batch"]
        title = f"epoch {epoch + 1}/{settings.epochs}"
        last = settings.epochs * self.steps_per_epoch
        since, images = perf_counter(), 0
        cuda = [self.device] if self.device.type == "cuda" else []
        with (
            torch.random.fork_rng(cuda),
            Progress[None](
                total=self.steps_per_epoch,
                initial=start,
                title=title,
                unit="step",
                keep=False,
                show=self.main,
            ) as bar,
        ):
            remaining = range(start, self.steps_per_epoch)
            for _, batch in zip(remaining, self.pipeline.epoch(epoch, augment, start), strict=False):
                stop.check()
                step = self.progress["step"]
                set_learning_rate(self.optimizer, learning_rate(settings, step, self.steps_per_epoch))
                parts = self._step(batch, step)
                images += len(batch.images) * self.context.size
                bar.update()
                logs = (step + 1) % settings.log_every == 0 or step + 1 == last
                if logs or not self.guard.gated:
                    self._report_skipped(log)
                if log is not None and logs:
                    rate = images / (perf_counter() - since)
                    since, images = perf_counter(), 0
                    bar.remark(self._record(log, epoch, parts, rate))
            stop.check()
            self._report_skipped(log)

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
        torch.manual_seed(step_seed(settings.seed, step, self.context.rank))  # of dropout and the like
        self.guard.begin()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            features = self.forward(batch.images, batch.modality)
            taught = None if self.teacher is None else self.teacher(batch.images, batch.modality)
        if taught is not None:
            taught = self.context.gather_rows(taught, batch.layout)
        features, layout = self.context.gather(features, batch.layout)
        triplet_scale = 0.0 if position < 0 else 1.0
        loss, parts = total_loss(
            features, layout, self.weights, ramp, triplet_scale=triplet_scale, own=self.losses, teacher=taught
        )
        self.optimizer.zero_grad(set_to_none=True)
        # The gradients are averaged over the processes, and each process has those of its own rows alone.
        (loss * self.context.size).backward()
        self.context.share_gradients(
            p for own in self.losses if own.module is not None for p in own.module.parameters()
        )
        names, rows = self.data.train.names, batch.rows
        info = StepInfo(self.progress["epoch"] + 1, step + 1, lambda: [names[row] for row in rows])
        self.guard.step({**parts, "total": loss}, info, settings.clip)
        if self.average is not None:
            self.average.update_parameters(self.model)
        self.progress |= {"step": step + 1, "batch": self.progress["batch"] + 1}
        self.guard.end()
        return parts

    def outcome(self) -> str:
        """What was trained and what came of it, as the last line of a run."""
        if self.progress["best_step"]:
            came = f"best mAP of held-out identities {self.progress['best']:.3f}"
        else:
            came = "not evaluated on held-out identities, so the model is that of the last epoch"
        return f"method {self.settings.method} ({listed(self.settings.terms().items())}), {came}"

    def best_network(self) -> MTRL:
        """The network that is evaluated and shipped: the averaged one if there is one."""
        return self.model if self.average is None else self.average.module  # type: ignore[return-value]

    def _evaluate(self, epoch: int, log: RunLog | None) -> None:
        if log is None:
            return  # process 0 evaluates and chooses; the others wait in their next step
        settings, last = self.settings, epoch + 1 == self.settings.epochs
        if self.held_out is None or not settings.eval_every:
            self.best_network().save_pretrained(self.folder)
            self.progress |= {"best": -1.0, "best_step": 0}
            return
        if (epoch + 1) % settings.eval_every and not last:
            return
        score, values = held_out_metrics(self.best_network(), self.held_out, self.data.protocol)
        log.write("eval", self.progress["step"], {"epoch": epoch + 1, **values})
        shown = " ".join(f"{name} {100 * v:.1f}" for name, v in values.items() if name != "modality_gap")
        say(f"epoch {epoch + 1}: held-out identities: {shown}", sys.stdout)
        if score > self.progress["best"]:
            self.best_network().save_pretrained(self.folder)
            self.progress |= {"best": score, "best_step": self.progress["step"]}

    def _keep_and_look(self, epoch: int, log: RunLog | None) -> None:
        """What is asked for beside the training: models of some epochs, and figures on the test set."""
        settings, done = self.settings, epoch + 1
        if log is None:
            return
        if settings.save_every and done % settings.save_every == 0:
            self.best_network().save_pretrained(self.folder / "epochs" / f"{done:04d}")
        if settings.test_every and (done % settings.test_every == 0 or done == settings.epochs):
            _, values = held_out_metrics(self.best_network(), self.data.test, self.data.protocol)
            log.write("test", self.progress["step"], values)

    def _save(self, log: RunLog | None = None) -> None:
        if not self.main:
            return
        if log is not None:
            log.flush()
        self.best_network().save_pretrained(self.state.parent)
        self._save_state()
