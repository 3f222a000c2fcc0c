"""Approximate search with faiss (optional): a graph of neighbours (HNSW; Malkov and Yashunin, "Efficient and robust
approximate nearest neighbor search using hierarchical navigable small world graphs", 2018) beside a gallery.

The index holds the features in float16 and is derived from the gallery: where it is missing, damaged or of another
state of the gallery, it is built anew. Filtered searches are exact, over the rows that fit.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mtrl.checkpoint import tensor_digest, write_atomically
from mtrl.retrieval.checks import checked_queries
from mtrl.retrieval.gallery import Gallery, Match
from mtrl.retrieval.store import check_names, merged, without
from mtrl.retrieval.where import Where

if TYPE_CHECKING:
    from mtrl.model import MTRL

RECORD = "faiss.json"
INDEX = "faiss.index"
FORMAT = "mtrl-faiss-1"
NEIGHBOURS = 32  # edges of a point in the graph
BUILD_WIDTH = 100  # candidates followed while it is built
SEARCH_WIDTH = 128  # candidates followed in a search: more is slower and misses less
_BLOCK_ROWS = 1 << 14


def is_approximate(folder: str | Path) -> bool:
    """Is there an index of this kind in the folder?"""
    return (Path(folder) / RECORD).is_file()


class ApproximateStore:
    """A folder with a gallery and a faiss index over it.

    Raises ImportError without faiss, otherwise as `Gallery.load`.
    """

    def __init__(self, folder: str | Path) -> None:
        _faiss()
        self.folder = Path(folder)
        self.gallery = Gallery.load(self.folder)
        self._index = _read_index(self.folder, self.gallery)
        if self._index is None:
            self._rebuild()

    @classmethod
    def create(cls, folder: str | Path, entries: Gallery) -> ApproximateStore:
        """A folder with these entries and their index; a gallery that stood there is replaced."""
        check_names(entries)
        _faiss()
        entries.save(folder)
        return cls(folder)

    def __len__(self) -> int:
        return len(self.gallery)

    def check_model(self, model: MTRL) -> None:
        self.gallery.check_model(model)

    def put(self, entries: Gallery) -> None:
        grown = merged(self.gallery, entries)
        replaced = len(grown) < len(self.gallery) + len(entries)
        grown.save(self.folder)
        self.gallery = grown
        if replaced:  # a graph cannot forget points
            self._rebuild()
        else:
            _append(self._index, entries.features)
            _write_index(self.folder, self.gallery, self._index)

    def delete(self, where: Where) -> int:
        kept = without(self.gallery, where)
        count = len(self.gallery) - len(kept)
        if count:
            kept.save(self.folder)
            self.gallery = kept
            self._rebuild()
        return count

    def find(self, features: Tensor, k: int = 10, where: Where | None = None) -> list[list[Match]]:
        return self.gallery.describe(*self.search(features, k, where))

    def search(self, features: Tensor, k: int = 10, where: Where | None = None) -> tuple[Tensor, Tensor]:
        """As `Gallery.search`; without a filter a few of the nearest may be missed. Scores are exact cosines."""
        if where or not len(self.gallery):
            return self.gallery.search(features, k, where)
        queries = checked_queries(features, self.gallery.features.shape[1], k)
        k = min(k, len(self.gallery))
        faiss = _faiss()
        width = faiss.SearchParametersHNSW(efSearch=max(SEARCH_WIDTH, 2 * k))
        found = torch.from_numpy(self._index.search(queries.numpy(), k, params=width)[1])
        if bool((found < 0).any()):  # the graph was left before k were found
            return self.gallery.search(features, k)
        scores = torch.stack([self.gallery.features[rows].float() @ q for rows, q in zip(found, queries, strict=True)]
                             ) if len(queries) else torch.zeros(0, k)  # fmt: skip
        scores, order = scores.sort(dim=1, descending=True, stable=True)
        return scores, found.gather(1, order)

    def close(self) -> None:
        pass

    def _rebuild(self) -> None:
        faiss = _faiss()
        quantiser = faiss.ScalarQuantizer.QT_fp16
        index = faiss.IndexHNSWSQ(
            self.gallery.features.shape[1], quantiser, NEIGHBOURS, faiss.METRIC_INNER_PRODUCT
        )
        index.hnsw.efConstruction = BUILD_WIDTH
        index.is_trained = True  # float16 has nothing to learn
        _append(index, self.gallery.features)
        self._index = index
        _write_index(self.folder, self.gallery, index)


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            'approximate search needs faiss: pip install "faiss-cpu>=1.12" (or mtrl[faiss])'
        ) from error
    return faiss


def _append(index: Any, features: Tensor) -> None:
    for block in features.split(_BLOCK_ROWS):
        if len(block):
            index.add(np.ascontiguousarray(block.float().numpy()))


def _write_index(folder: Path, gallery: Gallery, index: Any) -> None:
    """The index, then the record that says which gallery it is of: cut off in between, it is built anew."""
    content = _faiss().serialize_index(index).tobytes()
    record = {
        "format": FORMAT,
        "gallery": tensor_digest({"features": gallery.features}),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    write_atomically(folder / INDEX, content)
    write_atomically(folder / RECORD, json.dumps(record).encode())


def _read_index(folder: Path, gallery: Gallery) -> Any:
    """The stored index, or None when it is not there, damaged, or of another state of the gallery."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        content = (folder / INDEX).read_bytes()
    except (OSError, ValueError):
        return None
    expected = {
        "format": FORMAT,
        "gallery": tensor_digest({"features": gallery.features}),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    # The checksum comes first: faiss itself believes what an index file says.
    if record != expected:
        return None
    return _faiss().deserialize_index(np.frombuffer(content, dtype=np.uint8))
