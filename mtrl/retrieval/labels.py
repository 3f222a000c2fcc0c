"""Labels of queries and gallery as the metrics need them: small integers, grouped, with the skip rules."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

PROTOCOLS = ("sysu", "regdb", "llcm")


@dataclasses.dataclass(frozen=True, eq=False)
class Labels:
    """Labels as small integers, and the gallery grouped by identity.

    query_code     int32 [Q], position of the query's identity among the gallery's, -1 where it has none
    gallery_code   int32 [G]
    query_place    int32 [Q] or None: with equal places (llcm: and equal codes) a gallery image is skipped
    by_identity    int64 [G], gallery rows grouped by code, in gallery order within a group
    starts, sizes  int64 [I], where each group begins in `by_identity`, and its length
    """

    query_code: NDArray[np.int32]
    gallery_code: NDArray[np.int32]
    query_place: NDArray[np.int32] | None
    gallery_place: NDArray[np.int32] | None
    same_identity_only: bool
    by_identity: NDArray[np.int64]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]

    @classmethod
    def make(
        cls,
        shape: tuple[int, ...],
        query_ids: Any,
        gallery_ids: Any,
        query_cameras: Any,
        gallery_cameras: Any,
        protocol: str,
    ) -> Labels:
        query = _label_array(query_ids, shape[0], "query_ids", "rows")
        gallery = _label_array(gallery_ids, shape[1], "gallery_ids", "columns")
        if (query_cameras is None) != (gallery_cameras is None):
            raise ValueError("give both query_cameras and gallery_cameras, or neither")
        unique, codes, sizes = np.unique(gallery, return_inverse=True, return_counts=True)
        codes = codes.reshape(-1)
        if query.dtype.kind != gallery.dtype.kind:
            raise ValueError(f"query_ids are {query.dtype} but gallery_ids are {gallery.dtype}")
        position = np.minimum(np.searchsorted(unique, query), len(unique) - 1)
        query_code = np.where(unique[position] == query, position, -1)
        places: list[NDArray[np.int32] | None] = [None, None]
        if query_cameras is not None:
            cameras = (
                _label_array(query_cameras, shape[0], "query_cameras", "rows"),
                _label_array(gallery_cameras, shape[1], "gallery_cameras", "columns"),
            )
            if protocol != "regdb":
                places = [_places(camera, protocol) for camera in cameras]
        return cls(
            query_code.astype(np.int32),
            codes.astype(np.int32),
            places[0],
            places[1],
            protocol == "llcm",
            np.argsort(codes, kind="stable").astype(np.int64),
            (np.cumsum(sizes) - sizes).astype(np.int64),
            sizes.astype(np.int64),
        )

    def dropped(self, part: slice) -> NDArray[np.bool_] | None:
        """bool [B, G] for a block of queries, None where nothing is skipped."""
        if self.query_place is None or self.gallery_place is None:
            return None
        drop: NDArray[np.bool_] = self.query_place[part, None] == self.gallery_place
        if self.same_identity_only:
            drop &= self.query_code[part, None] == self.gallery_code
        return drop

    def pairs(self, part: slice) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(row within the block, gallery column) of every right pair, rows ascending."""
        code = self.query_code[part]
        count = np.where(code >= 0, self.sizes[code], 0)
        rows = np.repeat(np.arange(len(code)), count)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
        return rows, self.by_identity[self.starts[code][rows] + within]


def _label_array(labels: Any, length: int, name: str, what: str) -> NDArray[Any]:
    array = as_array(labels)
    if array.shape != (length,):
        raise ValueError(f"{name} has shape {array.shape}, but distances have {length} {what}")
    if array.dtype.kind in "iub":
        return array.astype(np.int64)
    if array.dtype.kind == "f" and np.array_equal(array, np.floor(array)):
        return array.astype(np.int64)
    if array.dtype.kind != "U":
        raise ValueError(f"{name} must be integers or strings, not {array.dtype}")
    return array


def _places(cameras: NDArray[Any], protocol: str) -> NDArray[np.int32]:
    if cameras.dtype.kind != "i":
        raise ValueError(f"cameras must be integers, not {cameras.dtype}")
    # SYSU-MM01's cameras 2 and 3 stand in the same room; every other camera has a place of its own.
    return (
        np.where(cameras == 3, 2, cameras).astype(np.int32)
        if protocol == "sysu"
        else cameras.astype(np.int32)
    )


def as_array(value: Any) -> NDArray[Any]:
    """numpy view of an array, list or tensor (any device); torch itself is not needed here."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if "bfloat16" in str(value.dtype) else value
        value = value.numpy()
    return np.asarray(value)


def one_of(value: str, choices: tuple[str, ...], name: str) -> str:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    return value
