"""One search result."""

from __future__ import annotations

import dataclasses

from mtrl.retrieval.checks import Identity


@dataclasses.dataclass(frozen=True)
class Match:
    """One search result.

    rank      from 1
    score     cosine of query and entry
    index     row in the gallery; -1 for a database, which has no rows
    time      seconds since 1970-01-01 UTC, or None
    modality  "visible" or "infrared" in a gallery of both, else None
    track     name of the track that the image belongs to, or that the entry stands for; or None
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
