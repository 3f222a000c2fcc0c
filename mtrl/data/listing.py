"""Lists of image files and of their labels: what the loaders share. Nothing is decoded here.

Labels come from path components and from list files, never from positions in a path.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from mtrl.config import Modality
from mtrl.os_errors import expanded

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
BOTH, QUERY, GALLERY = 0, 1, 2


@dataclasses.dataclass(frozen=True)
class Sample:
    """One image file. `path` is below the root, with forward slashes; `subset` as in `ImageSet.subsets`."""

    path: str
    identity: int
    camera: int
    modality: Modality
    subset: int = BOTH


@dataclasses.dataclass(frozen=True)
class Scan:
    """What stands in a folder of identity folders.

    images  {identity: paths below the root, in file-name order}, identities ascending
    stray   everything else: files that are no image, images outside an identity folder, odd folders
    errors  what could not be read, or is ambiguous
    """

    images: dict[int, list[str]]
    stray: list[str]
    errors: list[str]


def in_order(samples: Iterable[Sample]) -> list[Sample]:
    """By identity, camera, then path: the order that gallery draws rely on."""
    return sorted(samples, key=lambda sample: (sample.identity, sample.camera, sample.path))


def is_image(name: str) -> bool:
    """By its ending; hidden files (macOS companions `._0001.jpg`) are none."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES and not name.startswith(".")


def scan_identities(root: Path, folder: str) -> Scan:
    """The images of ROOT/FOLDER/<identity number>/. An absent folder is an empty one."""
    found = Scan({}, [], [])
    names: dict[int, str] = {}
    for name, is_folder in _entries(root, folder, found.errors):
        path = f"{folder}/{name}"
        if not (is_folder and name.isdecimal()):
            found.stray.append(path)
        elif int(name) in names:
            found.errors.append(f"{path} and {folder}/{names[int(name)]} are the same identity number")
        else:
            names[int(name)] = name
    for identity in sorted(names):
        images = scan_images(root, f"{folder}/{names[identity]}", found)
        if images:
            found.images[identity] = images
    return found


def scan_images(root: Path, folder: str, found: Scan) -> list[str]:
    """Paths of the images directly in ROOT/FOLDER, in file-name order; the rest goes to `found`."""
    images = []
    for name, is_folder in _entries(root, folder, found.errors):
        if not is_folder and is_image(name):
            images.append(f"{folder}/{name}")
        else:
            found.stray.append(f"{folder}/{name}")
    return images


def images_of(root: Path, folder: str) -> dict[int, list[str]]:
    """`scan_identities` for a loader: stray files are passed over, errors raise OSError."""
    found = scan_identities(root, folder)
    if found.errors:
        raise OSError(found.errors[0])
    return found.images


def _entries(root: Path, folder: str, errors: list[str]) -> list[tuple[str, bool]]:
    """(name, is a folder) sorted by name. Links are followed; a broken one counts as a file."""
    try:
        with os.scandir(root / folder) as entries:
            return sorted((entry.name, entry.is_dir()) for entry in entries)
    except FileNotFoundError:
        return []
    except OSError as error:
        errors.append(f"{root / folder} cannot be read: {error.strerror}")
        return []


def open_root(root: str | Path | None, layout: Sequence[str], dataset: str) -> Path:
    """The root as a path, once it holds every folder of `layout`.

    Raises ValueError without a root; FileNotFoundError that says what is missing, and where it stands instead.
    """
    wanted = ", ".join(layout)
    if root is None:
        raise ValueError(
            f"{dataset} needs its folder: --data-root DIR, the one that holds {wanted} "
            f"(check it with: python -m mtrl verify --dataset {dataset} --data-root DIR)"
        )
    base = expanded(root)
    if not base.is_dir():
        raise FileNotFoundError(f"{base} is not a folder; --data-root must hold {wanted}")
    missing = [name for name in layout if not (base / name).is_dir()]
    if missing:
        nested = nested_root(base, layout)
        hint = f"; did you mean {nested}?" if nested else f"; {dataset} has {wanted} there"
        raise FileNotFoundError(f"{base} has no folder {', '.join(missing)}{hint}")
    return base


def nested_root(base: Path, layout: Sequence[str]) -> Path | None:
    """A folder directly below that has the layout, as unpacked archives often do; or the one above."""
    try:
        below = sorted(path for path in base.iterdir() if path.is_dir())
    except OSError:
        return None
    return next((path for path in (*below, base.parent) if all((path / n).is_dir() for n in layout)), None)


def read_text(path: Path) -> str:
    """A small text file, with or without a byte-order mark. Raises FileNotFoundError or ValueError by name."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing; it is part of the data set's download") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file: {error.reason}") from error


def read_ids(path: Path) -> list[int]:
    """Identities of a one-line, comma-separated file, ascending.

    Only the first line counts, as for everybody who uses these files; more lines give a warning.
    Raises FileNotFoundError, or ValueError for something that is no list of numbers.
    """
    lines = [line.strip() for line in read_text(path).splitlines()]
    if len([line for line in lines if line]) > 1:
        warnings.warn(f"{path} has more than one line; only the first is read", stacklevel=2)
    parts = [part.strip() for part in (lines[0] if lines else "").split(",")]
    ids = [part for part in parts if part]
    wrong = [part for part in ids if not (part.isascii() and part.isdecimal())]
    if wrong or not ids:
        what = f"{wrong[0]!r} is no identity number" if wrong else "its first line is empty"
        raise ValueError(f"{path}: {what}; expected one line such as 6,10,17")
    if len(set(ids)) != len(ids):
        raise ValueError(f"{path} names an identity twice")
    return sorted(int(part) for part in ids)


def read_labels(path: Path) -> list[tuple[str, int]]:
    """(path below the root, label) of a list file with lines `PATH LABEL`, in the file's order.

    Raises FileNotFoundError, or ValueError naming the line.
    """
    result: list[tuple[str, int]] = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        name, _, label = line.strip().rpartition(" ")
        name = name.strip().replace("\\", "/")
        if not name or not (label.isascii() and label.isdecimal()):
            raise ValueError(f"{path}, line {number}: expected a path, a space and a label, not {line!r}")
        if name.startswith("/") or ".." in name.split("/"):
            raise ValueError(f"{path}, line {number}: {name} leads out of the data set's folder")
        result.append(("/".join(part for part in name.split("/") if part not in ("", ".")), int(label)))
    if not result:
        raise ValueError(f"{path} is empty")
    if len({name for name, _ in result}) != len(result):
        raise ValueError(f"{path} names an image twice")
    return result


def check_labels(lists: Mapping[Path, Sequence[tuple[str, int]]], identity_of: Callable[[str], int]) -> None:
    """Raises ValueError unless the lists' labels are 0, 1, 2, ... without a gap, each another name of one identity.

    lists  {list file: its `read_labels`}: the lists that belong together, one per modality
    """
    identities: dict[int, int] = {}
    for source, listed in lists.items():
        labels = {label for _, label in listed}
        gaps = sorted(set(range(max(labels) + 1)) - labels)
        if gaps:
            shown = ", ".join(map(str, gaps[:5])) + (", ..." if len(gaps) > 5 else "")
            raise ValueError(
                f"{source}: labels must run from 0 to {max(labels)} without a gap, but {shown} is missing; "
                "the list is incomplete or was made for something else"
            )
        for path, label in listed:
            identity = identity_of(path)
            if identities.setdefault(label, identity) != identity:
                raise ValueError(
                    f"{source}: label {label} is identity {identity} in {path}, but identity "
                    f"{identities[label]} elsewhere"
                )
    if len(set(identities.values())) != len(identities):
        raise ValueError(f"{' and '.join(map(str, lists))} give one identity two labels")


def identity_folder(path: str) -> int:
    """117 of `Visible/117/NAME.bmp`. Raises ValueError where the folder's name is no number."""
    folder = PurePosixPath(path).parent.name
    if not folder.isdecimal():
        raise ValueError(f"{path} is not in a folder that an identity number names, such as 0117")
    return int(folder)
