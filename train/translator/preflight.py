"""Checks before a translator's training starts. No image is decoded or rendered."""

from __future__ import annotations

from mtrl.data.augment import AugmentConfig
from mtrl.models.device import pick_device
from train.data import load
from train.run.resume import check_folder
from train.translator.batches import check_modalities, split_last
from train.translator.settings import TranslatorSettings


def check(settings: TranslatorSettings) -> None:
    """Raises ValueError or OSError, with the reason, if the run cannot be trained."""
    check_folder(settings)
    pick_device(settings.device)
    AugmentConfig(pad=settings.pad, flip=settings.flip, erase=0.0)
    images = load(settings, ("train",), labels_only=True).train
    rows, held_out = split_last(images, settings.hold_out)
    check_modalities(images.modalities[rows], "the images that a translator learns from")
    if settings.hold_out and settings.sheet_every:
        what = f"the images of the {settings.hold_out} held-out identities, shown in the sheets,"
        check_modalities(images.modalities[held_out], what)
