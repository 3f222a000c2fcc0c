"""Approximate search with faiss (optional): an inverted file (IVF) beside a gallery.

k-means groups the images into lists (Jegou et al., "Product quantization for nearest neighbor search", 2011). A query
searches only the lists whose centres are nearest. A search with a filter is exact.

faiss's own file format is not used, since its reader does not check files. The centres and the list of each image are
stored as safetensors. Opening a store fills the faiss index (features in float16) from them and the gallery. If they
are missing, damaged, or do not fit the gallery, they are computed again.
"""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mtrl.files.atomic import write_atomically
from mtrl.files.tensor_file import tensor_bytes, tensor_digest
from mtrl.files.untrusted import open_tensors, outline
from mtrl.retrieval.checks import checked_queries
from mtrl.retrieval.filters import Filter
from mtrl.retrieval.gallery import Gallery
from mtrl.retrieval.match import Match
from mtrl.retrieval.stores.exact import IVF_FILE, ExactStore

if TYPE_CHECKING:
    from typing_extensions import Self

FORMAT = "mtrl-faiss-2"
MAX_LISTS = 4096
PER_LIST = 64  # least average number of images in a list; k-means trains on this many per list
SEARCHED = 16  # a query searches 1 of 16 lists, and at least 8; more is slower and misses fewer images
_BLOCK_ROWS = 1 << 14


def is_approximate(folder: str | Path) -> bool:
    """Whether the folder holds an approximate store."""
    return (Path(folder) / IVF_FILE).is_file()


class ApproximateStore(ExactStore):
    """A folder with a gallery and its IVF lists. Raises ImportError without faiss, other errors as `Gallery.load`."""

    @classmethod
    def create(cls, folder: str | Path, entries: Gallery) -> Self:
        """As `ExactStore.create`."""
        require_faiss()  # before anything is written
        return super().create(folder, entries)

    def __init__(self, folder: str | Path) -> None:
        require_faiss()
        self._guard = threading.Lock()  # faiss must not search while it adds
        self._lists: IVFLists | None = None
        self._index: Any = None
        super().__init__(folder)
        if self._index is None:
            with self._changing():
                self._load()  # another process may have written the lists while this one waited
                if self._index is None:
                    self._rebuild()

    def find(self, features: Tensor, k: int = 10, where: Filter | None = None) -> list[list[Match]]:
        with self._guard:
            return self.gallery.describe(*self._search(features, k, where))

    def search(self, features: Tensor, k: int = 10, where: Filter | None = None) -> tuple[Tensor, Tensor]:
        """As `Gallery.search`, but without a filter a few of the nearest may be missed. Scores are exact cosines."""
        with self._guard:
            return self._search(features, k, where)

    def _search(self, features: Tensor, k: int, where: Filter | None) -> tuple[Tensor, Tensor]:
        if where or not len(self.gallery):
            return self.gallery.search(features, k, where)
        queries = checked_queries(features, self.gallery.features.shape[1], k)
        k = min(k, len(self.gallery))
        width = require_faiss().SearchParametersIVF(nprobe=max(8, self._index.nlist // SEARCHED))
        found = torch.from_numpy(self._index.search(queries.numpy(), k, params=width)[1])
        if bool((found < 0).any()):  # the lists searched hold fewer than k images
            return self.gallery.search(features, k)
        scores = torch.stack([self.gallery.features[rows].float() @ q for rows, q in zip(found, queries, strict=True)]
                             ) if len(queries) else torch.zeros(0, k)  # fmt: skip
        scores, order = scores.sort(dim=1, descending=True, stable=True)
        return scores, found.gather(1, order)

    def _load(self) -> None:
        with self._guard:
            super()._load()
            self._lists = _read_lists(self.folder, self.gallery)
            self._index = None if self._lists is None else _fill(self.gallery.features, self._lists)

    def _replace(self, gallery: Gallery) -> None:
        with self._guard:
            before = self.gallery
            super()._replace(gallery)
            new = gallery.features[len(before) :]
            unmoved = len(before) > 0 and torch.equal(gallery.features[: len(before)], before.features)
            if self._lists is not None and unmoved:
                assignments = _assign(new, self._lists.centres)
                self._lists = IVFLists(self._lists.centres, torch.cat([self._lists.assignments, assignments]))
                _append(self._index, new, assignments)
                _write_lists(self.folder, gallery, self._lists)
            else:
                self._rebuild()

    def _rebuild(self) -> None:
        self._lists = _train(self.gallery.features)
        self._index = _fill(self.gallery.features, self._lists)
        _write_lists(self.folder, self.gallery, self._lists)


@dataclasses.dataclass(frozen=True, eq=False)
class IVFLists:
    """The IVF lists of a gallery.

    centres      float32 [C,D], one per list
    assignments  int32 [N], the list of each gallery row
    """

    centres: Tensor
    assignments: Tensor


def _train(features: Tensor) -> IVFLists:
    """Groups features [N,D] into lists by k-means. The same features give the same lists."""
    count, dim = features.shape
    lists = max(1, min(MAX_LISTS, count // PER_LIST, round(4 * count**0.5)))
    if not count:
        return IVFLists(torch.zeros(1, dim), torch.zeros(0, dtype=torch.int32))
    rows = torch.randperm(count, generator=torch.Generator().manual_seed(0))[: lists * PER_LIST]
    index = _empty_index(dim, lists)
    index.cp.spherical = True
    index.cp.niter = 10
    index.train(features[rows.sort().values].float().numpy())
    centres = torch.from_numpy(index.quantizer.reconstruct_n(0, lists))
    return IVFLists(centres, _assign(features, centres))


def _assign(features: Tensor, centres: Tensor) -> Tensor:
    """int32 [N]: for each row, the centre with the largest inner product."""
    index = require_faiss().IndexFlatIP(centres.shape[1])
    index.add(centres.numpy())
    found = [
        index.search(block.float().numpy(), 1)[1][:, 0] for block in features.split(_BLOCK_ROWS) if len(block)
    ]
    return torch.from_numpy(np.concatenate(found or [np.zeros(0, np.int64)]).astype(np.int32))


def _fill(features: Tensor, lists: IVFLists) -> Any:
    index = _empty_index(features.shape[1], len(lists.centres))
    index.quantizer.add(lists.centres.numpy())
    index.is_trained = True  # the centres are given, and storing in float16 needs no training
    _append(index, features, lists.assignments)
    return index


def _append(index: Any, features: Tensor, assignments: Tensor) -> None:
    pointer = require_faiss().swig_ptr
    for block, lists in zip(features.split(_BLOCK_ROWS), assignments.split(_BLOCK_ROWS), strict=True):
        if len(block):
            rows, numbers = np.ascontiguousarray(block.float().numpy()), lists.long().numpy()
            index.add_core(len(rows), pointer(rows), None, pointer(numbers))


def _empty_index(dim: int, lists: int) -> Any:
    faiss = require_faiss()
    return faiss.index_factory(dim, f"IVF{lists},SQfp16", faiss.METRIC_INNER_PRODUCT)


def require_faiss() -> Any:
    """The module faiss. Raises ImportError without it."""
    try:
        import faiss
    except ImportError as error:
        raise ImportError('approximate search needs faiss: pip install "faiss-cpu>=1.12"') from error
    return faiss


def _write_lists(folder: Path, gallery: Gallery, lists: IVFLists) -> None:
    """Writes the lists with their checksum and that of the features.

    If a crash prevents that, opening the store computes the lists again.
    """
    # The names "places" and "cells" are those of the first version of the file, so that older stores still open.
    tensors = {"centres": lists.centres, "places": lists.assignments}
    record = {
        "format": FORMAT,
        "gallery": tensor_digest({"features": gallery.features}),
        "cells": tensor_digest(tensors),
    }
    write_atomically(folder / IVF_FILE, tensor_bytes(tensors, record))


def _read_lists(folder: Path, gallery: Gallery) -> IVFLists | None:
    """The stored lists; None if they are missing, damaged, or do not fit the gallery."""
    count, dim = gallery.features.shape
    try:
        with open_tensors(folder / IVF_FILE) as file:
            shapes = outline(file)
            centres = shapes.get("centres", ("", ()))[1]
            right = {"centres": ("F32", (*centres[:1], dim)), "places": ("I32", (count,))}
            if shapes != right or not 1 <= centres[0] <= MAX_LISTS:
                return None
            tensors = {name: file.get_tensor(name) for name in right}
            record = file.metadata()
    except (OSError, ValueError, RuntimeError):  # torch raises RuntimeError if the file vanishes meanwhile
        return None
    expected = {
        "format": FORMAT,
        "gallery": tensor_digest({"features": gallery.features}),
        "cells": tensor_digest(tensors),
    }
    assignments = tensors["places"]
    inside = not count or (int(assignments.min()) >= 0 and int(assignments.max()) < len(tensors["centres"]))
    return IVFLists(tensors["centres"], assignments) if record == expected and inside else None
