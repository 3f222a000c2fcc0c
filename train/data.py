"""Loads the data set that the settings of a training name."""

from __future__ import annotations

from mtrl.data import load_data
from mtrl.data.imageset import ReIDData
from mtrl.data.sources import find_source
from train.settings import RunSettings


def data_name(settings: RunSettings) -> str:
    """A run's data in a word, e.g. "synthetic-small-thermal"."""
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
