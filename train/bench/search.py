"""Speed of searching a large gallery: exactly in blocks, approximately with faiss, and in a Milvus database."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from mtrl.retrieval.gallery import Gallery
from mtrl.retrieval.stores.factory import create_store
from train.bench.table import Line, Options, paired

DIM = 512
PER_PERSON = 20
SPREAD = 0.7  # length of an image's own direction, where its person's is 1: two images of a person have cosine 0.67
QUERIES = 256
_ROWS = 50_000


def lines(options: Options) -> Iterator[Line]:
    """Measures searches with one query and with many, and the recall of float16 and approximate searches."""
    sizes = (20_000, 5_000, 2_000) if options.quick else (1_000_000, 100_000, 20_000)
    features, queries = _features(sizes[0])
    gallery = _gallery(features)
    yield from _exact(gallery, queries, options)
    part = _gallery(features[: sizes[1]])
    del gallery, features
    if importlib.util.find_spec("faiss"):
        yield _stored("faiss", part, queries, options)
    if importlib.util.find_spec("milvus_lite"):
        yield _stored("milvus", _gallery(part.features[: sizes[2]]), queries, options)


def _exact(gallery: Gallery, queries: Tensor, options: Options) -> Iterator[Line]:
    size = f"{len(gallery):,} x {DIM}"
    wanted = (queries @ gallery.features.T).topk(10).indices  # independent of the search that it checks
    for kind, used in (("float32", gallery), ("float16 storage", gallery.half())):
        found = used.search(queries)[1]
        same = float((found[:, :, None] == wanted[:, None]).any(2).double().mean())
        bytes_used = used.features.numel() * used.features.element_size()
        note = f"recall@10 {same:.4f}; {bytes_used / 1e9:.2f} GB and buffers of at most 12 MB"
        for count in (1, len(queries)):
            asked = queries[:count]
            ours, theirs = paired(
                lambda used=used, asked=asked: _run(used.search, asked),  # type: ignore[misc]
                lambda asked=asked: _run(lambda q: (q @ gallery.features.T).topk(10), asked),  # type: ignore[misc]
                options.repeats,
            )
            what = f"top 10 of {size}, {kind}, {count} at once"
            yield Line("search", what, 1e3 * ours / count, 1e3 * (theirs or 0) / count,
                       f"mm and topk of the whole, scores {4e-6 * len(gallery) * count:,.0f} MB", "ms/query",
                       False, note)  # fmt: skip
    yield _mapped(gallery.half(), queries[:1], options)


def _mapped(gallery: Gallery, query: Tensor, options: Options) -> Line:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # Windows keeps mapped files
        gallery.save(folder)
        opened = Gallery.load(folder)
        ours, theirs = paired(
            lambda: _run(opened.search, query), lambda: _run(gallery.search, query), options.repeats
        )
    what = f"top 10 of {len(gallery):,} x {DIM}, float16, mapped file, 1 at once"
    return Line("search", what, 1e3 * ours, 1e3 * (theirs or 0), "the same features in memory", "ms/query", False,
                "after the file was read once")  # fmt: skip


def _stored(kind: str, gallery: Gallery, queries: Tensor, options: Options) -> Line:
    wanted = gallery.search(queries)[1].tolist()
    with tempfile.TemporaryDirectory() as folder:
        store = create_store(kind, str(Path(folder) / "store"), gallery)
        found = [[int(match.name) for match in matches] for matches in store.find(queries)]
        recall = sum(len({*a} & {*b}) for a, b in zip(found, wanted, strict=True)) / (10 * len(wanted))
        ours, theirs = paired(
            lambda: _run(store.find, queries[:1]), lambda: _run(gallery.find, queries[:1]), options.repeats
        )
        store.close()
    what = f"top 10 of {len(gallery):,} x {DIM}, {kind}, 1 at once"
    return Line("search", what, 1e3 * ours, 1e3 * (theirs or 0), "our exact search", "ms/query", False,
                f"recall@10 {recall:.4f}")  # fmt: skip


def _run(search: object, queries: Tensor) -> None:
    search(queries)  # type: ignore[operator]


def _features(count: int) -> tuple[Tensor, Tensor]:
    """(features [count,D], queries [Q,D]) of made-up people: unit rows, near each other if of the same person."""
    random = torch.Generator().manual_seed(0)
    people = F.normalize(torch.randn(count // PER_PERSON, DIM, generator=random))
    features = torch.empty(count, DIM)
    for start in range(0, count, _ROWS):
        rows = torch.arange(start, min(start + _ROWS, count))
        features[rows] = _images(people[rows // PER_PERSON], random)
    chosen = torch.randint(min(len(people), 100), (QUERIES,), generator=random)
    return features, _images(people[chosen], random)


def _images(people: Tensor, random: torch.Generator) -> Tensor:
    own = F.normalize(torch.randn(people.shape, generator=random))
    return F.normalize(people + SPREAD * own)


def _gallery(features: Tensor) -> Gallery:
    return Gallery(features, tuple(map(str, range(len(features)))))
