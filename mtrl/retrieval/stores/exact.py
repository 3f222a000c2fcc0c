"""A gallery in a folder, searched exactly. Processes may change it in turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from mtrl.files.atomic import remove_partial
from mtrl.files.levels import ValueRange
from mtrl.files.lock import only_one
from mtrl.labels.names import canonical
from mtrl.retrieval.filters import Filter, track_entries
from mtrl.retrieval.gallery import Gallery
from mtrl.retrieval.gallery_file import TABLE, table_state
from mtrl.retrieval.match import Match
from mtrl.retrieval.stores.base import check_names, check_tracks

if TYPE_CHECKING:
    from typing_extensions import Self

    from mtrl.models.reid import MTRL

IVF_FILE = "faiss.safetensors"  # the IVF lists of an approximate store; an exact store has no such file
WAITING = "another process is changing this gallery; waiting for it"


class ExactStore:
    """A folder with a gallery, searched exactly. Implements `Store`. Each change rewrites the folder atomically.

    Several processes may change one folder: each waits for the others and keeps their changes. A search sees the state
    of the folder when it was opened or last changed through this object.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._load()

    @classmethod
    def create(cls, folder: str | Path, entries: Gallery) -> Self:
        """Writes a folder with these entries, in place of a gallery that is there already, and opens it."""
        check_names(entries)
        Path(folder).mkdir(parents=True, exist_ok=True)
        with only_one(Path(folder), WAITING):
            entries.save(folder)
            (Path(folder) / IVF_FILE).unlink(missing_ok=True)
        return cls(folder)

    @property
    def value_range(self) -> ValueRange | None:
        return self.gallery.value_range

    def __len__(self) -> int:
        return len(self.gallery)

    def check_model(self, model: MTRL) -> None:
        self.gallery.check_model(model)

    def check(self, entries: Gallery) -> None:
        check_names(entries)
        self.gallery.check_fits(entries)

    def upsert(self, entries: Gallery) -> None:
        with self._changing():
            self._replace(merged(self.gallery, entries))

    def delete(self, where: Filter) -> int:
        with self._changing():
            kept = without(self.gallery, where)
            count = len(self.gallery) - len(kept)
            if count:
                self._replace(kept)
            return count

    def find(self, features: Tensor, k: int = 10, where: Filter | None = None) -> list[list[Match]]:
        return self.gallery.find(features, k, where)

    def close(self) -> None:
        pass

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Context manager: holds the folder's lock. Reads the folder again if another process has changed it."""
        with only_one(self.folder, WAITING):
            remove_partial(self.folder, [TABLE, "features-*", IVF_FILE])
            if table_state(self.folder) != self._seen:
                self._load()
            yield

    def _load(self) -> None:
        self._seen = table_state(self.folder)
        self.gallery = Gallery.load(self.folder)

    def _replace(self, gallery: Gallery) -> None:
        gallery.save(self.folder)
        self.gallery, self._seen = gallery, table_state(self.folder)


def merged(gallery: Gallery, entries: Gallery) -> Gallery:
    """`gallery` with `entries` appended; entries of the same name are replaced."""
    check_names(entries)
    gallery.check_fits(entries)
    new = set(map(canonical, entries.names))
    kept = [row for row, name in enumerate(gallery.names) if canonical(name) not in new]
    if gallery.tracks is not None and entries.tracks is not None:
        check_tracks(zip(gallery.names, gallery.tracks, strict=True), entries)
    return (gallery if len(kept) == len(gallery) else gallery.select(kept)).join(entries)


def without(gallery: Gallery, where: Filter) -> Gallery:
    """`gallery` without the entries that the filter matches, and without the tracks' that they are part of."""
    if not where:
        raise ValueError("say which entries to delete: by name, identity, camera or time")
    rows = where.rows(gallery)
    if gallery.tracks is not None:
        gone = {canonical(gallery.tracks[row]) for row in rows}
        own = [
            row for row in np.flatnonzero(track_entries(gallery)) if canonical(gallery.tracks[row]) in gone
        ]
        rows = np.union1d(rows, np.array(own, dtype=np.int64))
    kept = np.setdiff1d(np.arange(len(gallery)), rows)
    return gallery.select(kept.tolist())
