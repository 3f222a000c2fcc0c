"""Reads JSON and safetensors files from untrusted sources: size, links and header are checked before memory is taken.

Nothing here runs what a file says; JSON and safetensors are the only formats.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

MAX_JSON_BYTES = 1_000_000
MAX_HEADER_BYTES = 10_000_000  # a hundred thousand tensors; the largest models have some thousands
FLOATS = ("F32", "F16", "BF16")  # types in which weights are stored
_HUB_COPIES = "snapshots"  # folders there hold links into the Hub cache's own "blobs"


def inside(path: Path) -> Path:
    """`path` itself, unless it is a link to something outside its folder: then ValueError.

    The Hub's cache is made of links, from `snapshots/COMMIT` to `blobs` beside it: these are followed.
    """
    if not path.is_symlink():
        return path
    folder, target = path.parent.resolve(), path.resolve()
    blobs = folder.parents[1] / "blobs" if folder.parent.name == _HUB_COPIES else folder
    if not (target.is_relative_to(folder) or target.is_relative_to(blobs)):
        raise ValueError(f"{path} is a symbolic link that leads out of its folder; put the file itself there")
    return path


def read_limited(path: Path, limit: int = MAX_JSON_BYTES) -> str:
    """The text of a small file. Raises ValueError for a large one, or a link that leads elsewhere."""
    with inside(path).open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{path} is larger than {limit // 1000} kB, more than such a file can need")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text ({error.reason})") from error


def parse_json(text: str) -> Any:
    """JSON without duplicate keys, NaN or infinity. Raises ValueError, also for nesting that is too deep."""
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def parse_object(text: str, where: str, form: str) -> dict[str, Any]:
    """An untrusted JSON object that must say "format": `form`; that entry is removed. Raises ValueError."""
    if len(text) > MAX_JSON_BYTES:
        raise ValueError(f"{where} describes itself in {len(text)} characters; no model needs that")
    try:
        values = parse_json(text)
    except ValueError as error:
        raise ValueError(f"{where} is not valid JSON ({error}); download or train it again") from error
    if not isinstance(values, dict) or values.get("format") != form:
        raise ValueError(f'{where} was not written by this library: it does not say "format": "{form}"')
    values.pop("format")
    return values


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:80]!r} stands there twice")
    return values


@contextmanager
def open_tensors(path: Path) -> Iterator[Any]:
    """An open safetensors file. safetensors itself refuses offsets that overlap, leave gaps or leave the file.

    Raises ValueError for a file that is damaged or none, and for a header above `MAX_HEADER_BYTES`.
    """
    with inside(path).open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > MAX_HEADER_BYTES:
        raise ValueError(damaged(path, f"its header would take {length:,} bytes"))
    try:
        with safe_open(path, framework="pt") as opened:
            yield opened
    except SafetensorError as error:
        raise ValueError(damaged(path, error)) from error


def outline(opened: Any) -> dict[str, tuple[str, tuple[int, ...]]]:
    """(type as "F32", shape) of every tensor, from the header alone."""
    slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
    return {name: (str(part.get_dtype()), tuple(part.get_shape())) for name, part in slices.items()}


def check_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raises ValueError for NaN and infinity, which would spoil every result."""
    for name, value in tensors.items():
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"{path}: {name} holds values that are not finite; train it again")


def damaged(path: Path, error: object) -> str:
    """The error message for a weights file that cannot be read."""
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(b"version https://git-lfs"):
        return f"{path} is a Git LFS pointer, not the weights; fetch them with `git lfs pull`"
    if start.lstrip().startswith(b"<"):
        return f"{path} is a web page, not the weights; download the file itself"
    return f"{path} is damaged ({error}); download it again or train it again"
