"""The base class of both trainings: run folder, resuming, stopping after a whole step, log of skipped steps."""

from __future__ import annotations

import abc
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
from train.run.log import RunLog, draw_curves, environment
from train.run.resume import check_folder, say_changes
from train.run.run_lock import run_lock
from train.run.settings import RunSettings
from train.run.skipped_steps import SkippedStep, StepGuard
from train.run.state import load_state, save_state
from train.run.stop import StopRequest, say_stopped


class TrainingRun(abc.ABC):
    """One training in its run folder; `run` trains to the end or to Ctrl-C.

    A subclass sets these before `run`, and defines `_train` and `_save`:
    settings               of the run
    main                   whether this process writes; among several processes the first one does
    networks, optimizer    what is trained; average: moving average of its weights, or None
    guard                  leaves out steps whose loss or gradient is not finite
    progress               where the run stands: epochs, batches of the epoch, steps, skipped steps
    """

    command: ClassVar[str]  # of `python -m`, which continues a stopped run
    settings: RunSettings
    main: bool = True
    networks: nn.Module
    optimizer: torch.optim.Optimizer
    average: nn.Module | None
    guard: StepGuard

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.state = self.folder / "last" / "state.safetensors"
        self.progress: dict[str, Any] = {"epoch": 0, "batch": 0, "step": 0, "skipped": 0}

    @abc.abstractmethod
    def _train(self, log: RunLog | None, stop: StopRequest) -> None:
        """All epochs that are left."""

    @abc.abstractmethod
    def _save(self, log: RunLog | None = None) -> None:
        """Saves the networks and the state between two steps."""

    def run(self) -> dict[str, Any]:
        """Trains, or continues a run with `resume`. Returns the last progress. Ctrl-C saves before it is raised."""
        with run_lock(self.folder, new=not self.settings.resume) if self.main else nullcontext():
            return self._run()

    def _run(self) -> dict[str, Any]:
        self._open_folder()
        now = self.progress
        log = RunLog(self.folder, now["step"], evaluated=now["batch"] == 0) if self.main else None
        try:
            # Around the save too: where a process is lost, the launcher signals the others.
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
        # Among several processes the first one makes the folder, perhaps before the others come here.
        changes = check_folder(self.settings) if self.main or self.settings.resume else []
        if self.settings.resume:
            self._load_state()
            if self.main:
                for folder in (self.folder, self.state.parent):
                    remove_partial(folder, (self.state.name, WEIGHTS, CONFIG, "metrics.jsonl"))
                if changes:
                    say_changes(changes, say)
                    self._write_settings()
        elif self.main:
            self._write_settings()
            facts = json.dumps(environment(self.settings.record()) | self.origin(), indent=1)
            write_atomically(self.folder / "environment.json", facts.encode())
            self._save_first()

    def origin(self) -> dict[str, Any]:
        """Further facts for `environment.json`: what the run started from."""
        return {}

    def _write_settings(self) -> None:
        write_atomically(self.folder / "settings.yaml", self.settings.yaml().encode())

    def _save_first(self) -> None:
        """Before the first step: a folder that cannot be written is an error now, and --resume works from here on."""
        self._save_state()

    def _save_state(self) -> None:
        run = self.settings.fixed()
        save_state(self.state, self.networks, self.optimizer, self.average, self.progress, run)

    def _load_state(self) -> None:
        run = self.settings.fixed()
        self.progress |= load_state(self.state, self.networks, self.optimizer, self.average, run)

    def _save_stopped(self, log: RunLog | None) -> None:
        """Saves after an interruption, unless that cut a step of the optimiser: then the state before stays."""
        if not self.main:
            return
        whole = self.guard.recover()
        if whole:
            self._report_skipped(log)
            self._save(log)
        say_stopped(self.command, self.folder, self.progress["step"] if whole else None)

    def _report_skipped(self, log: RunLog | None) -> None:
        """Logs the steps skipped since the last call. Raises NonFiniteLossError unless steps may be skipped."""

        def report(skipped: SkippedStep) -> None:
            if log is not None:
                facts = {"epoch": skipped.epoch, "terms": skipped.terms, "images": skipped.images}
                log.note("refused", skipped.step, facts)
                if self.guard.skip:
                    say(f"skipped a batch: {skipped}")

        self.progress["skipped"] += self.guard.report_skipped(report)
