"""What `index` is given: a folder of images, or a CSV listing with their labels."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

from mtrl.commands.options import find_images
from mtrl.files.filenames import as_text
from mtrl.retrieval.where import parse_time

COLUMNS = ("path", "identity", "camera", "time")


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

    source      a folder, searched to its depths, or a .csv listing: a column `path` (from the listing's folder on)
                and, as far as known, `identity`, `camera` (integer), `time` (ISO 8601; UTC without an offset)
    identities  "folder": that of an image is the name of the folder it lies in; "none"
    times       "file": the file's modification time; "none"
    A listing's own columns go before these. Raises FileNotFoundError, or ValueError with the listing's line.
    """
    listed = source.suffix.lower() == ".csv" and source.is_file()
    records = _read_listing(source) if listed else []
    paths = [source.parent / record["path"] for record in records] if listed else [source]
    kept, remark = find_images(paths, skip_unreadable)
    root = source.parent if listed else source
    if listed:
        left = set(kept)
        records = [record for record, path in zip(records, paths, strict=True) if path in left]
    if len(kept) != len(records) and listed:
        raise ValueError(f"{source} lists a folder or an image twice; every line must be one image")
    folders = [as_text(path.parent.name) for path in kept] if identities == "folder" else None
    moments = [path.stat().st_mtime for path in kept] if times == "file" else None
    cameras = _column(records, "camera", source)
    stamps = _column(records, "time", source)
    photos = Photos(
        kept,
        [as_text(path.relative_to(root).as_posix() if path.is_relative_to(root) else path) for path in kept],
        _column(records, "identity", source) or folders,
        None if cameras is None else [_integer(text, source) for text in cameras],
        moments if stamps is None else [parse_time(text) for text in stamps],
    )
    return photos, remark


def _read_listing(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            records = list(reader)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no CSV listing: {error}") from error
    names = reader.fieldnames or []
    unknown = [name for name in names if name not in COLUMNS]
    if "path" not in names or unknown:
        raise ValueError(
            f"{path} must have the column path and may have identity, camera, time; it has {names}"
        )
    for line, record in enumerate(records, start=2):
        if None in record or None in record.values() or not record["path"]:
            raise ValueError(f"{path}, line {line}: every line needs a path and as many cells as the head")
    return records


def _column(records: list[dict[str, str]], name: str, source: Path) -> list[str] | None:
    """A column that is filled everywhere, None where it is missing or empty throughout."""
    values = [record.get(name) or "" for record in records]
    if not any(values):
        return None
    if not all(values):
        raise ValueError(f"{source}: the column {name} must be filled in every line, or in none")
    return values


def _integer(text: str, source: Path) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{source}: a camera is an integer, not {text!r}") from None
