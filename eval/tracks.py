"""`python -m eval tracks QUERIES GALLERY`: does it help to pool a track's images? Two indexes, scored four ways.

Queries and gallery are images or tracks: entries that `index --tracks` made. Nothing is skipped for its camera; ranks
are counted by image (or track).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from mtrl.console.cli import arguments
from mtrl.files.atomic import write_atomically
from mtrl.retrieval.filters import Filter
from mtrl.retrieval.gallery import Gallery
from mtrl.retrieval.ranking import rank_features

KINDS = ("images", "tracks")


@dataclasses.dataclass(frozen=True)
class Score:
    """One of the four ways; fractions."""

    queries: str
    gallery: str
    count: tuple[int, int]
    map: float
    rank1: float


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m eval tracks", description=__doc__)
    parser.add_argument(
        "queries", metavar="QUERIES", type=Path, help="index of the queries, with identities and tracks"
    )
    parser.add_argument("gallery", metavar="GALLERY", type=Path, help="index that is searched, likewise")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures here")
    args = arguments(parser, argv)
    scores = score(Gallery.load(args.queries), Gallery.load(args.gallery))
    if args.json:
        write_atomically(
            args.json, json.dumps([dataclasses.asdict(one) for one in scores], indent=1).encode()
        )
    print("queries  gallery  of them, among     mAP  rank-1")
    for one in scores:
        print(
            f"{one.queries:8} {one.gallery:8} {one.count[0]:7} {one.count[1]:7} {one.map:7.1%} {one.rank1:7.1%}"
        )
    return 0


def score(queries: Gallery, gallery: Gallery) -> list[Score]:
    """Images in images, images in tracks, tracks in images, tracks in tracks.

    mAP is the mean over a person's queries, then over people: long tracks count no more than short ones. Raises
    ValueError for indexes without identities or tracks, or of different models.
    """
    for name, index in (("queries", queries), ("gallery", gallery)):
        if index.identities is None or index.tracks is None:
            raise ValueError(
                f"the index of the {name} has no identities or tracks; build it with index --identities folder --tracks"
            )
    if queries.model != gallery.model:
        raise ValueError(
            "the two indexes were made by different models; build them with the same --checkpoint"
        )
    parts = {
        kind: [index.select(Filter(only=kind).rows(index).tolist()) for index in (queries, gallery)]
        for kind in KINDS
    }
    return [_score(q, g, parts[q][0], parts[g][1]) for q in KINDS for g in KINDS]


def _score(query_kind: str, gallery_kind: str, queries: Gallery, gallery: Gallery) -> Score:
    found = rank_features(
        queries.features.float(),
        gallery.features.float(),
        list(map(str, queries.identities or ())),
        list(map(str, gallery.identities or ())),
        protocol="regdb",
    )
    by_person: dict[str, list[int]] = {}
    for row, person in enumerate(queries.identities or ()):
        if found.first[row]:
            by_person.setdefault(str(person), []).append(row)
    people = list(by_person.values())
    mean_ap = sum(float(found.ap[rows].mean()) for rows in people) / len(people)
    rank1 = sum(float((found.first[rows] == 1).mean()) for rows in people) / len(people)
    return Score(query_kind, gallery_kind, (len(queries), len(gallery)), mean_ap, rank1)
