"""The input of `index`: a folder of images, or a table that lists images with their labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from mtrl.commands.options import find_images
from mtrl.files.filenames import as_text
from mtrl.files.table import Row, is_table, read_table, whole_decimal
from mtrl.labels.names import short, whole_number
from mtrl.retrieval.filters import parse_time

LABELS = ("identity", "camera", "time")
Label = TypeVar("Label")


@dataclasses.dataclass(frozen=True)
class Photos:
    """Files, the names that they get in the gallery, and labels: one for each, or None."""

    paths: list[Path]
    names: list[str]
    identities: list[str] | None = None
    cameras: list[int] | None = None
    times: list[float] | None = None


def read_photos(
    source: Path, identities: str = "none", times: str = "none", skip_unreadable: bool = False
) -> tuple[Photos, str]:
    """(photos, a remark on skipped ones or "").

    source      a folder, searched to its depths, or a table (.csv or .parquet): a column `path` (from the table's
                folder on) and, as far as known, `identity`, `camera` (integer), `time` (ISO 8601; UTC without an
                offset)
    identities  "folder": that of an image is the name of the folder it lies in; "none"
    times       "file": the file's modification time; "none"
    A table's own columns go before these. Raises FileNotFoundError, or ValueError with the table's line.
    """
    listed = is_table(source)
    rows = read_table(source, ("path",), LABELS) if listed else []
    paths = _listed_paths(source, rows) if listed else [source]
    kept, remark = find_images(paths, skip_unreadable)
    root = source.parent if listed else source
    if listed:
        left = set(kept)
        rows = [row for row, path in zip(rows, paths, strict=True) if path in left]
    folders = [as_text(path.parent.name) for path in kept] if identities == "folder" else None
    moments = [path.stat().st_mtime for path in kept] if times == "file" else None
    photos = Photos(
        kept,
        [as_text(path.relative_to(root).as_posix() if path.is_relative_to(root) else path) for path in kept],
        _column(rows, "identity", str) or folders,
        _column(rows, "camera", _camera),
        _column(rows, "time", parse_time) or moments,
    )
    return photos, remark


def _listed_paths(source: Path, rows: Sequence[Row]) -> list[Path]:
    """The files of a table. Raises ValueError for a folder, and for a file that is listed twice."""
    first: dict[Path, str] = {}
    for row in rows:
        path = source.parent / row["path"]
        if path.is_dir():
            raise ValueError(f"{row.where}: {path} is a folder; every row must be one image")
        if path in first:
            raise ValueError(f"{row.where}: {row['path']} is listed twice; first in {first[path]}")
        first[path] = row.where
    return list(first)


def _column(rows: Sequence[Row], name: str, parse: Callable[[str], Label]) -> list[Label] | None:
    """A column that is filled everywhere, None where it is missing or empty throughout."""
    empty = [row.where for row in rows if not row[name]]
    if len(empty) == len(rows):
        return None
    if empty:
        raise ValueError(f"{empty[0]}: the column {name} must be filled in every line, or in none")
    return [_parsed(row, name, parse) for row in rows]


def _parsed(row: Row, name: str, parse: Callable[[str], Label]) -> Label:
    try:
        return parse(row[name])
    except ValueError as error:
        raise ValueError(f"{row.where}: {error}") from None


def _camera(text: str) -> int:
    text = whole_decimal(text)
    number = whole_number(text.removeprefix("-"))
    if number is None:
        raise ValueError(f"a camera is an integer of at most 64 bits, not {short(text)!r}")
    return -number if text.startswith("-") else number
