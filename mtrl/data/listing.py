"""Lists image files with their labels, for the loaders of all data sets. Decodes no image.

Labels are read from the names of folders and files and from list files, never from a fixed position in a path.
"""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from mtrl.files import text
from mtrl.files.filenames import as_text, expanded, some_of
from mtrl.files.scan import PassedOver, report, scan
from mtrl.labels.names import short, whole_number
from mtrl.models.config import Modality

BOTH, QUERY, GALLERY = 0, 1, 2


@dataclasses.dataclass(frozen=True)
class Sample:
    """One image file.

    path           relative to the root, with forward slashes
    identity       number of the identity
    camera         number of the camera
    subset         as in `ImageSet.subsets`
    identity_name  the identity's name in the data set; "": the name of the image's folder
    camera_name    the camera's name in the data set; "": it has none; None: its number is its name
    """

    path: str
    identity: int
    camera: int
    modality: Modality
    subset: int = BOTH
    identity_name: str = dataclasses.field(default="", compare=False)
    camera_name: str | None = dataclasses.field(default=None, compare=False)

    @property
    def shown_identity(self) -> str:
        """The identity's name for messages and figures, with leading zeros: "0117"."""
        return self.identity_name or PurePosixPath(self.path).parent.name


@dataclasses.dataclass(frozen=True)
class IdentityFolders:
    """The content of a folder that has one folder per identity.

    images  {identity: paths relative to the root, in file-name order}, identities ascending
    stray   everything else: files that are no image, images outside an identity folder, folders of other names
    errors  messages about folders that cannot be read, and about identity numbers that two folders share
    """

    images: dict[int, list[str]]
    stray: list[PassedOver]
    errors: list[str]


def in_order(samples: Iterable[Sample]) -> list[Sample]:
    """Samples sorted by identity, camera and path. Random draws of the gallery depend on this order."""
    return sorted(samples, key=lambda sample: (sample.identity, sample.camera, sample.path))


def scan_identities(root: Path, folder: str) -> IdentityFolders:
    """Lists the images of ROOT/FOLDER/<identity number>/. A missing folder counts as empty."""
    names: dict[int, str] = {}
    same: list[str] = []

    def enter(path: str) -> str:
        name = path.removeprefix(f"{folder}/")
        if "/" in name:
            return "a folder in the folder of an identity"
        number = whole_number(name)
        if number is None:
            return "its name is no identity number"
        if names.setdefault(number, name) != name:
            same.append(f"{path} and {folder}/{names[number]} are the same identity number")
            return "another folder has this identity number"
        return ""

    found = scan(root, folder, enter)
    images: dict[int, list[str]] = defaultdict(list)
    for path in list(found.images):
        name, _, rest = path.removeprefix(f"{folder}/").partition("/")
        if rest:
            images[int(name)].append(path)
        else:
            found.passed_over.append(PassedOver(path, "not in the folder of an identity", image=True))
    return IdentityFolders(dict(sorted(images.items())), found.passed_over, found.errors + same)


def images_of(root: Path, folder: str) -> dict[int, list[str]]:
    """The images of `scan_identities`, for loaders. Skips stray files; raises OSError if there are errors."""
    found = scan_identities(root, folder)
    if found.errors:
        raise OSError(some_of(found.errors))
    warn_of_images(root, found.stray)
    return found.images


def warn_of_images(root: Path, stray: Iterable[PassedOver]) -> None:
    """Warns of skipped files that look like images, by name. (`verify` names all skipped files.)"""
    lines = report(item for item in stray if item.image)
    if lines:
        warnings.warn(f"{as_text(root)}: {'; '.join(lines)}", stacklevel=2)


def open_root(root: str | Path | None, layout: Sequence[str], dataset: str) -> Path:
    """The root as a path, after checking that it holds every folder of `layout`.

    Raises ValueError if no root is given, and FileNotFoundError that says what is missing and where it was found
    instead.
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
    """A folder directly below `base` that has the layout, as unpacked archives often do; or the folder above it."""
    try:
        below = sorted(path for path in base.iterdir() if path.is_dir())
    except OSError:
        return None
    return next((path for path in (*below, base.parent) if all((path / n).is_dir() for n in layout)), None)


def read_text(path: Path) -> str:
    """The text of a small file, without a byte-order mark. Raises FileNotFoundError or ValueError that names it."""
    try:
        return text.read_text(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing; it is part of the data set's download") from None


def read_ids(path: Path) -> list[int]:
    """The identities in the first line of a comma-separated file, ascending.

    Further lines are ignored with a warning, since other code for these files ignores them. Raises FileNotFoundError,
    or ValueError for a line that is no list of numbers.
    """
    lines = [line.strip() for line in read_text(path).splitlines()]
    if len([line for line in lines if line]) > 1:
        warnings.warn(f"{path} has more than one line; only the first is read", stacklevel=2)
    parts = [part.strip() for part in (lines[0] if lines else "").split(",")]
    ids = [part for part in parts if part]
    numbers = [whole_number(part) for part in ids]
    known = [number for number in numbers if number is not None]
    if len(known) < len(ids) or not ids:
        wrong = short(ids[numbers.index(None)]) if ids else ""
        what = f"{wrong!r} is no identity number of at most 64 bits" if ids else "its first line is empty"
        raise ValueError(f"{path}: {what}; expected one line such as 6,10,17")
    if len(set(known)) != len(known):
        raise ValueError(f"{path} names an identity twice")
    return sorted(known)


def read_labels(path: Path) -> list[tuple[str, int]]:
    """Reads a list file with lines `PATH LABEL`: one (path relative to the root, label) per line, in order.

    Spaces or tabs separate the two. Raises FileNotFoundError, or ValueError that names the line.
    """
    result: list[tuple[str, int]] = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        name, label = (["", *line.rsplit(maxsplit=1)])[-2:]
        name, value = name.strip().replace("\\", "/"), whole_number(label)
        if not name or value is None:
            raise ValueError(
                f"{path}, line {number}: expected a path, a space and a label, not {short(line)!r}"
            )
        if name.startswith("/") or ".." in name.split("/"):
            raise ValueError(f"{path}, line {number}: {name} leads out of the data set's folder")
        result.append(("/".join(part for part in name.split("/") if part not in ("", ".")), value))
    if not result:
        raise ValueError(f"{path} is empty")
    if len({name for name, _ in result}) != len(result):
        raise ValueError(f"{path} names an image twice")
    return result


def check_labels(lists: Mapping[Path, Sequence[tuple[str, int]]], identity_of: Callable[[str], int]) -> None:
    """Raises ValueError unless the lists' labels are 0, 1, 2, ... without a gap, and each stands for one identity.

    lists        {list file: result of `read_labels`}, for lists that belong together, one per modality
    identity_of  path -> identity
    """
    identities: dict[int, int] = {}
    for source, listed in lists.items():
        labels = {label for _, label in listed}
        if max(labels) >= len(labels):
            missing = (label for label in range(max(labels)) if label not in labels)
            gaps = list(itertools.islice(missing, 6))  # only a few: labels, and so the gaps, may be huge
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
    """The identity of an image, which is its folder's name: 117 for `Visible/117/NAME.bmp`.

    Raises ValueError if that is no number.
    """
    folder = PurePosixPath(path).parent.name
    number = whole_number(folder)
    if number is None:
        raise ValueError(f"{path} is not in a folder that an identity number names, such as 0117")
    return number
