"""Approximate search with faiss (optional): an inverted file of k-means cells (Jegou et al., "Product quantization
for nearest neighbor search", 2011) beside a gallery. A query looks into the cells whose centres are nearest.

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
MAX_CELLS = 4096
PER_CELL = 64  # images of an average cell at least, and those that its centre is learnt from
SEARCHED = 16  # a query looks into one cell of so many, and into 8 at least: more is slower and misses less
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
        if replaced:  # rows have moved
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
        width = faiss.SearchParametersIVF(nprobe=max(8, self._index.nlist // SEARCHED))
        found = torch.from_numpy(self._index.search(queries.numpy(), k, params=width)[1])
        if bool((found < 0).any()):  # fewer than k in the cells
            return self.gallery.search(features, k)
        scores = torch.stack([self.gallery.features[rows].float() @ q for rows, q in zip(found, queries, strict=True)]
                             ) if len(queries) else torch.zeros(0, k)  # fmt: skip
        scores, order = scores.sort(dim=1, descending=True, stable=True)
        return scores, found.gather(1, order)

    def close(self) -> None:
        pass

    def _rebuild(self) -> None:
        self._index = _built(self.gallery.features)
        _write_index(self.folder, self.gallery, self._index)


def _built(features: Tensor) -> Any:
    """A new index. k-means is seeded: the same features give the same cells."""
    faiss = _faiss()
    count, dim = features.shape
    cells = max(1, min(MAX_CELLS, count // PER_CELL, round(4 * count**0.5)))
    index = faiss.index_factory(dim, f"IVF{cells},SQfp16", faiss.METRIC_INNER_PRODUCT)
    index.cp.spherical = True
    index.cp.niter = 10
    if count:
        rows = torch.randperm(count, generator=torch.Generator().manual_seed(0))[: cells * PER_CELL]
        index.train(features[rows.sort().values].float().numpy())
        _append(index, features)
    return index


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
