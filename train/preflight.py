"""What would stop a run, looked for before an image is decoded or drawn: its folder, its parts, its labels."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from eval.protocols import Setting, make_trials
from mtrl.console.cli import read_settings
from mtrl.console.settings_file import read_entries
from mtrl.data.imageset import ImageSet
from mtrl.data.sampler import IdentitySampler
from mtrl.models.config import Modality
from mtrl.translate import load_translator
from train.build import augment_config, loss_weights, seeded_model
from train.data import load
from train.optimizer import build_optimizer
from train.presets import listed
from train.run.distributed import World
from train.settings import FREE, TUNABLE, TrainSettings
from train.validate import DIRECTIONS

_OF_MODEL = ("backbone", "backbone_args", "image_size", "stem", "pooling", "last_stride", "pretrained")


class Run(Protocol):
    """The settings of a training of either kind."""

    @property
    def run_folder(self) -> str: ...
    @property
    def resume(self) -> bool: ...


def check_runs(
    runs: Sequence[TrainSettings], parts: tuple[str, ...] = ("train",), test_seed: int = 0
) -> None:
    """Raises ValueError or OSError, with its reason, for the first of some runs that could not be trained.

    Builds each different network once, with its pretrained weights, and reads the labels of each different data set.
    `parts` with "test" are evaluated afterwards too.
    """
    seen = set[tuple[Any, ...]]()
    world = World.current()
    for run in runs:
        if world.main or run.resume:  # the first process may have begun to write while another one is here
            check_folder(run)
        world.check_batch(run.identities)
        device = world.device(run.device)
        world.check_sync_bn(run.sync_bn, device)
        loss_weights(run)
        augment_config(run, erase=True)
        if _first(seen, "data", *run.fixed().values(), run.data_root, *parts):
            _check_data(run, parts, test_seed)
        if run.transition and _first(seen, "translator", run.translator):
            load_translator(run.translator)
        if _first(seen, "model", *(getattr(run, name) for name in _OF_MODEL), run.optimizer, str(device)):
            _check_model(run)


def check_folder(run: Run, tunable: frozenset[str] = TUNABLE) -> list[tuple[str, Any, Any]]:
    """(name, value before, value now) of what a resumed run changes; nothing for a new one.

    Raises ValueError for a folder that holds a run already, and for a resumed run that would be another experiment
    than the one that its settings.yaml names; FileNotFoundError when there is nothing to resume.
    """
    folder = Path(run.run_folder)
    state = folder / "last" / "state.safetensors"
    if not run.resume:
        if state.exists():
            raise ValueError(
                f"{folder} already holds a run: add --resume to continue it, or choose another --output"
            )
        return []
    if not state.is_file():
        raise FileNotFoundError(f"nothing to resume: {state} does not exist; start the run without --resume")
    path = folder / "settings.yaml"
    changes = differences(run, path)
    for name, before, now in changes:
        if name not in tunable:
            raise ValueError(
                f"{folder} belongs to a run with {name} {before}, not {now}: give the settings of that run "
                f"(--config {path}), or start another one in another folder"
            )
    return changes


def differences(run: Run, path: Path, free: frozenset[str] = FREE) -> list[tuple[str, Any, Any]]:
    """(name, value in the settings file of a run folder, value now) of what differs, but for `free` ones.

    A pooling of "auto" differs from none: the file names the one that it came to.
    """
    if not path.is_file():
        return []
    there, written = read_settings(type(run), path), read_entries(path)
    names = [field.name for field in dataclasses.fields(run)]  # type: ignore[arg-type]
    pairs = [(n, getattr(there, n), getattr(run, n)) for n in names if n in written and n not in free]
    return [pair for pair in pairs if pair[1] != pair[2] and (pair[0], pair[2]) != ("pooling", "auto")]


def say_changes(changes: Sequence[tuple[str, Any, Any]], say: Callable[[str], None]) -> None:
    """One line about what a resumed run changes."""
    if changes:
        before, now = (listed((name, pair[side]) for name, *pair in changes) for side in (0, 1))
        say(f"note: continued with {now} instead of {before}")


def _first(seen: set[tuple[Any, ...]], *key: Any) -> bool:
    """Whether this is the first run with these settings; a list counts as a tuple."""
    key = tuple(tuple(value) if isinstance(value, list) else value for value in key)
    new = key not in seen
    seen.add(key)
    return new


def _check_model(run: TrainSettings) -> None:
    """The network can be built, takes an image of either modality, and its optimiser takes the settings."""
    model = seeded_model(run, 1).eval()
    height, width = run.image_size
    with torch.inference_mode():
        model(torch.zeros(2, 3, height, width), torch.tensor([int(kind) for kind in Modality]))
    build_optimizer(model, run)


def _check_data(run: TrainSettings, parts: tuple[str, ...], test_seed: int) -> None:
    """The labels fill batches, and leave held-out and test identities that can be evaluated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # reading the data in earnest says the same
        data = load(run, parts, test_seed, labels_only=True)
        rows, held_out = data.train.split_identities(run.hold_out, seed=run.data_seed)
        IdentitySampler(
            data.train.identities[rows], data.train.modalities[rows], run.identities, run.instances, run.seed
        )
        if run.eval_every and run.hold_out:
            _check_evaluation(data.train, held_out, data.protocol, f"the {run.hold_out} held-out identities")
        if "test" in parts:
            _check_evaluation(data.test, np.arange(len(data.test)), data.protocol, "the test set")


def _check_evaluation(images: ImageSet, rows: NDArray[np.int64], protocol: str, what: str) -> None:
    labels = images.identities[rows], images.cameras[rows], images.modalities[rows]
    subsets = None if images.subsets is None else images.subsets[rows]
    for direction in DIRECTIONS:
        try:
            trials = make_trials(*labels, Setting(protocol, direction), subsets=subsets)
        except ValueError as error:
            raise ValueError(f"{what} cannot be evaluated: {error}") from error
        if not any(np.isin(labels[0][trial.query], labels[0][trial.gallery]).any() for trial in trials):
            raise ValueError(
                f"{what} cannot be evaluated: no {direction} query has its identity in the gallery"
            )
