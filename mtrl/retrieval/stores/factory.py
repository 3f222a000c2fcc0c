"""Opens and creates stores of every kind: exact, faiss and Milvus."""

from __future__ import annotations

from pathlib import Path

from mtrl.retrieval.gallery import Gallery
from mtrl.retrieval.gallery_file import TABLE
from mtrl.retrieval.stores.base import COLLECTION, KINDS, Store, check_names
from mtrl.retrieval.stores.exact import ExactStore
from mtrl.retrieval.stores.faiss_store import ApproximateStore, is_approximate, require_faiss
from mtrl.retrieval.stores.milvus import MilvusStore, is_milvus
from mtrl.retrieval.stores.milvus_rows import check_texts
from mtrl.retrieval.stores.uri import is_uri, shown


def create_store(kind: str, target: str, entries: Gallery, collection: str = COLLECTION) -> Store:
    """Creates a store with these entries.

    kind        "exact" | "faiss" | "milvus"
    target      "exact", "faiss": a folder; a gallery in it is replaced
                "milvus": a folder for the embedded database, or the http(s) address of a server
    collection  name in a Milvus database
    Raises ValueError and ImportError as `check_target`.
    """
    _check_place(kind, target)
    if kind == "exact":
        return ExactStore.create(target, entries)
    if kind == "faiss":
        return ApproximateStore.create(target, entries)
    return MilvusStore.create(target, entries, collection)


def check_target(kind: str, target: str, collection: str = COLLECTION) -> None:
    """Finds out before long work whether `create_store` can make such a store there.

    Raises ValueError for an unknown kind, a file, a collection that exists, and a folder that holds a store of the
    other family, of which commands and page would read only one; ImportError for a missing package.
    """
    _check_place(kind, target)
    if kind == "faiss":
        require_faiss()
    elif kind == "milvus":
        MilvusStore.check_free(target, collection)


def check_entries(kind: str, entries: Gallery) -> None:
    """Raises ValueError for names and labels that `create_store` would refuse; features do not count."""
    check_names(entries)
    if kind == "milvus":
        check_texts(entries)


def _check_place(kind: str, target: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"a store is one of {', '.join(KINDS)}, not {kind!r}")
    if not is_uri(target) and Path(target).exists() and not Path(target).is_dir():
        raise ValueError(f"{target} is a file; a gallery is a folder")
    other = "a gallery" if kind == "milvus" else "a Milvus database"
    if (Path(target) / TABLE).exists() if kind == "milvus" else is_milvus(target):
        raise ValueError(f"{shown(target)} holds {other}: add to it with --add, or choose another folder")


def open_store(target: str, collection: str = COLLECTION) -> Store:
    """Opens the store of any kind in a folder or at a server's address.

    Raises FileNotFoundError if there is none, ValueError for a damaged one, and ImportError for a missing package.
    """
    if is_milvus(target):
        return MilvusStore(target, collection)
    return ApproximateStore(target) if is_approximate(target) else ExactStore(target)
