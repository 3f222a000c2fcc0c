"""The base class of both kinds of training: run folder, resuming, stopping after a whole step, skipped steps."""

from __future__ import annotations

import abc
import dataclasses
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from mtrl.console.progress import say
from mtrl.files.atomic import remove_partial, write_atomically
from mtrl.hub.client import CONFIG, WEIGHTS
from train.run.distributed import WorkerLostError, worker_failures
from train.run.log import ENVIRONMENT, RunLog, add_change, draw_curves, environment
from train.run.origins import Origin, check_same
from train.run.resume import check_folder, in_words
from train.run.run_lock import run_lock
from train.run.settings import RunSettings
from train.run.skipped_steps import SkippedStep, StepGuard
from train.run.state import load_state, save_state
from train.run.stop import StopRequest, say_stopped


class TrainingRun(abc.ABC):
    """A training in its run folder. `run` trains to the end or until Ctrl-C.

    A subclass defines `_train` and `_save`, and sets these attributes before `run`:
    settings   settings of the run
    main       whether this process writes; only the first of several processes does
    networks   the module that is trained
    optimizer  its optimiser
    average    moving average of its weights, or None
    guard      skips steps in which loss or gradient is not finite
    steps_per_epoch  batches of an epoch
    progress   numbers of epochs, batches of the current epoch, steps and skipped steps so far
    origins    what it learns from, by name; a run is not resumed with another one
    """

    command: ClassVar[str]  # arguments of `python -m` that continue a stopped run
    settings: RunSettings
    main: bool = True
    networks: nn.Module
    optimizer: torch.optim.Optimizer
    average: nn.Module | None
    guard: StepGuard
    steps_per_epoch: int

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.state = self.folder / "last" / "state.safetensors"
        self.progress: dict[str, Any] = {"epoch": 0, "batch": 0, "step": 0, "skipped": 0}
        self.origins: dict[str, Origin] = {}

    @abc.abstractmethod
    def _train(self, log: RunLog | None, stop: StopRequest) -> None:
        """Trains all epochs that are left."""

    @abc.abstractmethod
    def _save(self, log: RunLog | None = None) -> None:
        """Saves the networks and the state. It is called between two steps."""

    def run(self) -> dict[str, Any]:
        """Trains, or continues a run if `settings.resume`. Returns the last progress.

        After Ctrl-C, it saves and then raises KeyboardInterrupt.
        """
        with run_lock(self.folder, new=not self.settings.resume) if self.main else nullcontext():
            return self._run()

    def _run(self) -> dict[str, Any]:
        self._open_folder()
        now = self.progress
        log = RunLog(self.folder, now["step"], evaluated=now["batch"] == 0) if self.main else None
        try:
            # Covers the save too: if one process is lost, the launcher sends a signal to the others.
            with StopRequest() as stop:
                try:
                    with worker_failures():
                        self._train(log, stop)
                except (KeyboardInterrupt, WorkerLostError):
                    self._save_stopped(log)
                    raise
        finally:
            if log is not None:
                log.close()
        if self.main:
            draw_curves(self.folder)
        return self.progress

    def _open_folder(self) -> None:
        # Only the first process checks a new folder: for the others, it may exist already.
        changes = check_folder(self.settings) if self.main or self.settings.resume else []
        if self.settings.resume:
            self._load_state()
            if self.main:
                for folder in (self.folder, self.state.parent):
                    remove_partial(folder, (self.state.name, WEIGHTS, CONFIG, "metrics.jsonl"))
                if changes:
                    say(f"note: continued with {in_words(changes)}")
                    self._write_settings()
                    add_change(self.folder / ENVIRONMENT, self.progress["step"], in_words(changes))
        elif self.main:
            self._write_settings()
            facts = json.dumps(environment(self.settings.record()) | self.origin(), indent=1)
            write_atomically(self.folder / ENVIRONMENT, facts.encode())
            self._save_first()

    def origin(self) -> dict[str, Any]:
        """Further entries for `environment.json`, about what the run started from."""
        return dict(self.origins)

    def _write_settings(self) -> None:
        placed = dataclasses.replace(self.settings, output=self.settings.run_folder)
        write_atomically(self.folder / "settings.yaml", placed.yaml().encode())

    def _save_first(self) -> None:
        """Saves before the first step, to notice early if the folder cannot be written, and so that --resume works."""
        self._save_state()

    def _save_state(self) -> None:
        run = self.settings.fixed()
        save_state(self.state, self.networks, self.optimizer, self.average, self.progress, run)

    def _load_state(self) -> None:
        run = self.settings.fixed()
        self.progress |= load_state(self.state, self.networks, self.optimizer, self.average, run)
        check_same(self.folder / ENVIRONMENT, self.origins)
        now = self.progress
        if now["step"] != now["epoch"] * self.steps_per_epoch + now["batch"]:
            raise ValueError(
                f"{self.state} was saved with other images or batches: {now['step']} steps, which are not "
                f"{now['epoch']} epochs of {self.steps_per_epoch} and {now['batch']}; start another run in "
                "another folder"
            )

    def _save_stopped(self, log: RunLog | None) -> None:
        """Saves after an interruption. If that interrupted a step of the optimiser, the last saved state is kept."""
        if not self.main:
            return
        whole = self.guard.recover()
        if whole:
            self._report_skipped(log)
            self._save(log)
        say_stopped(self.command, self.folder, self.progress["step"] if whole else None)

    def _report_skipped(self, log: RunLog | None) -> None:
        """Logs the steps skipped since the last call. Raises NonFiniteLossError if steps may not be skipped."""

        def report(skipped: SkippedStep) -> None:
            if log is not None:
                facts = {"epoch": skipped.epoch, "terms": skipped.terms, "images": skipped.images}
                log.note("refused", skipped.step, facts)
                if self.guard.skip:
                    say(f"skipped a batch: {skipped}")

        self.progress["skipped"] += self.guard.report_skipped(report)
