"""The interface of gallery stores, and the check that their keys, the names, are unique."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from mtrl.files.levels import ValueRange
from mtrl.labels.names import canonical
from mtrl.retrieval.filters import Filter
from mtrl.retrieval.gallery import Gallery
from mtrl.retrieval.match import Match

if TYPE_CHECKING:
    from mtrl.models.reid import MTRL

KINDS = ("exact", "faiss", "milvus")
COLLECTION = "mtrl"


class Store(Protocol):
    """Interface of a gallery on disk or in a database, which can be changed. Entries are identified by their names."""

    @property
    def value_range(self) -> ValueRange | None:
        """(low, high) that scaled images of more than 8 bits, or None; see `Gallery`."""
        ...

    def __len__(self) -> int:
        """Number of entries."""
        ...

    def check_model(self, model: MTRL) -> None:
        """Raises ValueError unless the entries were made by `model`."""
        ...

    def check(self, entries: Gallery) -> None:
        """Raises ValueError for what `upsert` would refuse, but for tracks that a deletion before it may change.

        Only the length of the features counts, not what they are: so it can be asked before images are encoded.
        """
        ...

    def upsert(self, entries: Gallery) -> None:
        """Adds entries, in place of those of the same name. They are safely stored when this returns.

        Raises ValueError for features of another model, length, modality or value range, for repeated names, and where
        a track that has an entry of its own would keep images that this entry leaves out.
        """
        ...

    def delete(self, where: Filter) -> int:
        """Deletes the entries that the filter matches, and the tracks' own entries that such images are part of.

        Returns the number of entries deleted. Raises ValueError for an empty filter.
        """
        ...

    def find(self, features: Tensor, k: int = 10, where: Filter | None = None) -> list[list[Match]]:
        """The k nearest entries of each query [Q,D], best first. Raises ValueError as `Gallery.search`."""
        ...

    def close(self) -> None:
        """Closes files and connections."""
        ...


def check_tracks(there: Iterable[tuple[str, str]], entries: Gallery) -> None:
    """Raises ValueError where a track's entry would no longer be the mean of the track's images.

    there  (name, track) of the entries of a store, at least of those that `entries` replace or share a track with
    """
    old = [(canonical(name), canonical(track)) for name, track in there]
    new = {canonical(n): canonical(t) for n, t in zip(entries.names, entries.tracks or (), strict=True)}
    touched = {*new.values(), *(track for name, track in old if name in new)}
    kept = [(name, track) for name, track in old if name not in new and track in touched]
    pooled = {name for name, track in (*kept, *new.items()) if name == track}
    for name, track in kept:
        if track in pooled:
            raise ValueError(
                f"the entry of the track {track!r} would not be the mean of all its images, such as {name!r}: give all "
                "images of a track together, with --tracks, or take the track out first"
            )


def check_names(entries: Gallery) -> None:
    """Raises ValueError if two entries have the same name, compared by `canonical`."""
    seen: set[str] = set()
    for name in entries.names:
        if canonical(name) in seen:
            raise ValueError(f"two entries are named {name!r}; in a store each name stands once")
        seen.add(canonical(name))
