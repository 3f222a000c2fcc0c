"""`python -m eval tracks QUERIES GALLERY`: does it help to pool a track's images? Two indexes, scored four ways.

Queries and gallery are images or tracks: entries that `index --tracks` made. Nothing is skipped for its camera; ranks
are counted by image (or track). A gallery of tracks has fewer entries, so its figures are higher by chance alone: that
chance, of random features (mean of three draws), stands beside them.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from eval.report import make_room, write_values
from mtrl.console.cli import arguments
from mtrl.retrieval.filters import Filter
from mtrl.retrieval.gallery import Gallery
from mtrl.retrieval.metrics.ranking import rank_features

KINDS = ("images", "tracks")
DRAWS = 3  # of random features


@dataclasses.dataclass(frozen=True)
class Score:
    """One of the four ways; fractions, and the same of random features."""

    queries: str
    gallery: str
    count: tuple[int, int]
    map: float
    rank1: float
    chance_map: float
    chance_rank1: float


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m eval tracks", description=__doc__)
    parser.add_argument(
        "queries", metavar="QUERIES", type=Path, help="index of the queries, with identities and tracks"
    )
    parser.add_argument("gallery", metavar="GALLERY", type=Path, help="index that is searched, likewise")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures here")
    args = arguments(parser, argv)
    make_room(args.json)
    scores = score(Gallery.load(args.queries), Gallery.load(args.gallery))
    if args.json:
        write_values(args.json, [dataclasses.asdict(one) for one in scores])
    print("queries  gallery  of them, among     mAP (chance)  rank-1 (chance)")
    for one in scores:
        print(
            f"{one.queries:8} {one.gallery:8} {one.count[0]:7} {one.count[1]:7} {one.map:7.1%} ({one.chance_map:.1%}) "
            f"{one.rank1:7.1%} ({one.chance_rank1:.1%})"
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
    return [_score(q, g, _part(queries, q), _part(gallery, g)) for q in KINDS for g in KINDS]


def _part(index: Gallery, kind: str) -> Gallery:
    return index.select(Filter(only=kind).rows(index).tolist())


def _score(query_kind: str, gallery_kind: str, queries: Gallery, gallery: Gallery) -> Score:
    draw = torch.Generator().manual_seed(0)
    dim = queries.features.shape[1]
    random = [
        _figures(
            queries, gallery, *(torch.randn(len(index), dim, generator=draw) for index in (queries, gallery))
        )
        for _ in range(DRAWS)
    ]
    figures = _figures(queries, gallery, queries.features.float(), gallery.features.float())
    chance = [sum(values) / DRAWS for values in zip(*random, strict=True)]
    return Score(query_kind, gallery_kind, (len(queries), len(gallery)), *figures, *chance)


def _figures(queries: Gallery, gallery: Gallery, query: Tensor, other: Tensor) -> tuple[float, float]:
    """(mAP, rank-1) of the entries' people with these features: mean over a person's queries, then over people."""
    found = rank_features(
        F.normalize(query),
        F.normalize(other),
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
    return mean_ap, sum(float((found.first[rows] == 1).mean()) for rows in people) / len(people)
