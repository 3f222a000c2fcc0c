"""Opens and creates stores of every kind: exact, faiss and Milvus."""

from __future__ import annotations

from mtrl.retrieval.gallery import Gallery
from mtrl.retrieval.stores.base import COLLECTION, KINDS, Store
from mtrl.retrieval.stores.exact import ExactStore
from mtrl.retrieval.stores.faiss_store import ApproximateStore, is_approximate
from mtrl.retrieval.stores.milvus import MilvusStore, is_milvus


def create_store(kind: str, target: str, entries: Gallery, collection: str = COLLECTION) -> Store:
    """Creates a store with these entries.

    kind        "exact" | "faiss" | "milvus"
    target      "exact", "faiss": a folder; a gallery in it is replaced
                "milvus": a folder for the embedded database, or the http(s) address of a server
    collection  name in a Milvus database
    Raises ValueError for an unknown kind or a collection that exists, and ImportError for a missing package.
    """
    if kind == "exact":
        return ExactStore.create(target, entries)
    if kind == "faiss":
        return ApproximateStore.create(target, entries)
    if kind == "milvus":
        return MilvusStore.create(target, entries, collection)
    raise ValueError(f"a store is one of {', '.join(KINDS)}, not {kind!r}")


def open_store(target: str, collection: str = COLLECTION) -> Store:
    """Opens the store of any kind in a folder or at a server's address.

    Raises FileNotFoundError if there is none, ValueError for a damaged one, and ImportError for a missing package.
    """
    if is_milvus(target):
        return MilvusStore(target, collection)
    return ApproximateStore(target) if is_approximate(target) else ExactStore(target)
