"""The people that the figures show, sampled by a seed."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtrl.data.imageset import ImageSet
from mtrl.models.config import Modality
from mtrl.models.reid import MTRL
from mtrl.translate import Translator


@dataclasses.dataclass(frozen=True, eq=False)
class People:
    """P identities with K visible images, their K transition images and K infrared images each, sorted by identity.

    visible, transition, infrared  float32 [P*K, 3, H, W] in [0, 1]
    identities                     int64 [P*K], the same for all three
    modality                       the stem that transition images go through, as the translator says
    """

    visible: Tensor
    transition: Tensor
    infrared: Tensor
    identities: NDArray[np.int64]
    modality: Modality

    def encode(self, model: MTRL) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings of visible, transition and infrared images, each float32 [P*K, D] with rows of unit length.

        Transition images are encoded as in training: in the modality that their translator names.
        """
        return (
            model.encode(self.visible, modality="visible"),
            model.encode(self.transition, modality=self.modality),
            model.encode(self.infrared, modality="infrared"),
        )


def choose(images: ImageSet, translator: Translator, identities: int, count: int, seed: int) -> People:
    """Draws people and their images by `seed`.

    identities  largest number of people
    count       number of images per person and modality; fewer for all, if not enough people have so many
    Raises ValueError if fewer than two people have images of both modalities.
    """
    rng = np.random.default_rng(seed)
    modalities = (Modality.VISIBLE, Modality.INFRARED)
    rows = {
        (identity, modality): np.flatnonzero(
            (images.identities == identity) & (images.modalities == int(modality))
        )
        for identity in np.unique(images.identities)
        for modality in modalities
    }
    both = [i for i in np.unique(images.identities) if all(len(rows[i, modality]) for modality in modalities)]
    enough = [i for i in both if all(len(rows[i, modality]) >= count for modality in modalities)]
    count = (
        count
        if len(enough) >= 2
        else min(len(rows[i, modality]) for i in both for modality in modalities)
        if both
        else 0
    )
    usable = enough if len(enough) >= 2 else both
    if len(usable) < 2:
        raise ValueError("the test set has fewer than two people with images of both modalities")
    chosen = sorted(rng.permutation(usable)[:identities])
    drawn = [
        np.concatenate([rng.permutation(rows[i, modality])[:count] for i in chosen])
        for modality in modalities
    ]
    visible, infrared = (
        torch.from_numpy(np.ascontiguousarray(images.images[part])).permute(0, 3, 1, 2).float() / 255
        for part in drawn
    )
    with torch.no_grad():
        transition = translator(visible)
    return People(visible, transition, infrared, np.repeat(np.array(chosen), count), translator.modality)
