"""What is known to be right: whether two images show one person, and how well a ranking did."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mtrl.demo.service.gallery_folder import GalleryImage
from mtrl.retrieval.metrics.labels import room_of
from mtrl.retrieval.metrics.ranking import rank_metrics


@dataclasses.dataclass(frozen=True)
class Grade:
    """How well a ranking did. All but `relevant` are None where no image shows the person, or nobody knows.

    first_right, last_right  ranks of the first and the last image of the person, from 1
    relevant                 number of images of the person
    precision                average precision in [0, 1]
    """

    first_right: int | None
    last_right: int | None
    relevant: int
    precision: float | None


def grade(query: GalleryImage | None, ranked: Sequence[GalleryImage]) -> Grade:
    """The grade of a whole ranking, best first."""
    right = np.array([same_person(query, image) is True for image in ranked], dtype=bool)
    if not right.any():
        return Grade(None, None, 0, None)
    ranks = np.flatnonzero(right) + 1
    return Grade(int(ranks[0]), int(ranks[-1]), len(ranks), _average_precision(right))


def same_person(query: GalleryImage | None, image: GalleryImage) -> bool | None:
    """Whether both show one person; None where that is not known."""
    if query is None or query.identity is None or image.identity is None:
        return None
    return query.person == image.person


def same_room(query: GalleryImage | None, image: GalleryImage) -> bool:
    """The benchmark's rule: gallery images from the query's own room are left out."""
    if query is None or query.camera is None or image.camera is None:
        return False
    return room_of(query.camera) == room_of(image.camera)


def _average_precision(right: NDArray[np.bool_]) -> float:
    ranks = np.arange(len(right))[None]
    return float(rank_metrics(ranks, [1], right.astype(np.int64), protocol="regdb").ap[0])
