"""Cosine similarities of a visible image and its transition images to infrared images of the same person."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mtrl.demo.service.gallery_folder import GalleryImage
from mtrl.demo.service.service import DemoService
from mtrl.models.config import Modality
from mtrl.models.reid import MTRL


@dataclasses.dataclass(frozen=True, eq=False)
class Side:
    """A model and what it makes of a gallery's infrared images: embeddings [N,D], and whom each shows."""

    model: MTRL
    features: Tensor
    people: Sequence[str | None]


@dataclasses.dataclass(frozen=True)
class Distances:
    """Cosine similarities of one embedding to the gallery's infrared images.

    own     float32 [S], to images of the same person
    others  float32 [D], to images of other people
    """

    own: NDArray[np.float32]
    others: NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class ModalityDistance:
    """How near one visible image and its transition images are to infrared.

    before      of the visible image
    after       of its transition images, by translator
    similarity  cosine between the visible image and its transition image, by translator
    """

    before: Distances
    after: dict[str, Distances]
    similarity: dict[str, float]


def infrared_side(service: DemoService) -> Side:
    """The infrared side of a service's gallery, as its own model sees it."""
    people = [service.images[i].person for i in service.rows[Modality.INFRARED]]
    return Side(service.model, service.features[Modality.INFRARED], people)


def measure(
    side: Side,
    visible: Image.Image,
    transitions: Mapping[str, Image.Image],
    known: GalleryImage | None,
) -> ModalityDistance:
    """The modality distance of one visible image, for one model; `known` is the gallery image that it is.

    Transition images take the infrared side of the model, as in training.
    """
    v = side.model.encode([visible], "visible")[0]
    t = side.model.encode(list(transitions.values()), "infrared")
    person = known.person if known else None
    same = np.array([person is not None and identity == person for identity in side.people], dtype=bool)

    def distances(feature: Tensor) -> Distances:
        cosines = (side.features @ feature).numpy()
        return Distances(cosines[same], cosines[~same])

    return ModalityDistance(
        distances(v),
        {name: distances(row) for name, row in zip(transitions, t, strict=True)},
        {name: float(row @ v) for name, row in zip(transitions, t, strict=True)},
    )
