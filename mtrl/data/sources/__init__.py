"""The data sets by name. To add one: write a module that defines `SOURCE`, and one line of `SOURCES`."""

from __future__ import annotations

import importlib

from mtrl.data.sources.source import Request, Source

__all__ = ["SOURCES", "Request", "Source", "find_source", "on_disk", "trainable"]

# {name: module}. A module is imported when its data set is used.
SOURCES: dict[str, str] = {
    "synthetic": "mtrl.data.sources.synthetic",
    "sysu": "mtrl.data.sources.sysu",
    "regdb": "mtrl.data.sources.regdb",
    "llcm": "mtrl.data.sources.llcm",
    "folder": "mtrl.data.sources.folder",
    "m3svd": "mtrl.data.sources.m3svd",
}


def find_source(name: str) -> Source:
    """The description of a data set by its name. Raises ValueError for an unknown name."""
    if name not in SOURCES:
        raise ValueError(f"unknown data set {name!r}; known are {', '.join(sorted(SOURCES))}")
    source: Source = importlib.import_module(SOURCES[name]).SOURCE
    return source


def trainable(name: str) -> Source:
    """The data set of a name, which must have training images. Raises ValueError."""
    source = find_source(name)
    if not source.training:
        others = ", ".join(known for known in SOURCES if find_source(known).training)
        raise ValueError(f"{name} has test images alone; data sets to train on are {others}")
    return source


def on_disk() -> list[str]:
    """Names of the data sets that consist of files, which `verify` can check."""
    return [name for name in SOURCES if find_source(name).verify is not None]
