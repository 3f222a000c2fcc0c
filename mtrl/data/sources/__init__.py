"""The data sets by name. To add one: write a module that defines `SOURCE`, and one line of `SOURCES`.

`module:function` names one of your own (see `own`).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterator

from mtrl.console.own_part import is_own
from mtrl.data.sources.source import Request, Source

__all__ = ["SOURCES", "Names", "Request", "Source", "find_source", "on_disk", "trainable"]

# {name: module}. A module is imported when its data set is used.
SOURCES: dict[str, str] = {
    "synthetic": "mtrl.data.sources.synthetic",
    "sysu": "mtrl.data.sources.sysu",
    "regdb": "mtrl.data.sources.regdb",
    "llcm": "mtrl.data.sources.llcm",
    "folder": "mtrl.data.sources.folder",
    "m3svd": "mtrl.data.sources.m3svd",
}


class Names(Collection[str]):
    """The choices of a command line: the data sets that `known` gives, and any `module:function` besides."""

    def __init__(self, known: Callable[[], Collection[str]] = lambda: SOURCES) -> None:
        self.known = known

    def __contains__(self, name: object) -> bool:
        return name in self.known() or (isinstance(name, str) and is_own(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self.known())

    def __len__(self) -> int:
        return len(self.known())


def find_source(name: str) -> Source:
    """The description of a data set by its name, or by `module:function`. Raises ValueError for an unknown name."""
    if is_own(name):
        from mtrl.data.sources.own import own_source

        return own_source(name)
    if name not in SOURCES:
        raise ValueError(
            f"unknown data set {name!r}; known are {', '.join(sorted(SOURCES))}; one of your "
            "own is written module:function"
        )
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
