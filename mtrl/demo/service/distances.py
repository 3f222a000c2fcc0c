"""Cosine similarities of a visible image and its transition images to infrared images of the same person: by a
service's model, and by its network with random weights, so that what its weights do can be seen beside it."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from mtrl.demo.service.gallery_folder import GalleryImage
from mtrl.demo.service.service import ENCODED_TOGETHER, DemoService
from mtrl.models.config import Modality
from mtrl.models.reid import MTRL

SEED = 0
MOST_IMAGES = 120  # of each spectrum
MOST_PARAMETERS = 60_000_000
_seeded = threading.Lock()  # who draws weights changes the random state of all threads


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


def untrained_side(service: DemoService) -> Side | None:
    """The infrared side of the service's gallery as its network saw it with the random weights of `SEED`.

    Training starts from normalisation layers that follow the images before them, so these are set on the gallery's
    images; nothing is learned. Images that can no longer be read are passed over. None for networks of more than
    `MOST_PARAMETERS`, and for galleries with too few images or no infrared one.
    """
    if sum(p.numel() for p in service.model.parameters()) > MOST_PARAMETERS:
        return None
    with _seeded, torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = MTRL(service.model.config)
    images = {m: service.opened(_spread(service.rows[m])) for m in Modality}
    together = [(image, int(m)) for m in Modality for image in images[m].values()]
    together = together[:: -(-len(together) // ENCODED_TOGETHER) or 1]
    infrared = images[Modality.INFRARED]
    if len(together) < 2 or not infrared:  # too few for any statistics
        return None
    batch, kinds = zip(*together, strict=True)
    _set_normalisation(model, model.preprocess(list(batch)), torch.tensor(kinds))
    people = [service.images[i].person for i in infrared]
    return Side(model, model.encode(list(infrared.values()), "infrared", ENCODED_TOGETHER), people)


def _spread(rows: list[int]) -> list[int]:
    step = -(-len(rows) // MOST_IMAGES) or 1
    return rows[::step]


@torch.no_grad()
def _set_normalisation(model: MTRL, batch: torch.Tensor, kinds: torch.Tensor) -> None:
    """Gives the batch-normalisation layers the statistics of a batch [N,3,H,W] of modalities [N]."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
            module.momentum = None  # the mean over batches, of which there is one
    model.train()
    model(batch, kinds)
    model.eval()
