"""Approximate search with faiss (optional): an inverted file of k-means cells (Jegou et al., "Product quantization
for nearest neighbor search", 2011) beside a gallery. A query looks into the cells whose centres are nearest.

faiss's own file format is not used, since its reader believes what a file says: the centres and each image's cell are
stored as safetensors, and the index (features in float16) is filled from them and the gallery when it is opened. Where
they are missing, damaged or of another state of the gallery, they are made anew. Filtered searches are exact, over the
rows that fit.
"""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtrl.files.atomic import write_atomically
from mtrl.files.tensor_file import tensor_bytes
from mtrl.files.untrusted import open_tensors, outline
from mtrl.models.checkpoint import tensor_digest
from mtrl.retrieval.checks import checked_queries
from mtrl.retrieval.filters import Where
from mtrl.retrieval.gallery import Gallery, Match
from mtrl.retrieval.stores.exact import CELLS, ExactStore

FORMAT = "mtrl-faiss-2"
MAX_CELLS = 4096
PER_CELL = 64  # images of an average cell at least, and those that its centre is learnt from
SEARCHED = 16  # a query looks into one cell of so many, and into 8 at least: more is slower and misses less
_BLOCK_ROWS = 1 << 14


def is_approximate(folder: str | Path) -> bool:
    """Are there cells of this kind in the folder?"""
    return (Path(folder) / CELLS).is_file()


class ApproximateStore(ExactStore):
    """A folder with a gallery and its cells. Raises ImportError without faiss, otherwise as `Gallery.load`."""

    def __init__(self, folder: str | Path) -> None:
        _faiss()
        self._guard = threading.Lock()  # faiss must not search and add at once
        self._cells: Cells | None = None
        self._index: Any = None
        super().__init__(folder)
        if self._index is None:
            with self._changing():
                self._load()  # another process may just have made them
                if self._index is None:
                    self._renew()

    def find(self, features: Tensor, k: int = 10, where: Where | None = None) -> list[list[Match]]:
        with self._guard:
            return self.gallery.describe(*self._search(features, k, where))

    def search(self, features: Tensor, k: int = 10, where: Where | None = None) -> tuple[Tensor, Tensor]:
        """As `Gallery.search`; without a filter a few of the nearest may be missed. Scores are exact cosines."""
        with self._guard:
            return self._search(features, k, where)

    def _search(self, features: Tensor, k: int, where: Where | None) -> tuple[Tensor, Tensor]:
        if where or not len(self.gallery):
            return self.gallery.search(features, k, where)
        queries = checked_queries(features, self.gallery.features.shape[1], k)
        k = min(k, len(self.gallery))
        width = _faiss().SearchParametersIVF(nprobe=max(8, self._index.nlist // SEARCHED))
        found = torch.from_numpy(self._index.search(queries.numpy(), k, params=width)[1])
        if bool((found < 0).any()):  # fewer than k in the cells
            return self.gallery.search(features, k)
        scores = torch.stack([self.gallery.features[rows].float() @ q for rows, q in zip(found, queries, strict=True)]
                             ) if len(queries) else torch.zeros(0, k)  # fmt: skip
        scores, order = scores.sort(dim=1, descending=True, stable=True)
        return scores, found.gather(1, order)

    def _load(self) -> None:
        with self._guard:
            super()._load()
            self._cells = _read_cells(self.folder, self.gallery)
            self._index = None if self._cells is None else _filled(self.gallery.features, self._cells)

    def _replace(self, gallery: Gallery) -> None:
        with self._guard:
            before = self.gallery
            super()._replace(gallery)
            new = gallery.features[len(before) :]
            unmoved = len(before) > 0 and gallery.names[: len(before)] == before.names
            if self._cells is not None and unmoved:
                places = _nearest_cells(new, self._cells.centres)
                self._cells = Cells(self._cells.centres, torch.cat([self._cells.places, places]))
                _append(self._index, new, places)
                _write_cells(self.folder, gallery, self._cells)
            else:
                self._renew()

    def _renew(self) -> None:
        self._cells = _learnt(self.gallery.features)
        self._index = _filled(self.gallery.features, self._cells)
        _write_cells(self.folder, self.gallery, self._cells)


@dataclasses.dataclass(frozen=True, eq=False)
class Cells:
    """centres float32 [C,D]; places int32 [N], the cell of each row of the gallery."""

    centres: Tensor
    places: Tensor


def _learnt(features: Tensor) -> Cells:
    """New cells. k-means is seeded: the same features give the same cells."""
    count, dim = features.shape
    cells = max(1, min(MAX_CELLS, count // PER_CELL, round(4 * count**0.5)))
    if not count:
        return Cells(torch.zeros(1, dim), torch.zeros(0, dtype=torch.int32))
    rows = torch.randperm(count, generator=torch.Generator().manual_seed(0))[: cells * PER_CELL]
    index = _empty(dim, cells)
    index.cp.spherical = True
    index.cp.niter = 10
    index.train(features[rows.sort().values].float().numpy())
    centres = torch.from_numpy(index.quantizer.reconstruct_n(0, cells))
    return Cells(centres, _nearest_cells(features, centres))


def _nearest_cells(features: Tensor, centres: Tensor) -> Tensor:
    """int32 [N]: the centre with the greatest product, for each row."""
    index = _faiss().IndexFlatIP(centres.shape[1])
    index.add(centres.numpy())
    found = [
        index.search(block.float().numpy(), 1)[1][:, 0] for block in features.split(_BLOCK_ROWS) if len(block)
    ]
    return torch.from_numpy(np.concatenate(found or [np.zeros(0, np.int64)]).astype(np.int32))


def _filled(features: Tensor, cells: Cells) -> Any:
    index = _empty(features.shape[1], len(cells.centres))
    index.quantizer.add(cells.centres.numpy())
    index.is_trained = True  # by its centres; float16 has nothing to learn
    _append(index, features, cells.places)
    return index


def _append(index: Any, features: Tensor, places: Tensor) -> None:
    pointer = _faiss().swig_ptr
    for block, cells in zip(features.split(_BLOCK_ROWS), places.split(_BLOCK_ROWS), strict=True):
        if len(block):
            rows, numbers = np.ascontiguousarray(block.float().numpy()), cells.long().numpy()
            index.add_core(len(rows), pointer(rows), None, pointer(numbers))


def _empty(dim: int, cells: int) -> Any:
    faiss = _faiss()
    return faiss.index_factory(dim, f"IVF{cells},SQfp16", faiss.METRIC_INNER_PRODUCT)


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            'approximate search needs faiss: pip install "faiss-cpu>=1.12" (or mtrl[faiss])'
        ) from error
    return faiss


def _write_cells(folder: Path, gallery: Gallery, cells: Cells) -> None:
    """The cells with the checksums of theirs and of the features they are of: cut off before, they are made anew."""
    tensors = {"centres": cells.centres, "places": cells.places}
    record = {
        "format": FORMAT,
        "gallery": tensor_digest({"features": gallery.features}),
        "cells": tensor_digest(tensors),
    }
    write_atomically(folder / CELLS, tensor_bytes(tensors, record))


def _read_cells(folder: Path, gallery: Gallery) -> Cells | None:
    """The stored cells, or None when they are not there, damaged, or of another state of the gallery."""
    count, dim = gallery.features.shape
    try:
        with open_tensors(folder / CELLS) as file:
            shapes = outline(file)
            centres = shapes.get("centres", ("", ()))[1]
            right = {"centres": ("F32", (*centres[:1], dim)), "places": ("I32", (count,))}
            if shapes != right or not 1 <= centres[0] <= MAX_CELLS:
                return None
            tensors = {name: file.get_tensor(name) for name in right}
            record = file.metadata()
    except (OSError, ValueError, RuntimeError):  # the last is torch's, for a file that vanishes meanwhile
        return None
    expected = {
        "format": FORMAT,
        "gallery": tensor_digest({"features": gallery.features}),
        "cells": tensor_digest(tensors),
    }
    places = tensors["places"]
    inside = not count or (int(places.min()) >= 0 and int(places.max()) < len(tensors["centres"]))
    return Cells(**tensors) if record == expected and inside else None
