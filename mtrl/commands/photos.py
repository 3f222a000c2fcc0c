"""The input of `index`: a folder of images, or a table that lists images with their labels."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

from mtrl.commands.options import find_images
from mtrl.data.video.listing import LISTING, STATE, holds_crops
from mtrl.files.filenames import as_text
from mtrl.files.levels import ValueRange, checked_range
from mtrl.files.scan import scan
from mtrl.files.table import Row, is_table, read_table, whole_decimal
from mtrl.labels.names import short, whole_number
from mtrl.models.config import Modality
from mtrl.retrieval.filters import parse_time

LABELS = ("identity", "camera", "time", "modality", "value_range")
CROPS = ("frame", "seconds", "x", "y", "width", "height", "track", "quality")  # what `crops` writes besides
Label = TypeVar("Label")


@dataclasses.dataclass(frozen=True)
class Photos:
    """Files, the names that they get in the gallery, and labels: one for each, or None."""

    paths: list[Path]
    names: list[str]
    identities: list[str] | None = None
    cameras: list[int] | None = None
    times: list[float] | None = None
    modalities: list[Modality] | None = None
    tracks: list[str] | None = None
    qualities: list[float] | None = None
    value_range: ValueRange | None = None


def read_photos(
    source: Path,
    identities: str = "none",
    times: str = "none",
    skip_unreadable: bool = False,
    tracks: str | None = None,
) -> tuple[Photos, str]:
    """(photos, a remark on skipped ones or "").

    source      a folder, searched to its depths, or a table (.csv or .parquet): a column `path` (from the table's
                folder on) and, as far as known, `identity`, `camera` (integer), `time` (ISO 8601; UTC without an
                offset), `modality`, `value_range` ("LOW HIGH"). A folder that `crops` wrote, or one of several such
                folders, is read by its listings
    tracks      column that names the tracks; with it `quality` (above 0) is read too. None: neither
    identities  "folder": that of an image is the name of the folder it lies in; "none"
    times       "file": the file's modification time; "none"
    A table's own columns go before these. Raises FileNotFoundError, ValueError with the table's line, and
    ValueError for crops that are not finished, or that lie beside other images.
    """
    tables = [source] if is_table(source) else _listings(source)
    listed = bool(tables)
    labels = tuple(dict.fromkeys((*LABELS, tracks, "quality"))) if tracks else LABELS
    rows = [(table, row) for table in tables for row in read_table(table, ("path",), labels, CROPS)]
    paths = _listed_paths(rows) if listed else [source]
    kept, remark = find_images(paths, skip_unreadable)
    root = source if source.is_dir() else source.parent
    if listed:
        left = set(kept)
        rows = [row for row, path in zip(rows, paths, strict=True) if path in left]
    cells = [row for _, row in rows]
    folders = [_folder_name(path) for path in kept] if identities == "folder" else None
    moments = [path.stat().st_mtime for path in kept] if times == "file" else None
    photos = Photos(
        kept,
        [as_text(path.relative_to(root).as_posix() if path.is_relative_to(root) else path) for path in kept],
        _column(cells, "identity", str) or folders,
        _column(cells, "camera", _camera),
        _column(cells, "time", parse_time) or moments,
        _column(cells, "modality", Modality.parse),
        _tracks(rows, tracks, root) if tracks else None,
        _column(cells, "quality", _quality) if tracks else None,
        _one_range(cells),
    )
    return photos, remark


def _folder_name(path: Path) -> str:
    """The name of the folder in which a file lies, also where its path does not say it, as `./1.jpg`."""
    folder = path.parent
    return as_text(folder.resolve().name if folder.name in ("", "..") else folder.name)


def _listings(folder: Path) -> list[Path]:
    """The listings that `crops` wrote in the folder and in those below it; none where there are no such."""
    found = scan(folder)
    others = [PurePosixPath(item.path) for item in found.passed_over]
    states = (path.parent for path in others if path.name == STATE)
    crops = sorted(parent for parent in states if holds_crops(folder / parent))
    for each in crops:
        if not (folder / each / LISTING).is_file():
            raise ValueError(f"the crops of {as_text(folder / each)} are not finished: run `crops` again")
    roots = set(crops)
    beside = [name for name in found.images if roots.isdisjoint(PurePosixPath(name).parents)] if crops else []
    if beside:
        raise ValueError(
            f"{as_text(folder)} holds crops and {len(beside)} other images, such as {as_text(beside[0])}, which no "
            "listing names: index them by themselves, with --add"
        )
    return [folder / each / LISTING for each in crops]


def _tracks(rows: Sequence[tuple[Path, Row]], column: str, root: Path) -> list[str] | None:
    """The tracks, with the folder of their listing in front: every recording counts its people from 1 on."""
    names = _column([row for _, row in rows], column, str)
    if names is None:
        return None
    folders = [table.parent.relative_to(root).as_posix() for table, _ in rows]
    return [
        name if folder == "." else f"{folder}/{name}" for folder, name in zip(folders, names, strict=True)
    ]


def _one_range(rows: Sequence[Row]) -> ValueRange | None:
    """The value range that all crops were scaled from, visible ones aside.

    Raises ValueError where they differ: then they cannot mix.
    """
    found: dict[ValueRange | None, str] = {}
    for row in rows:
        if not row["modality"] or Modality.parse(row["modality"]) is not Modality.VISIBLE:
            found.setdefault(_parsed(row, "value_range", _range), row.where)
    if len(found) > 1:
        (one, where), (other, there) = list(found.items())[:2]
        raise ValueError(
            f"{where} was scaled from the value range {one or '(none)'}, {there} from {other or '(none)'}; crops of "
            "one gallery share a range: make them again with the same --value-range"
        )
    return next(iter(found), None)


def _range(text: str) -> ValueRange | None:
    if not text:
        return None
    try:
        return checked_range([float(part) for part in text.split()])
    except ValueError:
        raise ValueError(f"a value range is two numbers, the lower one first, not {short(text)!r}") from None


def _quality(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < (number := float(text)) < math.inf:
            return number
    raise ValueError(f"a quality is a number above 0, not {short(text)!r}")


def _listed_paths(rows: Sequence[tuple[Path, Row]]) -> list[Path]:
    """The files of a table. Raises ValueError for a folder, and for a file that is listed twice."""
    first: dict[Path, str] = {}
    for table, row in rows:
        path = table.parent / row["path"]
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
