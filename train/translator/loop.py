"""One training run of a translator: steps, a moving average of the weights, sheets, a state to continue from."""

from __future__ import annotations

import json
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mtrl.console.progress import Progress, say
from mtrl.data.augment import AugmentConfig
from mtrl.data.imageset import ImageSet
from mtrl.files.atomic import remove_partial, write_atomically
from mtrl.hub.client import CONFIG, WEIGHTS
from mtrl.models.device import pick_device
from mtrl.translate.files import save_translator
from mtrl.translate.learned import STRIDE, Learned, luminance
from train.build import pick_precision
from train.preflight import check_folder, say_changes
from train.run.log import RunLog, draw_curves, environment
from train.run.run_lock import claimed
from train.run.skipped_steps import Refused, Seen, StepGuard
from train.run.state import load_state, save_state
from train.run.stop import StopRequest, say_stopped
from train.translator.batches import Batch, Batches, split_last
from train.translator.networks import Networks, draw_positions
from train.translator.objective import (
    discriminator_loss,
    generator_loss,
    identity_loss,
    patch_contrast,
    structure_loss,
)
from train.translator.settings import TUNABLE, TranslatorSettings
from train.translator.sheet import sample_sheet

BETAS = (0.5, 0.99)  # little momentum: the opponent moves


class TranslatorTrainer:
    """`run` trains to the end or to Ctrl-C and leaves a run folder that `load_translator` reads."""

    def __init__(self, settings: TranslatorSettings, images: ImageSet, truth: ImageSet | None = None) -> None:
        self.settings = settings
        self.images = images
        self.folder = Path(settings.run_folder)
        self.device = pick_device(settings.device)
        self.precision = pick_precision(settings.precision, self.device)
        rows, self.held_out = split_last(images, settings.hold_out)
        augment = AugmentConfig(pad=settings.pad, flip=settings.flip, erase=0.0)
        self.batches = Batches(images, rows, truth, settings.batch_size, augment, self.device, settings.seed)
        self.steps_per_epoch = min(settings.batches or len(self.batches), len(self.batches))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            networks = Networks(Learned(settings.network()))
        self.networks = networks.to(self.device).to(memory_format=torch.channels_last)
        update = get_ema_multi_avg_fn(settings.ema)
        self.average = AveragedModel(self.networks.generator, multi_avg_fn=update)
        # One optimiser for both sides: a step moves only what has a gradient.
        fused = self.device.type == "cuda"  # which `StepGuard` needs there
        self.optimizer = torch.optim.Adam(self.networks.parameters(), settings.lr, BETAS, fused=fused)
        advice = (
            f"The last saved state stands in {self.folder / 'last'}; try a lower --lr or --precision fp32"
        )
        self.guard = StepGuard(self.networks, self.optimizer, advice=advice)
        self.progress: dict[str, Any] = {"epoch": 0, "batch": 0, "step": 0}

    def run(self) -> dict[str, Any]:
        """Trains, or continues with `resume`. Returns the last progress. Ctrl-C saves before it is raised."""
        with claimed(self.folder, new=not self.settings.resume):
            return self._run()

    def _run(self) -> dict[str, Any]:
        self._open_folder()
        log = RunLog(self.folder, self.progress["step"])
        try:
            with StopRequest() as stop:
                for epoch in range(self.progress["epoch"], self.settings.epochs):
                    self._train_epoch(epoch, log, stop)
                    self.progress |= {"epoch": epoch + 1, "batch": 0}
                    self._save()
                    self._sheet(epoch)
        except KeyboardInterrupt:
            self._save_stopped(log)
            raise
        finally:
            log.close()
        draw_curves(self.folder)
        return self.progress

    def generator(self) -> Learned:
        """The averaged network: what is kept."""
        return self.average.module  # type: ignore[return-value]

    def _open_folder(self) -> None:
        state = self.folder / "last" / "state.safetensors"
        changes = check_folder(self.settings, TUNABLE)
        if self.settings.resume:
            run = self.settings.fixed()
            self.progress = load_state(state, self.networks, self.optimizer, self.average, run)
            for folder in (self.folder, state.parent):
                remove_partial(folder, (state.name, WEIGHTS, CONFIG, "metrics.jsonl"))
            if changes:
                say_changes(changes, say)
                write_atomically(self.folder / "settings.yaml", self.settings.yaml().encode())
            return
        write_atomically(self.folder / "settings.yaml", self.settings.yaml().encode())
        write_atomically(
            self.folder / "environment.json",
            json.dumps(environment(self.settings.record()), indent=1).encode(),
        )
        self._save_state()  # what cannot be written shows now, and --resume works from here on

    def _train_epoch(self, epoch: int, log: RunLog, stop: StopRequest) -> None:
        settings, start = self.settings, self.progress["batch"]
        last = settings.epochs * self.steps_per_epoch
        title = f"epoch {epoch + 1}/{settings.epochs}"
        since, images = perf_counter(), 0
        with Progress[None](
            total=self.steps_per_epoch, initial=start, title=title, unit="step", keep=False
        ) as bar:
            for _, batch in zip(
                range(start, self.steps_per_epoch), self.batches.epoch(epoch, start), strict=False
            ):
                stop.check()
                rate = self._learning_rate()
                parts = self._step(batch, rate)
                images += len(batch.visible)
                bar.update()
                step = self.progress["step"]
                logs = step % settings.log_every == 0 or step == last
                if logs or not self.guard.gated:
                    self._look(log)
                if logs:
                    values = {f"loss_{name}": float(value) for name, value in parts.items()}
                    more = {"learning_rate": rate, "images_per_second": images / (perf_counter() - since)}
                    since, images = perf_counter(), 0
                    log.write("train", step, {"epoch": epoch + 1, **values, **more})
                    bar.remark(" ".join(f"{n[5:]} {v:.2f}" for n, v in values.items()))
            stop.check()
            self._look(log)

    def _look(self, log: RunLog) -> None:
        """Raises NonFiniteLossError if a step since the last look was refused."""

        def report(refused: Refused) -> None:
            facts = {"epoch": refused.epoch, "terms": refused.terms, "images": refused.images}
            log.note("refused", refused.step, facts)

        self.guard.look(report)

    def _learning_rate(self) -> float:
        """Constant over the first half of the run, then linear to zero."""
        share = self.progress["step"] / (self.settings.epochs * self.steps_per_epoch)
        return self.settings.lr * min(1.0, 2 * (1 - share))

    def _step(self, batch: Batch, rate: float) -> dict[str, Tensor]:
        """One step of the generator with its projections, then one of the discriminator."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        names, rows = self.images.names, batch.rows
        now = self.progress
        seen = Seen(now["epoch"] + 1, now["step"] + 1, lambda: [names[row] for row in rows])
        discriminator = self.networks.discriminator
        self.guard.begin()
        discriminator.requires_grad_(False)
        fake, parts = self._generator_terms(batch)
        loss = sum((self._weight(name) * value for name, value in parts.items()), torch.zeros(()))
        self._descend(loss, parts, seen)
        discriminator.requires_grad_(True)
        with self._autocast():
            verdicts = discriminator(torch.cat([batch.infrared, fake.detach()]))
        loss = discriminator_loss(*verdicts.chunk(2))
        self._descend(loss, {"discriminator": loss}, seen)
        self.average.update_parameters(self.networks.generator)
        self.progress |= {"step": now["step"] + 1, "batch": now["batch"] + 1}
        self.guard.end()
        return {name: value.detach() for name, value in parts.items()} | {"discriminator": loss.detach()}

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def _weight(self, name: str) -> float:
        return float(getattr(self.settings, name))

    def _descend(self, loss: Tensor, terms: dict[str, Tensor], seen: Seen) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.guard.descend(terms, seen)

    def _generator_terms(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The translated images [B,1,H,W], and each term whose weight is not zero."""
        networks, settings = self.networks, self.settings
        visible = batch.visible.contiguous(memory_format=torch.channels_last)
        with self._autocast():
            fake = networks.generator.predict(visible)
            verdicts = networks.discriminator(fake)
        parts = {"adversarial": generator_loss(verdicts)}
        if settings.structure:
            parts["structure"] = structure_loss(fake, luminance(visible))
        if settings.contrast:
            output, source = self._patches(visible, fake, batch.draws)
            terms = [patch_contrast(q, k) for q, k in zip(output, source, strict=True)]
            parts["contrast"] = torch.stack(terms).mean()
        if settings.identity:
            with self._autocast():
                same = networks.generator.predict(batch.infrared.expand(-1, 3, -1, -1))
            parts["identity"] = identity_loss(same, batch.infrared)
        if batch.truth is not None:
            parts["truth"] = identity_loss(fake, batch.truth)
        return fake, parts

    def _patches(
        self, visible: Tensor, fake: Tensor, draws: torch.Generator
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Unit vectors of the same places in the translated and in the visible images, for each stage."""
        networks = self.networks
        height, width = (side // STRIDE * STRIDE for side in fake.shape[2:])
        with self._autocast():
            output = networks.stages(fake[:, :, :height, :width])
            places = draw_positions(output, self.settings.samples, draws)
            with torch.no_grad():
                source = networks.projection(networks.stages(visible[:, :, :height, :width]), places)
            return networks.projection(output, places), source

    def _save(self) -> None:
        save_translator(self.generator(), self.folder)
        self._save_state()

    def _save_state(self) -> None:
        state = self.folder / "last" / "state.safetensors"
        run = self.settings.fixed()
        save_state(state, self.networks, self.optimizer, self.average, self.progress, run)

    def _save_stopped(self, log: RunLog) -> None:
        """Saves after an interruption, unless that cut a step of the optimiser: then the state before stays."""
        whole = self.guard.recover()
        if whole:
            self._look(log)
            self._save()
        say_stopped("train translator", self.folder, self.progress["step"] if whole else None)

    def _sheet(self, epoch: int) -> None:
        every, last = self.settings.sheet_every, epoch + 1 == self.settings.epochs
        if every and (last or (epoch + 1) % every == 0):
            sample_sheet(self.images, self.held_out, self.generator(), self.device).save(
                self.folder / f"samples-{epoch + 1:03d}.jpg", quality=92
            )
