"""Labels of queries and gallery as the metrics need them: small integers, the skip rules, averages over people."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from mtrl.labels.reading import kind_of, read_labels

PROTOCOLS = ("sysu", "regdb", "llcm", "clip")


@dataclasses.dataclass(frozen=True, eq=False)
class Labels:
    """Labels as small integers, and the gallery grouped by identity.

    query_code     int32 [Q], identity of each query, in the numbers of `gallery_code`; -1: not in the gallery
    gallery_code   int32 [G], identity of each gallery image, numbered from 0
    query_place    int32 [Q], camera of each query ("sysu": its room), in the numbers of `gallery_place`; -1: not in the
                   gallery; None: nothing is skipped
    gallery_place  int32 [G], camera ("sysu": room) of each gallery image; None: nothing is skipped
    skips          which gallery images a query skips: "sysu", those of its place; "llcm", those of its place and
                   identity; "clip", those of all other places
    by_identity    int64 [G], gallery rows grouped by identity, in gallery order within a group
    starts, sizes  int64 [I], where each identity's group begins in `by_identity`, and its length
    """

    query_code: NDArray[np.int32]
    gallery_code: NDArray[np.int32]
    query_place: NDArray[np.int32] | None
    gallery_place: NDArray[np.int32] | None
    skips: str
    by_identity: NDArray[np.int64]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]

    @classmethod
    def make(
        cls,
        shape: tuple[int, int],
        query_ids: Any,
        gallery_ids: Any,
        query_cameras: Any,
        gallery_cameras: Any,
        protocol: str,
    ) -> Labels:
        """Labels of Q queries and G gallery images, where `shape` is (Q, G). Cameras may be None: nothing is skipped.

        Raises ValueError for a wrong number of labels, labels that `read_labels` refuses, query and gallery labels of
        different kinds, cameras for one side only, and, under "sysu", cameras that are no integers.
        """
        if (query_cameras is None) != (gallery_cameras is None):
            raise ValueError("give both query_cameras and gallery_cameras, or neither")
        query_code, gallery_code = _codes(*_both(shape, query_ids, gallery_ids, "ids"))
        places: tuple[NDArray[np.int32] | None, NDArray[np.int32] | None] = (None, None)
        if query_cameras is not None:
            cameras = _both(shape, query_cameras, gallery_cameras, "cameras")
            if protocol == "sysu":
                cameras = _rooms(cameras[0]), _rooms(cameras[1])
            if protocol != "regdb":
                places = _codes(*cameras)
        sizes = np.bincount(gallery_code)
        return cls(
            query_code,
            gallery_code,
            *places,
            protocol,
            np.argsort(gallery_code, kind="stable").astype(np.int64),
            (np.cumsum(sizes) - sizes).astype(np.int64),
            sizes.astype(np.int64),
        )

    def dropped(self, part: slice) -> NDArray[np.bool_] | None:
        """bool [B, G]: the gallery images that a block of B queries skips. None if the protocol skips nothing."""
        if self.query_place is None or self.gallery_place is None:
            return None
        here: NDArray[np.bool_] = self.query_place[part, None] == self.gallery_place
        if self.skips == "llcm":
            here &= self.query_code[part, None] == self.gallery_code
        return ~here if self.skips == "clip" else here

    def pairs(self, part: slice) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All pairs of a query in the block and a gallery image of its identity, skipped ones included.

        Returns (query's row within the block, gallery image's column), int64 [P] each, rows ascending.
        """
        code = self.query_code[part]
        count = np.where(code >= 0, self.sizes[code], 0)
        rows = np.repeat(np.arange(len(code)), count)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
        return rows, self.by_identity[self.starts[code][rows] + within]


def one_of(value: str, choices: tuple[str, ...], name: str) -> str:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    return value


def _both(
    shape: tuple[int, int], query: Any, gallery: Any, what: str
) -> tuple[list[Hashable], list[Hashable]]:
    """Labels of queries and gallery. Raises ValueError unless they fit `shape` = (Q, G) and are of one kind."""
    sides = read_labels(query, f"query_{what}"), read_labels(gallery, f"gallery_{what}")
    for labels, length, side in zip(sides, shape, ("query", "gallery"), strict=True):
        if len(labels) != length:
            images = "queries" if side == "query" else "gallery images"
            raise ValueError(f"{side}_{what} has shape ({len(labels)},), but there are {length} {images}")
    kinds = [kind_of(labels[0]) for labels in sides if labels]
    if len(set(kinds)) > 1:
        raise ValueError(
            f"query_{what} are {kinds[0]} but gallery_{what} are {kinds[1]}; give both in one form"
        )
    return sides


def _codes(
    query: Sequence[Hashable], gallery: Sequence[Hashable]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """(query numbers, gallery numbers): gallery labels numbered as they first appear, -1 for a label it lacks."""
    known: dict[Hashable, int] = {}
    gallery_code = np.array([known.setdefault(label, len(known)) for label in gallery], dtype=np.int32)
    return np.array([known.get(label, -1) for label in query], dtype=np.int32), gallery_code


def room_of(camera: int) -> int:
    """The number of the room that a camera watches, by SYSU-MM01's rules: cameras 2 and 3 share one, room 2."""
    return 2 if camera == 3 else camera


def _rooms(cameras: list[Hashable]) -> list[Hashable]:
    """`room_of` for cameras that must be integers."""
    if cameras and type(cameras[0]) is not int:
        raise ValueError(
            f'protocol "sysu" knows by number that cameras 2 and 3 share a room: cameras must be integers, not '
            f'{kind_of(cameras[0])} (protocol "llcm" takes any labels, "regdb" skips nothing)'
        )
    return [room_of(camera) for camera in cast("list[int]", cameras)]


def averages(
    ap: NDArray[np.float64],
    inp: NDArray[np.float64],
    first: NDArray[np.int64],
    length: int,
    people: NDArray[np.int32] | None = None,
) -> tuple[float, float, NDArray[np.float64]]:
    """(mAP, mINP, CMC [length]) over the queries that have a right image, at least one.

    ap, inp  [Q], NaN for a query without a right image;  first  [Q], 0 for one
    people   [Q], the person of each query: the mean over each person's queries is taken first, then that over
             people, so that everybody counts alike; None: every query counts alike
    """
    if people is None:
        return float(np.nanmean(ap)), float(np.nanmean(inp)), _cmc(first, length)
    each = [
        people == person for person in dict.fromkeys(people[first > 0].tolist())
    ]  # in the order of the queries
    return (
        float(np.mean([np.nanmean(ap[mine]) for mine in each])),
        float(np.mean([np.nanmean(inp[mine]) for mine in each])),
        np.mean([_cmc(first[mine], length) for mine in each], axis=0),
    )


def _cmc(first: NDArray[np.int64], length: int) -> NDArray[np.float64]:
    """The share of the queries with a right image that is found within each rank from 1 on."""
    hits = np.bincount(first[first > 0], minlength=length + 1)[1 : length + 1]
    return np.cumsum(hits) / np.count_nonzero(first)
