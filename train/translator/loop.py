"""The training loop of a translator: steps of generator and discriminator, averaged weights, sample images."""

from __future__ import annotations

from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mtrl.console.progress import Progress
from mtrl.data.augment import AugmentConfig
from mtrl.data.imageset import ImageSet
from mtrl.models.config import Modality
from mtrl.models.device import pick_device
from mtrl.translate.files import save_translator
from mtrl.translate.learned import STRIDE, Learned, luminance
from train.build import pick_precision
from train.run.log import RunLog
from train.run.origins import of_images
from train.run.skipped_steps import StepGuard, StepInfo
from train.run.stop import StopRequest
from train.run.training import TrainingRun
from train.translator.batches import Batch, Batches, Target, check_modalities, split_last
from train.translator.networks import Networks, draw_positions
from train.translator.objective import (
    discriminator_loss,
    generator_loss,
    mean_difference,
    patch_contrast,
    structure_loss,
)
from train.translator.settings import TranslatorSettings
from train.translator.sheet import sample_sheet
from train.translator.targets import SimilarImages, TrueViews

BETAS = (0.5, 0.99)  # less momentum than usual, since generator and discriminator change each other's loss


class TranslatorTrainer(TrainingRun):
    """Trains a translator. `run` trains to the end or until Ctrl-C; `load_translator` reads the run folder."""

    command = "train translator"
    settings: TranslatorSettings
    networks: Networks
    average: AveragedModel

    def __init__(self, settings: TranslatorSettings, images: ImageSet, truth: ImageSet | None = None) -> None:
        super().__init__(settings.run_folder)
        self.settings = settings
        self.images = images
        self.device = pick_device(settings.device)
        self.precision = pick_precision(settings.precision, self.device)
        if settings.paired != (truth is not None):
            raise ValueError("true infrared views belong to --paired, and --paired needs them")
        rows, self.held_out = split_last(images, settings.hold_out)
        check_modalities(images.modalities[rows], "the images that a translator learns from")
        augment = AugmentConfig(pad=settings.pad, flip=settings.flip, erase=0.0)
        target = self._target(rows, truth)
        self.origins["training images"] = of_images(images)
        self.batches = Batches(images, rows, target, settings.batch_size, augment, self.device, settings.seed)
        self.steps_per_epoch = min(settings.batches or len(self.batches), len(self.batches))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            networks = Networks(Learned(settings.network()))
        self.networks = networks.to(self.device).to(memory_format=torch.channels_last)
        update = get_ema_multi_avg_fn(settings.ema)
        self.average = AveragedModel(self.networks.generator, multi_avg_fn=update)
        # One optimiser for generator and discriminator: a step changes only weights that have a gradient.
        fused = self.device.type == "cuda"  # needed by `StepGuard` on CUDA
        self.optimizer = torch.optim.Adam(self.networks.parameters(), settings.lr, BETAS, fused=fused)
        advice = (
            f"The last saved state stands in {self.folder / 'last'}; try a lower --lr or --precision fp32"
        )
        self.guard = StepGuard(self.networks, self.optimizer, advice=advice)

    def _target(self, rows: NDArray[np.int64], truth: ImageSet | None) -> Target | None:
        """What the visible images of `rows` should come to look like: the truth, or infrared images of `rows`."""
        if truth is not None:
            return TrueViews(self.images, truth)
        if not self.settings.match:
            return None
        visible, infrared = (rows[self.images.modalities[rows] == int(kind)] for kind in Modality)
        return SimilarImages(self.images, visible, infrared, self.settings.matches, self.device)

    def _train(self, log: RunLog | None, stop: StopRequest) -> None:
        for epoch in range(self.progress["epoch"], self.settings.epochs):
            self._train_epoch(epoch, log, stop)
            self.progress |= {"epoch": epoch + 1, "batch": 0}
            self._save(log)
            self._sheet(epoch)

    def generator(self) -> Learned:
        """The generator with averaged weights, which is the result of the training."""
        return self.average.module  # type: ignore[return-value]

    def _train_epoch(self, epoch: int, log: RunLog | None, stop: StopRequest) -> None:
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
                    self._report_skipped(log)
                if log is not None and logs:
                    values = {f"loss_{name}": float(value) for name, value in parts.items()}
                    more = {"learning_rate": rate, "images_per_second": images / (perf_counter() - since)}
                    since, images = perf_counter(), 0
                    log.write("train", step, {"epoch": epoch + 1, **values, **more})
                    bar.remark(" ".join(f"{n[5:]} {v:.2f}" for n, v in values.items()))
            stop.check()
            self._report_skipped(log)

    def _learning_rate(self) -> float:
        """The current learning rate: constant in the first half of the run, then linear to zero."""
        done = self.progress["step"] / (self.settings.epochs * self.steps_per_epoch)
        return self.settings.lr * min(1.0, 2 * (1 - done))

    def _step(self, batch: Batch, rate: float) -> dict[str, Tensor]:
        """Makes one step of generator and projections, then one of the discriminator. Returns the loss terms."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        names, rows = self.images.names, batch.rows
        now = self.progress
        info = StepInfo(now["epoch"] + 1, now["step"] + 1, lambda: [names[row] for row in rows])
        discriminator = self.networks.discriminator
        self.guard.begin()
        discriminator.requires_grad_(False)
        fake, parts = self._generator_terms(batch)
        loss = sum((self._weight(name) * value for name, value in parts.items()), torch.zeros(()))
        self._optimize(loss, parts, info)
        discriminator.requires_grad_(True)
        with self._autocast():
            logits = discriminator(torch.cat([batch.infrared, fake.detach()]))
        loss = discriminator_loss(*logits.chunk(2))
        self._optimize(loss, {"discriminator": loss}, info)
        self.average.update_parameters(self.networks.generator)
        self.progress |= {"step": now["step"] + 1, "batch": now["batch"] + 1}
        self.guard.end()
        return {name: value.detach() for name, value in parts.items()} | {"discriminator": loss.detach()}

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def _weight(self, name: str) -> float:
        return float(getattr(self.settings, name))

    def _optimize(self, loss: Tensor, terms: dict[str, Tensor], info: StepInfo) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.guard.step(terms, info)

    def _generator_terms(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """(translated images [B,1,H,W], {name: term} for each term whose weight is not zero)."""
        networks, settings = self.networks, self.settings
        visible = batch.visible.contiguous(memory_format=torch.channels_last)
        with self._autocast():
            fake = networks.generator.predict(visible)
            logits = networks.discriminator(fake)
        parts = {"adversarial": generator_loss(logits)}
        if settings.structure:
            parts["structure"] = structure_loss(fake, luminance(visible))
        if settings.contrast:
            output, source = self._patches(visible, fake, batch.draws)
            terms = [patch_contrast(q, k) for q, k in zip(output, source, strict=True)]
            parts["contrast"] = torch.stack(terms).mean()
        if settings.identity:
            with self._autocast():
                same = networks.generator.predict(batch.infrared.expand(-1, 3, -1, -1))
            parts["identity"] = mean_difference(same, batch.infrared)
        if batch.target is not None:
            parts["truth" if settings.paired else "match"] = mean_difference(fake, batch.target)
        return fake, parts

    def _patches(
        self, visible: Tensor, fake: Tensor, draws: torch.Generator
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Unit vectors at the same positions of the translated and of the visible images, one tensor per stage."""
        networks = self.networks
        height, width = (side // STRIDE * STRIDE for side in fake.shape[2:])
        with self._autocast():
            output = networks.stages(fake[:, :, :height, :width])
            places = draw_positions(output, self.settings.samples, draws)
            with torch.no_grad():
                source = networks.projection(networks.stages(visible[:, :, :height, :width]), places)
            return networks.projection(output, places), source

    def _save(self, log: RunLog | None = None) -> None:
        if log is not None:
            log.flush()
        save_translator(self.generator(), self.folder)
        self._save_state()

    def _sheet(self, epoch: int) -> None:
        every, last = self.settings.sheet_every, epoch + 1 == self.settings.epochs
        if every and (last or (epoch + 1) % every == 0):
            sample_sheet(self.images, self.held_out, self.generator(), self.device).save(
                self.folder / f"samples-{epoch + 1:03d}.jpg", quality=92
            )
