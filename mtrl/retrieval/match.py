"""One search result."""

from __future__ import annotations

import dataclasses

from mtrl.retrieval.checks import Identity


@dataclasses.dataclass(frozen=True)
class Match:
    """One search result. rank counts from 1; score is the cosine; index is the row in the gallery, -1 in a
    database, which has no rows; time is in seconds since 1970-01-01 UTC; modality, "visible" or "infrared", is that of
    the entry in a gallery of both; track is the track that the image belongs to, or that the entry stands for.
    """

    rank: int
    score: float
    index: int
    name: str
    identity: Identity | None
    camera: int | None
    time: float | None = None
    modality: str | None = None
    track: str | None = None
