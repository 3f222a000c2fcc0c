"""Loads the data set that the settings of a training name."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eval.settings import EvalSettings
from mtrl.data import load_data
from mtrl.data.imageset import ImageSet, ReIDData
from mtrl.data.sampler import IdentitySampler
from mtrl.data.sources import find_source
from mtrl.data.synthetic import truth
from mtrl.data.transitions import read_transitions, transition_files
from mtrl.files.filenames import expanded
from mtrl.models.config import Modality
from train.run.settings import RunSettings
from train.settings import TrainSettings

DRAWN = "drawn"
"""The value of --transitions that stands for the drawings' own true infrared views."""


def data_name(settings: RunSettings | EvalSettings) -> str:
    """The data of a run or of an evaluation in a word, e.g. "synthetic-small-thermal"."""
    chosen = find_source(settings.dataset).chosen(settings.size, settings.spectrum)
    words = (settings.dataset, *chosen.values())
    return "-".join(word for word in words if word and word != "nir")


def load(
    settings: RunSettings,
    parts: tuple[str, ...] = ("train", "test"),
    test_seed: int = 0,
    labels_only: bool = False,
) -> ReIDData:
    """The data set of a run at its image size. Errors as in `mtrl.data.load_data`."""
    if settings.trial == "all":
        raise ValueError("--trial all stands for ten data sets; this takes one of them: --trial 1 to 10")
    height, width = settings.image_size
    return load_data(
        settings.dataset,
        settings.data_root,
        size=settings.size,
        seed=settings.data_seed,
        test_seed=test_seed,
        image_size=(height, width),
        cache_dir=settings.cache_dir,
        parts=parts,
        trial=int(settings.trial),
        train_ids=settings.train_ids,
        on_bad=settings.on_bad,
        labels_only=labels_only,
        value_range=settings.value_range,
        spectrum=settings.spectrum,
    )


def true_views(settings: RunSettings) -> ImageSet:
    """The true infrared view of each visible training image of the synthetic data set, in their order."""
    height, width = settings.image_size
    return truth(
        settings.data_seed, settings.size, (height, width), settings.cache_dir,
        domain="train", spectrum=settings.spectrum,
    )  # fmt: skip


def given_transitions(settings: TrainSettings, images: ImageSet) -> NDArray[np.uint8]:
    """uint8 [V,H,W,3]: the transition images that --transitions names. Errors as in `check_transitions`."""
    if _drawn(settings):
        return true_views(settings).images
    return read_transitions(images, str(settings.transitions), settings.cache_dir)


def check_transitions(settings: TrainSettings, images: ImageSet) -> None:
    """Raises ValueError or FileNotFoundError unless there is a transition image for each visible training image."""
    if not _drawn(settings):
        transition_files(images, str(settings.transitions), settings.data_root or "")


def _drawn(settings: TrainSettings) -> bool:
    """Whether the drawings' true views are meant; a folder of that name goes before them."""
    if settings.transitions != DRAWN or expanded(DRAWN).is_dir():
        return False
    if settings.dataset != "synthetic":
        raise ValueError(
            f"--transitions {DRAWN} stands for true views of drawings; {settings.dataset} has none"
        )
    return True


def identity_sampler(images: ImageSet, rows: NDArray[np.int64], settings: TrainSettings) -> IdentitySampler:
    """The P x K sampler of a run over these rows. Raises ValueError where they cannot fill a batch."""
    return IdentitySampler(
        images.identities[rows],
        images.modalities[rows],
        num_identities=settings.identities,
        num_instances=settings.instances,
        seed=settings.seed,
    )


def steps_per_epoch(sampler: IdentitySampler, settings: TrainSettings) -> int:
    """Batches of an epoch: one pass over the visible images, or fewer where the settings say so."""
    return min(settings.batches or len(sampler), len(sampler))


def split_rows(images: ImageSet, settings: TrainSettings) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the training images to train on, and rows of the held-out identities, both int64, ascending.

    With `settings.infrared_images` N, at most N infrared images of each identity are trained on, drawn by the seed of
    the data; visible and held-out images all stay. Raises ValueError for N below 1.
    """
    rows, held_out = images.split_identities(settings.hold_out, seed=settings.data_seed)
    most = settings.infrared_images
    if most is None:
        return rows, held_out
    if most < 1:
        raise ValueError(f"infrared_images must be at least 1, not {most}")
    generator = np.random.default_rng(settings.data_seed)
    infrared = images.modalities[rows] == int(Modality.INFRARED)
    kept = [rows[~infrared]]
    for identity in np.unique(images.identities[rows]):
        own = rows[infrared & (images.identities[rows] == identity)]
        kept.append(generator.permutation(own)[:most])
    return np.sort(np.concatenate(kept)), held_out
