"""Reads JSON and safetensors files from untrusted sources. Size, links and header are checked before memory is taken.

Reading executes no code. No other format is read.
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
MAX_HEADER_BYTES = 10_000_000  # enough for a hundred thousand tensors; the largest models have some thousands
FLOATS = ("F32", "F16", "BF16")  # types in which weights are stored
MODEL, TRANSLATOR = "mtrl-1", "mtrl-translator-1"  # what "format" says of a file
_KINDS = {MODEL: "a re-identification model", TRANSLATOR: "a translator"}
_HUB_COPIES = "snapshots"  # folder of the Hub's cache whose files are links into the folder "blobs" beside it


def inside(path: Path) -> Path:
    """Returns `path`. Raises ValueError if it is a link to a place outside its folder.

    Links inside the Hub's cache, from `snapshots/COMMIT` to `blobs`, are allowed.
    """
    if not path.is_symlink():
        return path
    folder, target = path.parent.resolve(), path.resolve()
    blobs = folder.parents[1] / "blobs" if folder.parent.name == _HUB_COPIES else folder
    if not (target.is_relative_to(folder) or target.is_relative_to(blobs)):
        raise ValueError(f"{path} is a symbolic link that leads out of its folder; put the file itself there")
    return path


def named_file(path: str | Path) -> Path:
    """A file that the user named: links of one's own may lead anywhere, unlike those of a folder from elsewhere."""
    path = Path(path)
    return path.resolve() if path.is_symlink() else path


def read_limited(path: Path, limit: int = MAX_JSON_BYTES, errors: str = "strict") -> str:
    """The text of a file of at most `limit` bytes. Raises ValueError for a larger file or a link out of its folder, and
    for what is not UTF-8, unless `errors` is "replace"."""
    with inside(path).open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{path} is larger than {limit // 1000} kB, more than such a file can need")
    try:
        return content.decode("utf-8", errors)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text ({error.reason})") from error


def parse_json(text: str) -> Any:
    """Parses JSON. Raises ValueError for invalid JSON, duplicate keys, NaN, infinity and too deep nesting."""
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def parse_object(text: str, where: str, form: str) -> dict[str, Any]:
    """Parses a JSON object whose entry "format" must be `form`, and removes that entry. `where` names it in errors.

    Raises ValueError for anything else.
    """
    if len(text) > MAX_JSON_BYTES:
        raise ValueError(f"{where} describes itself in {len(text)} characters; no model needs that")
    try:
        values = parse_json(text)
    except ValueError as error:
        raise ValueError(f"{where} is not valid JSON ({error}); download or train it again") from error
    said = values.get("format") if isinstance(values, dict) else None
    if isinstance(said, str) and said in _KINDS.keys() - {form}:
        raise ValueError(f"{where} is that of {_KINDS[said]}, not of {_KINDS.get(form, form)}")
    if said != form:
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
    """Context manager: opens a safetensors file.

    Raises ValueError for a file that is damaged or of another kind, and for a header above `MAX_HEADER_BYTES`.
    safetensors itself refuses tensors that overlap, leave gaps or lie outside the file.
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
    """{name: (type such as "F32", shape)} of all tensors, from the header alone."""
    slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
    return {name: (str(part.get_dtype()), tuple(part.get_shape())) for name, part in slices.items()}


def check_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raises ValueError if a tensor holds NaN or infinity."""
    for name, value in tensors.items():
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"{path}: {name} holds values that are not finite; train it again")


def damaged(path: Path, error: object) -> str:
    """The error message for a weights file that cannot be used because of `error`."""
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(b"version https://git-lfs"):
        return f"{path} is a Git LFS pointer, not the weights; fetch them with `git lfs pull`"
    if start.lstrip().startswith(b"<"):
        return f"{path} is a web page, not the weights; download the file itself"
    return f"{path} is damaged ({error}); download it again or train it again"
