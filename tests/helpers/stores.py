"""Entries of a store whose features follow from their names. Test processes import this module too."""

from __future__ import annotations

import torch
from torch.nn.functional import normalize

from mtrl import Gallery
from mtrl.retrieval.stores.factory import open_store

DIM, PART = 16, 10  # length of a feature; entries that are put at once


def rows(numbers: range, model: str = "m") -> Gallery:
    """Entries whose features follow from their names, so that a torn one shows."""
    made = [torch.randn(DIM, generator=torch.Generator().manual_seed(number)) for number in numbers]
    return Gallery(
        normalize(torch.stack(made)), tuple(map(str, numbers)), identities=tuple(numbers), model=model
    )


def check_whole(target: str, acknowledged: int) -> int:
    """Opens the store: all acknowledged entries are there, each with its own feature. Returns their number."""
    store = open_store(target)
    count = len(store)
    assert count >= acknowledged and count % PART == 0
    wanted = rows(range(count))
    for name, found in zip(wanted.names, store.find(wanted.features, 1), strict=True):
        assert found[0].name == name == str(found[0].identity) and found[0].score > 0.999
    store.upsert(rows(range(count, count + PART)))
    assert len(store) == count + PART
    store.close()
    return count
