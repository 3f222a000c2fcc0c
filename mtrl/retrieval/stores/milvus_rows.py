"""Converts gallery entries to rows of a Milvus collection, and rows to search results.

A row holds `name` (the key), `identity` and `track` in the form of `canonical`, so that filters and replacements work
as in the other stores. If they were given in another form, the field `given` holds [name, identity, track] as JSON.
Rows of older versions hold the track as it was given, and [name, identity].
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mtrl.labels.names import canonical, short
from mtrl.retrieval.gallery import Gallery
from mtrl.retrieval.match import Match

MAX_TEXT = 1024
MAX_GIVEN = 1 << 15  # JSON may take six characters for one
LABELS = ("identity", "camera", "time")
FIELDS = ("name", *LABELS, "given", "modality", "track", "pooled")


def check_texts(entries: Gallery) -> None:
    """Raises ValueError for a name, identity or track that is too long for Milvus, or not valid Unicode."""
    for text in (*entries.names, *map(str, entries.identities or ()), *(entries.tracks or ())):
        try:
            size = len(canonical(text).encode())
        except UnicodeEncodeError:
            raise ValueError(
                f"Milvus holds Unicode text only, which {text!r} is not: rename the file in UTF-8"
            ) from None
        if size > MAX_TEXT:
            raise ValueError(
                f"names and identities in Milvus have at most {MAX_TEXT} bytes, not {size}: {short(text)!r}"
            )


def to_row(entries: Gallery, row: int, fields: Sequence[str]) -> dict[str, Any]:
    """One row of a gallery as a row of a collection.

    fields  those of `FIELDS` that the collection has; collections of older versions lack `given`
    """
    name = entries.names[row]
    identity = None if entries.identities is None else entries.identities[row]
    track = None if entries.tracks is None else entries.tracks[row]
    values = {
        "name": canonical(name),
        "feature": entries.features[row].float().numpy(),
        "identity": None if identity is None else canonical(str(identity)),
        "camera": None if entries.cameras is None else entries.cameras[row],
        "time": None if entries.times is None else entries.times[row],
    }
    if "modality" in fields:
        values["modality"] = entries.spectra[row].name.lower()
    if "track" in fields and track is not None:
        values["track"] = canonical(track)
        values["pooled"] = values["track"] == values["name"]
    if "given" in fields:
        changed = (name, identity, track) != (values["name"], values["identity"], values.get("track"))
        values["given"] = json.dumps([name, identity, track], ensure_ascii=False) if changed else ""
    return values


def to_matches(hits: Sequence[Any]) -> list[Match]:
    """The matches of one query, best first, with names, identities and tracks as they were given."""
    ranked = sorted(hits, key=lambda hit: (-hit["distance"], hit["entity"]["name"]))
    return [_match(rank, hit["distance"], hit["entity"]) for rank, hit in enumerate(ranked, start=1)]


def _match(rank: int, score: float, entity: Any) -> Match:
    texts = [entity["name"], entity.get("identity"), entity.get("track")]
    if entity.get("given"):
        given = json.loads(entity["given"])
        texts[: len(given)] = given
    name, identity, track = texts
    camera, time, modality = (entity.get(field) for field in ("camera", "time", "modality"))
    return Match(rank, float(score), -1, name, identity, camera, time, modality, track)
