"""Records of the service's answers: ranking, transition image, comparison."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mtrl.demo.service.gallery_folder import GalleryImage
from mtrl.models.config import Modality


class Query(NamedTuple):
    """An image to search with.

    size      its own (width, height); `image` is no larger than any model needs
    known     the gallery image that it is, if it is one
    detected  the modality that it looks like;  modality  the one that it is searched as
    hints     sentences for the user about what was assumed
    """

    image: Image.Image
    size: tuple[int, int]
    known: GalleryImage | None
    detected: Modality
    modality: Modality
    hints: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Hit:
    """One ranked image. `correct` is None where the query's person is unknown."""

    rank: int
    score: float
    image: GalleryImage
    correct: bool | None


@dataclasses.dataclass(frozen=True)
class Retrieval:
    """The answer to one query.

    query        the image that was searched with, upright RGB
    others       further images of the person whose embeddings were averaged with it
    target       the spectrum of the images that were searched
    transition   the query as a transition image; for an infrared query that of the best match; None: not asked for
    scores       cosine of every searched gallery image, descending
    first_right, last_right, relevant, precision   as in `Grade`, over the whole gallery
    skipped      gallery images left out because they were taken in the query's own room, besides the query's own
    drawn        whether the gallery's people are drawn
    hints        sentences for the user about what was assumed
    seconds      of reading, encoding and ranking
    """

    query: Image.Image
    others: list[Image.Image]
    known: GalleryImage | None
    detected: Modality
    modality: Modality
    target: Modality
    hits: list[Hit]
    transition: Image.Image | None
    scores: NDArray[np.float32]
    first_right: int | None
    last_right: int | None
    relevant: int
    precision: float | None
    skipped: int
    drawn: bool
    hints: list[str]
    seconds: float


@dataclasses.dataclass(frozen=True)
class Translation:
    """A visible image, its transition and, where the gallery holds it, the true infrared view."""

    query: Image.Image
    known: GalleryImage | None
    transition: Image.Image
    truth: Image.Image | None
    hints: list[str]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A query beside one gallery image.

    evidence  float32 [H,W] in [0,1] of each image: where the similarity comes from
    places    float32 [h,w,h,w]: cosine of each place of the query to each place of the match
    """

    query: Image.Image
    match: Image.Image
    image: GalleryImage
    modality: Modality
    score: float
    correct: bool | None
    evidence: tuple[Tensor, Tensor]
    places: Tensor
