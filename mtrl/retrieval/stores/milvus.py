"""A gallery in a Milvus database (optional). The database is on a server, or embedded in this process with its files
in a folder.

One collection holds one gallery. Entry names are its keys. It also records the model, modality and length of its
features. The embedded database logs each change before `upsert` or `delete` returns, so that it survives a crash.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mtrl.files.levels import checked_range
from mtrl.models.config import Modality
from mtrl.retrieval.checks import check_same_model, check_same_range, checked_queries
from mtrl.retrieval.filters import Filter
from mtrl.retrieval.gallery import Gallery
from mtrl.retrieval.match import Match
from mtrl.retrieval.stores.base import COLLECTION, check_names, check_tracks
from mtrl.retrieval.stores.milvus_collection import (
    BATCH,
    FILES,
    described,
    gallery_record,
    labels_may_be_missing,
    make_collection,
    open_embedded,
    refuse_existing,
)
from mtrl.retrieval.stores.milvus_filter import any_of, expression
from mtrl.retrieval.stores.milvus_rows import FIELDS, check_texts, to_matches, to_row
from mtrl.retrieval.stores.uri import TOKEN, is_uri, redacted, shown

if TYPE_CHECKING:
    from mtrl.models.reid import MTRL

UNFINISHED = "_unfinished"  # suffix of a collection's name while it is being filled


def is_milvus(target: str | Path) -> bool:
    """Whether this is the address of a server, or a folder with an embedded database."""
    return is_uri(target) or (Path(target) / FILES).exists()


class MilvusStore:
    """Opens an existing collection as a gallery. Implements `Store`.

    target      folder of an embedded database, or http(s) address of a server. The environment variable MILVUS_TOKEN
                holds the server's token
    collection  name of the collection

    Raises FileNotFoundError if there is no such database or collection, ValueError for a collection of another
    program, ImportError without pymilvus, and OSError for a server that cannot be reached or a database that another
    process has open.
    """

    def __init__(self, target: str | Path, collection: str = COLLECTION) -> None:
        self.target, self.collection = target, collection
        if not is_milvus(target):
            raise FileNotFoundError(
                f"{shown(target)} holds no Milvus database; make one with `index --store milvus`"
            )
        self._client = _connect(target)
        self._mark: Path | None = None
        try:
            with _answering(target):
                about = described(self._client, collection, target)
                record = gallery_record(about, collection, target)
                self._optional_labels = labels_may_be_missing(about)
                self._fields = [f["name"] for f in about["fields"] if f["name"] in FIELDS]
                self.model = str(record["model"])
                one = str(record["modality"])
                self.modality = None if one == "mixed" else Modality.parse(one)
                self.dim = int(record["dim"])
                self.value_range = checked_range(record.get("value_range"))
                if is_uri(target):
                    self._client.load_collection(collection)
                else:
                    self._mark = open_embedded(self._client, Path(target), collection)
        except BaseException:
            self.close()
            raise

    @classmethod
    def create(cls, target: str | Path, entries: Gallery, collection: str = COLLECTION) -> MilvusStore:
        """Makes a collection of these entries and opens it. Raises ValueError if a collection of that name exists.

        It is filled under another name and renamed when it is complete, so that a failed attempt leaves no collection
        of the wanted name.
        """
        check_names(entries)
        check_texts(entries)
        if not is_uri(target):
            Path(target).mkdir(parents=True, exist_ok=True)
        unfinished = collection + UNFINISHED
        client = _connect(target)
        try:
            with _answering(target):
                refuse_existing(client, target, collection)
                if client.has_collection(unfinished):
                    client.drop_collection(unfinished)
                make_collection(client, unfinished, entries, embedded=not is_uri(target))
        finally:
            client.close()
        store = cls(target, unfinished)
        try:
            store.upsert(entries)
        except BaseException:
            with contextlib.suppress(Exception):  # if the database is gone, the next attempt removes the rest
                store._client.drop_collection(unfinished)
            raise
        finally:
            store.close()
        client = _connect(target)
        try:
            with _answering(target):
                client.rename_collection(unfinished, collection)
        finally:
            client.close()
        return cls(target, collection)

    @classmethod
    def check_free(cls, target: str | Path, collection: str = COLLECTION) -> None:
        """Raises ValueError if there is a collection of that name, ImportError without pymilvus."""
        if is_milvus(target):
            client = _connect(target)
            try:
                with _answering(target):
                    refuse_existing(client, target, collection)
            finally:
                client.close()
        else:
            _milvus()

    def __len__(self) -> int:
        with _answering(self.target):
            rows = self._client.query(self.collection, filter="", output_fields=["count(*)"])
        return int(rows[0]["count(*)"])

    def check_model(self, model: MTRL) -> None:
        check_same_model(self.model, model.fingerprint())

    def check(self, entries: Gallery) -> None:
        check_names(entries)
        check_texts(entries)
        check_same_model(self.model, entries.model)
        if entries.features.shape[1] != self.dim:
            raise ValueError(
                f"the new features have {entries.features.shape[1]} dimensions, not {self.dim}: of another model"
            )
        if self.modality is not None and entries.modality != self.modality:
            raise ValueError(f"the database is {self.modality.name.lower()}, the new images are not")
        if ("track" in self._fields) != (entries.tracks is not None):
            raise ValueError("either all images of a database have tracks, or none")
        check_same_range(self.value_range, entries.value_range)
        if not self._optional_labels and None in (entries.identities, entries.cameras, entries.times):
            raise ValueError(
                f"the server at {shown(self.target)} is older than Milvus 2.5 and keeps no entry without identity, "
                "camera and time: give all three with the images, or use a newer server"
            )

    def upsert(self, entries: Gallery) -> None:
        self.check(entries)
        with _answering(self.target):
            if entries.tracks is not None:
                replaced = self._listed(any_of("name", some) for some in _batches(entries.names))
                tracks = {*entries.tracks, *replaced.values()}
                check_tracks(
                    self._listed(any_of("track", some) for some in _batches(tracks)).items(), entries
                )
            for start in range(0, len(entries), BATCH):
                rows = range(start, min(start + BATCH, len(entries)))
                self._client.upsert(self.collection, [to_row(entries, row, self._fields) for row in rows])
            self._client.flush(self.collection)

    def delete(self, where: Filter) -> int:
        if not where:
            raise ValueError("say which entries to delete: by name, identity, camera or time")
        before = len(self)
        condition = self._expression(where) or 'name != ""'  # all: deleting takes no empty condition
        with _answering(self.target):
            tracks: set[str] = set()
            if "pooled" in self._fields:
                tracks = set(self._listed([condition]).values())
            # Before the images: if this is cut off, no entry of a track is left that holds a deleted image.
            for some in _batches(tracks):
                self._client.delete(self.collection, filter=f"pooled == true and {any_of('track', some)}")
            self._client.delete(self.collection, filter=condition)
            self._client.flush(self.collection)
        return before - len(self)

    def _listed(self, conditions: Iterable[str]) -> dict[str, str]:
        """{name: track} of the entries that meet one of the conditions."""
        found: dict[str, str] = {}
        for condition in conditions:
            pages = self._client.query_iterator(
                self.collection, batch_size=BATCH, filter=condition, output_fields=["name", "track"]
            )
            while page := pages.next():
                found |= {row["name"]: row["track"] for row in page}
            pages.close()
        return found

    def find(self, features: Tensor, k: int = 10, where: Filter | None = None) -> list[list[Match]]:
        queries = checked_queries(features, self.dim, k)
        if not len(queries):
            return []
        with _answering(self.target):
            found = self._client.search(
                self.collection,
                data=list(queries.numpy()),
                limit=k,
                filter=self._expression(where or Filter()),
                output_fields=self._fields,
            )
        if not any(found) and not len(self):  # counted only if nothing is found: it takes as long as a search
            raise ValueError("the gallery is empty; add images to it first")
        return [to_matches(hits) for hits in found]

    def _expression(self, where: Filter) -> str:
        """The filter for this collection, which may have no fields for modality and track: then all have the same."""
        nothing = False
        if where.modalities and self.modality is not None:
            nothing = self.modality not in where.modalities
            where = dataclasses.replace(where, modalities=())
        if where.only and "pooled" not in self._fields:
            nothing = nothing or where.only == "tracks"
            where = dataclasses.replace(where, only="")
        return 'name == "" and name != ""' if nothing else expression(where)

    def close(self) -> None:
        self._client.close()
        if self._mark:
            self._mark.unlink(missing_ok=True)


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(texts)
    while some := list(itertools.islice(rest, BATCH)):
        yield some


def _milvus() -> Any:
    try:
        import pymilvus
    except ImportError as error:
        raise ImportError('this store needs Milvus: pip install "pymilvus[milvus-lite]>=3,<4"') from error
    return pymilvus


def _connect(target: str | Path) -> Any:
    MilvusClient = _milvus().MilvusClient
    from pymilvus.exceptions import ConnectionConfigException

    with _answering(target):
        if is_uri(target):
            return MilvusClient(str(target), token=os.environ.get(TOKEN, ""))
        try:
            return MilvusClient(str(Path(target) / FILES))
        except ConnectionConfigException as error:  # its message gives no reason
            raise OSError(
                f"the Milvus database at {target} cannot be opened: another process has it open, or it is damaged"
            ) from error


@contextmanager
def _answering(target: str | Path) -> Iterator[None]:
    """Context manager: turns errors of the database into OSError that names its address, without a password in it."""
    try:
        yield
    # MilvusException, and whatever else the embedded database raises for damaged files.
    except Exception as error:
        said = redacted(str(error), target)
        if isinstance(error, (ValueError, OSError)) and said == str(error):
            raise
        raise OSError(
            f"the Milvus database at {shown(target)} does not answer as it should ({said}); is it reachable, and its "
            "collection whole?"
        ) from None  # the original error may hold the password
