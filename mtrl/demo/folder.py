"""A demo gallery on disk: pictures of people in a folder, or an index that `python -m mtrl index` made of them."""

from __future__ import annotations

import contextlib
import dataclasses
import hmac
import json
import os
import secrets
import warnings
from pathlib import Path
from typing import Any

from mtrl.config import Modality
from mtrl.data.array_cache import cache_root
from mtrl.retrieval.gallery import Gallery
from mtrl.untrusted import parse_json, read_limited
from mtrl.writing import write_atomically

MANIFEST = "manifest.json"
INDEX = "gallery.json"
SOURCES = "sources.json"  # beside an index: the folders that it was made of
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}


@dataclasses.dataclass(frozen=True)
class Picture:
    """One picture of a gallery. `identity`, `camera` and `truth` (the aligned true infrared view) may be unknown."""

    name: str
    path: Path
    modality: Modality
    identity: int | str | None = None
    camera: int | None = None
    truth: Path | None = None


def read_gallery(folder: Path) -> list[Picture]:
    """The pictures of a gallery folder, in its own order.

    The folder holds either `manifest.json`, a list of {"file", "identity", "camera", "modality", "truth"}, or
    two sub-folders `visible` and `infrared` of pictures; a level of folders below them names the people. An index
    made by `python -m mtrl index` lists pictures of one spectrum, which may have been moved away since.
    Raises FileNotFoundError or ValueError that say what is missing.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no gallery folder at {folder}; `python -m mtrl synth --gallery DIR` draws one"
        )
    if is_index(folder):
        return _from_index(folder)
    manifest = folder / MANIFEST
    pictures = _from_manifest(manifest) if manifest.is_file() else _from_folders(folder)
    for modality in Modality:
        if not any(picture.modality is modality for picture in pictures):
            raise ValueError(
                f"the gallery {folder} has no {modality.name.lower()} pictures; it needs {MANIFEST}, or pictures "
                f"in the sub-folders visible and infrared"
            )
    return pictures


def is_index(folder: Path) -> bool:
    """Whether the folder is an index, whose embeddings are there already, in the order of its pictures."""
    return (folder / INDEX).is_file()


def remember_source(index: Path, folder: Path) -> None:
    """Notes in an index that pictures of it lie in `folder`, so that the page can show them.

    The note carries a seal of this machine's user: an index from elsewhere cannot point at files here. Where no key for
    seals can be kept, the page will not show the pictures; a warning says so.
    """
    folders = list(dict.fromkeys([str(folder.resolve()), *_sources(index)]))
    try:
        note = {"folders": folders, "seal": _seal(folders)}
    except OSError as error:
        warnings.warn(
            f"the page will not show the pictures of {index}: {error}; set MTRL_CACHE", stacklevel=2
        )
        return
    write_atomically(index / SOURCES, json.dumps(note).encode())


def _sources(index: Path) -> list[str]:
    """The folders noted by `remember_source` here; none where somebody else noted them."""
    path = index / SOURCES
    if not path.is_file():
        return []
    try:
        note = parse_json(read_limited(path))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}; build the index again") from error
    folders, seal = (note.get("folders"), note.get("seal")) if isinstance(note, dict) else (None, None)
    if not isinstance(folders, list) or not all(isinstance(folder, str) for folder in folders):
        return []
    try:
        return folders if isinstance(seal, str) and hmac.compare_digest(seal, _seal(folders)) else []
    except (OSError, TypeError):
        return []


def _seal(folders: list[str]) -> str:
    """A keyed digest of the folders. The key is made once, for this user, and never leaves the cache folder."""
    path = cache_root(None) / "index.key"
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(32))
    key = path.read_bytes()
    if len(key) != 32:
        raise OSError(f"{path} is damaged; delete it, and index the pictures again")
    return hmac.new(key, json.dumps(folders).encode(), "sha256").hexdigest()


def _from_index(folder: Path) -> list[Picture]:
    index = Gallery.load(folder)
    if not len(index):
        raise ValueError(f"the index {folder} holds no pictures")
    roots = [Path(source) for source in _sources(folder)]
    identities = index.identities or (None,) * len(index)
    cameras = index.cameras or (None,) * len(index)
    return [
        Picture(name, _place(folder, roots, name), index.modality, identity, camera)
        for name, identity, camera in zip(index.names, identities, cameras, strict=True)
    ]


def _place(index: Path, roots: list[Path], name: str) -> Path:
    """Where the picture of that name lies: below one of the roots, or in the index's own folder, links resolved.

    A path that does not exist for a name that leads elsewhere: the index may be a stranger's.
    """
    inside = [
        root / name for root in roots if ".." not in Path(name).parts and (root / name).is_relative_to(root)
    ]
    if len(inside) == 1:
        return inside[0]
    with contextlib.suppress(OSError, ValueError):
        if (index / name).resolve().is_relative_to(index.resolve()):
            inside.append(index / name)
    return next((path for path in inside if path.is_file()), index / INDEX / "not in this index")


def _from_manifest(manifest: Path) -> list[Picture]:
    try:
        entries = json.loads(manifest.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{manifest} is not valid JSON: {error}") from error
    if not isinstance(entries, list):
        raise ValueError(f"{manifest} must hold a list of pictures")
    return [_picture(entry, manifest) for entry in entries]


def _picture(entry: Any, manifest: Path) -> Picture:
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str) or "modality" not in entry:
        raise ValueError(f'{manifest}: every entry needs "file" and "modality", not {str(entry)[:120]}')
    for key in ("identity", "camera"):
        if not isinstance(entry.get(key), (int, type(None))):
            raise ValueError(f"{manifest}: {key} of {entry['file']} must be a whole number or null")
    truth = entry.get("truth")
    return Picture(
        name=entry["file"],
        path=_inside(manifest.parent, entry["file"]),
        modality=Modality.parse(entry["modality"]),
        identity=entry.get("identity"),
        camera=entry.get("camera"),
        truth=_inside(manifest.parent, str(truth)) if truth else None,
    )


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{folder / MANIFEST}: {name} lies outside the gallery folder")
    if not path.is_file():
        raise FileNotFoundError(f"{folder / MANIFEST} lists {name}, but there is no such file")
    return path


def _from_folders(folder: Path) -> list[Picture]:
    pictures: list[Picture] = []
    people: dict[str, int] = {}
    for modality in Modality:
        root = folder / modality.name.lower()
        for path in sorted(root.rglob("*")) if root.is_dir() else []:
            if path.suffix.lower() not in SUFFIXES:
                continue
            parts = path.relative_to(root).parts
            identity = people.setdefault(parts[0], len(people) + 1) if len(parts) > 1 else None
            pictures.append(Picture(path.relative_to(folder).as_posix(), path, modality, identity))
    return pictures
