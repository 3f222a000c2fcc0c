"""Rank-k, mAP and mINP of a model on the page's gallery, by the rules of SYSU-MM01."""

from __future__ import annotations

import dataclasses

from mtrl.demo.service.service import DemoService
from mtrl.models.config import Modality
from mtrl.retrieval.metrics.ranking import RankMetrics, rank_features

DIRECTIONS = {
    "infrared to visible": (Modality.INFRARED, Modality.VISIBLE),
    "visible to infrared": (Modality.VISIBLE, Modality.INFRARED),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Score:
    """Figures of one model in one direction; `queries` have a right image among `gallery` images."""

    name: str
    direction: str
    metrics: RankMetrics
    queries: int
    gallery: int


def benchmark(service: DemoService, name: str) -> list[Score]:
    """Both directions on the service's gallery, every image of the other spectrum searched.

    Raises ValueError for a gallery whose people or cameras are not known, or with one spectrum only.
    """
    images = service.images
    if any(p.identity is None or p.camera is None for p in images):
        raise ValueError(
            "a benchmark needs to know the person and the camera of every picture; this gallery does not say them "
            "all (manifest.json can)"
        )
    if not all(service.rows[modality] for modality in Modality):
        raise ValueError("a benchmark needs visible and infrared pictures; this gallery has one kind only")
    scores = []
    for direction, sides in DIRECTIONS.items():
        query, gallery = (service.features[modality] for modality in sides)
        labels = [[images[i] for i in service.rows[modality]] for modality in sides]
        people = [[str(p.person) for p in side] for side in labels]
        cameras = [[p.camera for p in side] for side in labels]
        metrics = rank_features(query, gallery, people[0], people[1], cameras[0], cameras[1], protocol="sysu")
        scores.append(Score(name, direction, metrics, metrics.valid, len(gallery)))
    return scores
