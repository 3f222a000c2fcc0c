"""One run: steps, epochs, evaluation on held-out training identities, and a state to continue from."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from mtrl.data.augment import PairedAugment
from mtrl.data.imageset import ReIDData
from mtrl.data.sampler import IdentitySampler
from mtrl.data.transition_cache import transition_images
from mtrl.hub import CONFIG, WEIGHTS
from mtrl.losses.total import total_loss
from mtrl.model import MTRL, Features
from mtrl.translate import Learned, load_translator
from mtrl.writing import remove_partial, write_atomically
from train.build import (
    augment_config,
    averaged,
    loss_weights,
    pick_precision,
    seeded_model,
    starting_weights,
    step_seed,
)
from train.claim import claimed
from train.compile import CompiledForward, worth_compiling
from train.depthwise import depthwise_in_float32
from train.distributed import PeerLostError, World, peers, with_sync_bn
from train.guard import Refused, Seen, StepGuard
from train.imagewise import Scale
from train.log import RunLog, draw_curves, environment
from train.memory import keep_freed_memory
from train.optimizer import build_optimizer, learning_rate, set_learning_rate
from train.pipeline import BatchPipeline, TrainBatch
from train.settings import TrainSettings
from train.state import load_state, save_state
from train.stop import StopRequest, say_stopped
from train.validate import held_out_figures


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
        self.model = seeded_model(settings, len(self.sampler.classes)).to(self.device)
        if self.device.type == "cpu" and self.precision == "bf16":
            depthwise_in_float32(self.model)
        if settings.sync_bn:
            self.model = with_sync_bn(self.model)
        self.forward = self._forward()
        self.average = averaged(self.model, settings.ema)
        self.optimizer = build_optimizer(self.model, settings)
        advice = f"The last saved state stands in {self.folder / 'last'}; try a lower --lr, --clip 5, --precision fp32"
        skip = settings.on_nonfinite == "skip"
        self.guard = StepGuard(
            self.model, self.optimizer, skip, advice=advice + " or --on-nonfinite skip" * (not skip)
        )
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
        self.progress["skipped"] = 0

    def _forward(self) -> Callable[[Tensor, Tensor], Features]:
        """What a step calls: the model, where asked for compiled, and among several processes synchronised."""
        module = self.world.wrap(self.model, self.settings.sync_bn)
        steps = self.settings.epochs * self.steps_per_epoch
        return (
            CompiledForward(module) if worth_compiling(self.settings.compile, self.device, steps) else module
        )

    def run(self) -> dict[str, Any]:
        """Trains, or continues a run with `resume`. Returns the last progress. Ctrl-C saves before it is raised."""
        with claimed(self.folder, new=not self.settings.resume) if self.world.main else nullcontext():
            return self._run()

    def _run(self) -> dict[str, Any]:
        self._open_folder()
        if self.device.type == "cpu":
            keep_freed_memory()
        now = self.progress
        log = RunLog(self.folder, now["step"], evaluated=now["batch"] == 0) if self.world.main else None
        try:
            # Around the save too: where a process is lost, the launcher signals the others.
            with StopRequest() as stop:
                try:
                    with peers():
                        self._train(log, stop)
                except (KeyboardInterrupt, PeerLostError):
                    self._save_stopped(log)
                    raise
        finally:
            if log is not None:
                log.close()
        if self.world.main:
            draw_curves(self.folder)
        return self.progress

    def _train(self, log: RunLog | None, stop: StopRequest) -> None:
        for epoch in range(self.progress["epoch"], self.settings.epochs):
            self._train_epoch(epoch, log, stop)
            self._evaluate(epoch, log)
            self.progress |= {"epoch": epoch + 1, "batch": 0}
            self._save(log)

    def _open_folder(self) -> None:
        state = self.folder / "last" / "state.safetensors"
        if self.settings.resume:
            run = self.settings.fixed()
            self.progress |= load_state(state, self.model, self.optimizer, self.average, run)
            self._check_progress(state)
            if self.world.main:
                for folder in (self.folder, state.parent):
                    remove_partial(folder, (state.name, WEIGHTS, CONFIG, "metrics.jsonl"))
            return
        if not self.world.main:
            return
        if state.exists():
            raise ValueError(
                f"{self.folder} already holds a run: add --resume to continue it, or choose another --output"
            )
        saved = dataclasses.replace(self.settings, output=str(self.folder), resume=False)
        write_atomically(self.folder / "settings.yaml", saved.yaml().encode())
        facts = environment() | {"starting_weights": starting_weights(self.settings)}
        write_atomically(self.folder / "environment.json", json.dumps(facts, indent=1).encode())
        self._save()  # what cannot be written shows now, and --resume works from here on

    def _check_progress(self, state: Path) -> None:
        now = self.progress
        if now["step"] != now["epoch"] * self.steps_per_epoch + now["batch"]:
            raise ValueError(
                f"{state} was saved with other images or batches: {now['step']} steps, which are not {now['epoch']} "
                f"epochs of {self.steps_per_epoch} and {now['batch']}; start another run in another folder"
            )

    def _train_epoch(self, epoch: int, log: RunLog | None, stop: StopRequest) -> None:
        settings = self.settings
        warm = epoch + 1e-9 < settings.warmup_epochs
        augment = PairedAugment(augment_config(settings, erase=not warm))
        self.model.train()
        start = self.progress["batch"]
        title = f"epoch {epoch + 1}/{settings.epochs}"
        last = settings.epochs * self.steps_per_epoch
        since, images = perf_counter(), 0
        cuda = [self.device] if self.device.type == "cuda" else []
        with (
            torch.random.fork_rng(cuda),
            tqdm(
                total=self.steps_per_epoch,
                initial=start,
                desc=title,
                unit="step",
                leave=False,
                mininterval=1.0,
                disable=not self.world.main,
            ) as bar,
        ):
            remaining = range(start, self.steps_per_epoch)
            for _, batch in zip(remaining, self.pipeline.epoch(epoch, augment, start), strict=False):
                stop.check()
                step = self.progress["step"]
                set_learning_rate(self.optimizer, learning_rate(settings, step, self.steps_per_epoch))
                parts = self._step(batch, step)
                images += len(batch.images) * self.world.size
                bar.update()
                logs = (step + 1) % settings.log_every == 0 or step + 1 == last
                if logs or not self.guard.gated:
                    self._look(log)
                if log is not None and logs:
                    rate = images / (perf_counter() - since)
                    since, images = perf_counter(), 0
                    bar.set_postfix_str(self._record(log, epoch, parts, rate))
            stop.check()
            self._look(log)

    def _look(self, log: RunLog | None) -> None:
        """Learns of steps that were refused; raises NonFiniteLossError unless they may be skipped."""

        def report(refused: Refused) -> None:
            if log is not None:
                facts = {"epoch": refused.epoch, "terms": refused.terms, "images": refused.images}
                log.note("refused", refused.step, facts)
                if self.guard.skip:
                    tqdm.write(f"skipped a batch: {refused}", file=sys.stderr)

        self.progress["skipped"] += self.guard.look(report)

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
        torch.manual_seed(step_seed(settings.seed, step, self.world.rank))  # of dropout and the like
        self.guard.begin()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            features = self.forward(batch.images, batch.modality)
        features, layout = self.world.gather(features, batch.layout)
        loss, parts = total_loss(
            features, layout, self.weights, ramp=ramp, triplet_scale=0.0 if position < 0 else 1.0
        )
        self.optimizer.zero_grad(set_to_none=True)
        # The gradients are averaged over the processes, and each process has those of its own rows alone.
        (loss * self.world.size).backward()
        names, rows = self.data.train.names, batch.rows
        seen = Seen(self.progress["epoch"] + 1, step + 1, lambda: [names[row] for row in rows])
        self.guard.descend({**parts, "total": loss}, seen, settings.clip)
        if self.average is not None:
            self.average.update_parameters(self.model)
        self.progress |= {"step": step + 1, "batch": self.progress["batch"] + 1}
        self.guard.end()
        return parts

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
        score, values = held_out_figures(self.best_network(), self.held_out, self.data.protocol)
        log.write("eval", self.progress["step"], values)
        shown = " ".join(f"{name} {100 * v:.1f}" for name, v in values.items() if name != "modality_gap")
        tqdm.write(f"epoch {epoch + 1}: held-out identities: {shown}")
        if score > self.progress["best"]:
            self.best_network().save_pretrained(self.folder)
            self.progress |= {"best": score, "best_step": self.progress["step"]}

    def _save(self, log: RunLog | None = None) -> None:
        if not self.world.main:
            return
        if log is not None:
            log.flush()
        last = self.folder / "last"
        self.best_network().save_pretrained(last)
        run = self.settings.fixed()
        save_state(last / "state.safetensors", self.model, self.optimizer, self.average, self.progress, run)

    def _save_stopped(self, log: RunLog | None) -> None:
        """Saves after an interruption, unless that cut a step of the optimiser: then the state before stays."""
        if not self.world.main:
            return
        whole = self.guard.recover()
        if whole:
            self._look(log)
            self._save(log)
        say_stopped("train", self.folder, self.progress["step"] if whole else None)
