"""Checks before a training starts: run folder, network, loss weights, labels. No image is decoded or rendered."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from eval.protocols import Setting, make_trials
from mtrl.console.settings_file import read_entries
from mtrl.data.imageset import ImageSet
from mtrl.data.sources import find_source
from mtrl.files.filenames import expanded
from mtrl.losses.total import TriLayout
from mtrl.models.config import Modality
from mtrl.models.load import load_pretrained
from mtrl.models.reid import Features
from mtrl.translate import load_translator
from train.build import augment_config, loss_weights, own_losses, seeded_model
from train.data import check_transitions, identity_sampler, load, split_rows
from train.optimizer import build_optimizer
from train.run.distributed import DistributedContext
from train.run.resume import check_folder
from train.settings import TrainSettings
from train.validate import DIRECTIONS

_CHECKED_IDENTITIES = 2  # of the batch that losses of one's own are tried on
_OF_MODEL = (
    "backbone",
    "backbone_args",
    "image_size",
    "stem",
    "pooling",
    "last_stride",
    "pretrained",
    "init",
    "loss",
    "patch_stride",
    "freeze_blocks",
    "layer_decay",
    "grad_checkpointing",
)


def check_runs(
    runs: Sequence[TrainSettings], parts: tuple[str, ...] = ("train",), test_seed: int = 0
) -> None:
    """Raises ValueError or OSError, with its reason, for the first of some runs that could not be trained.

    Builds each different network once, with its pretrained weights, and reads the labels of each different data set.
    `parts` with "test" are evaluated afterwards too.
    """
    seen = set[tuple[Any, ...]]()
    context = DistributedContext.current()
    for run in runs:
        if context.main or run.resume:  # the first process may have begun to write while another one is here
            check_folder(run)
        context.check_batch(run.identities)
        _check_splits(run)
        device = context.device(run.device)
        context.check_sync_bn(run.sync_bn, device)
        loss_weights(run)
        augment_config(run, erase=True)
        if _first(seen, "data", *run.fixed().values(), run.data_root, run.transitions, *parts, *run.parts):
            _check_data(run, tuple(sorted({*parts, *run.parts}, reverse=True)), test_seed)
        if run.transition and not run.transitions and _first(seen, "translator", run.translator):
            load_translator(run.translator)
        if run.teacher and _first(seen, "teacher", run.teacher):
            load_pretrained(run.teacher)
        if _first(seen, "model", *(getattr(run, name) for name in _OF_MODEL), run.optimizer, str(device)):
            _check_model(run)


def _first(seen: set[tuple[Any, ...]], *key: Any) -> bool:
    """Whether this is the first run with these settings; a list counts as a tuple."""
    key = tuple(tuple(value) if isinstance(value, list) else value for value in key)
    new = key not in seen
    seen.add(key)
    return new


def _check_splits(run: TrainSettings) -> None:
    """No model or translator of another split of the same data set: it has seen test identities of this one."""
    if not find_source(run.dataset).splits:
        return
    sources = {"init": run.init, "distil": run.teacher}
    if run.transition and not run.transitions:
        sources["translator"] = run.translator
    for name, source in sources.items():
        if not source:
            continue
        folder = expanded(source)  # a run's folder, or RUN/last, RUN/published, RUN/epochs/0010
        records = [place / "settings.yaml" for place in (folder, *folder.parents[:2]) if folder.is_dir()]
        record = next((path for path in records if path.is_file()), None)
        made = {} if record is None else {key: str(node.value) for key, node in read_entries(record).items()}
        split = made.get("trial", "1")
        if made.get("dataset") == run.dataset and split != run.trial:
            raise ValueError(
                f"--{name} {source} was trained on split {split} of {run.dataset} and has seen test identities of "
                f"split {run.trial}: give one of that split; with --trial all write {{trial}} in its name"
            )


def _check_model(run: TrainSettings) -> None:
    """The network can be built, takes an image of either modality, and its optimiser takes the settings."""
    model = seeded_model(run, 1).eval()
    height, width = run.image_size
    with torch.inference_mode():
        model(torch.zeros(2, 3, height, width), torch.tensor([int(kind) for kind in Modality]))
    build_optimizer(model, run)
    _check_losses(run, model.dim)


def _check_losses(run: TrainSettings, dim: int) -> None:
    """Each loss of --loss can be had, takes a batch, and gives a scalar."""
    layout = TriLayout.balanced(torch.arange(_CHECKED_IDENTITIES).repeat_interleave(2), run.transition)
    rows = torch.randn(len(layout.identities), dim, generator=torch.Generator().manual_seed(0))
    features = Features(rows, rows, rows[:, :1].repeat(1, _CHECKED_IDENTITIES))
    for loss in own_losses(run, dim, _CHECKED_IDENTITIES):
        try:
            loss(features, layout, rows)
        except ValueError:
            raise
        except Exception as error:  # whatever the loss does
            raise ValueError(
                f"the loss {loss.name} ends with {type(error).__name__} on {len(rows)} features of length {dim}: "
                f"{error}"
            ) from error


def _check_data(run: TrainSettings, parts: tuple[str, ...], test_seed: int) -> None:
    """The labels fill batches, and leave held-out and test identities that can be evaluated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # reading the data in earnest says the same
        data = load(run, parts, test_seed, labels_only=True)
        if run.transitions:
            check_transitions(run, data.train)
        rows, held_out = split_rows(data.train, run)
        identity_sampler(data.train, rows, run)
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
