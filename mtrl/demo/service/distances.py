"""Cosine similarities of a visible image and its transition images to infrared images of the same person."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mtrl.demo.service.gallery_folder import GalleryImage
from mtrl.demo.service.service import DemoService
from mtrl.models.config import Modality


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


def measure(
    service: DemoService,
    visible: Image.Image,
    transitions: Mapping[str, Image.Image],
    known: GalleryImage | None,
) -> ModalityDistance:
    """The modality distance of one visible image; `known` is the gallery image that it is.

    Transition images take the infrared side of the model, as in training.
    """
    v = service.model.encode([visible], "visible")[0]
    t = service.model.encode(list(transitions.values()), "infrared")
    infrared = service.features[Modality.INFRARED]
    people = [service.images[i].person for i in service.rows[Modality.INFRARED]]
    person = known.person if known else None
    same = np.array([person is not None and identity == person for identity in people])

    def distances(feature: Tensor) -> Distances:
        cosines = (infrared @ feature).numpy()
        return Distances(cosines[same], cosines[~same])

    return ModalityDistance(
        distances(v),
        {name: distances(row) for name, row in zip(transitions, t, strict=True)},
        {name: float(row @ v) for name, row in zip(transitions, t, strict=True)},
    )
