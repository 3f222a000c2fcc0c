"""Finds the images of a folder and its subfolders: one rule for all commands, data sets and the page.

An image is a file whose ending is that of a format that the reader decodes, in capital or small letters. Hidden files
and folders and those of `SYSTEM_FOLDERS` are passed over, and so is what is no file. Links are followed, but not back
into a folder that they lie in. Nothing is opened: an image that is empty or damaged, or a link to nowhere with the
ending of an image, is listed, so that reading it names it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from mtrl.files.filenames import as_text, some_of
from mtrl.files.image_limits import image_suffixes

# Endings of images that the reader does not decode: whoever has them should know.
# fmt: off
OTHER_IMAGES = frozenset((
    ".heic", ".heif", ".hif", ".avif", ".jxl", ".jxr", ".jp2", ".j2k", ".jpx", ".svg", ".eps", ".psd", ".tga", ".ico",
    ".icns", ".exr", ".hdr", ".dds", ".pcx", ".raw", ".dng", ".nef", ".cr2", ".cr3", ".arw", ".orf", ".rw2", ".raf",
))
# fmt: on
# Folders that systems and file servers leave beside people's files, with copies or small previews of them.
SYSTEM_FOLDERS = {
    "__MACOSX": "left by macOS",
    "@eaDir": "previews of a file server",
    "#recycle": "a file server's bin",
    "$RECYCLE.BIN": "left by Windows",
    "System Volume Information": "left by Windows",
    "lost+found": "left by a repair of the disk",
}
# Links can make a small tree endless without a cycle: 30 folders, each with two links to the next.
_MOST_READS = 100


@dataclasses.dataclass(frozen=True)
class PassedOver:
    """A file or folder that is not read.

    path    below the root, with forward slashes
    reason  why, in words
    image   whether it seems to be an image, or may hold some: somebody may miss it
    """

    path: str
    reason: str
    image: bool = False


@dataclasses.dataclass(frozen=True)
class Scan:
    """The images found in a folder, and what was not read.

    images       paths below the root, with forward slashes, in the order of their names
    passed_over  everything else
    errors       folders that cannot be read, in words
    """

    images: list[str] = dataclasses.field(default_factory=list)
    passed_over: list[PassedOver] = dataclasses.field(default_factory=list)
    errors: list[str] = dataclasses.field(default_factory=list)


class _Folder(NamedTuple):
    """A folder on the way from the root; `key` is the same for every path that leads to it."""

    key: tuple[int, int]
    above: _Folder | None


def scan(
    root: Path, below: str = "", enter: Callable[[str], str] | None = None, inside: bool = False
) -> Scan:
    """The images in ROOT/BELOW and in all folders in it. A folder that is not there is an empty one.

    enter   asked for every folder, by its path below the root: why it is passed over, "" to read it
    inside  whether links that lead out of the root are passed over
    """
    found = Scan()
    reads: Counter[tuple[int, int]] = Counter()
    home = os.path.realpath(root) if inside else ""
    pending: list[tuple[str, str, _Folder | None]] = [(below, "folder", _above(root / below))]
    while pending:
        path, kind, above = pending.pop()
        reason, image = _reason(path, kind) if path != below else ("", False)
        if home and not reason and not _lies_in(home, root / path):
            reason, image = "a link that leads out of the folder", True
        if not reason and kind == "folder":
            try:
                here, reason = _identify(root / path, above, reads)
                reason, image = reason or (enter(path) if enter and path != below else ""), True
                entries = [] if reason else _entries(root / path)
            except FileNotFoundError:
                continue
            except OSError as error:
                found.errors.append(f"{as_text(root / path)} cannot be read: {error.strerror}")
                continue
            prefix = f"{path}/" if path else ""
            pending += [(prefix + name, kind, here) for name, kind in reversed(entries)]
        elif not reason:
            found.images.append(path)
        if reason:
            found.passed_over.append(PassedOver(path, reason, image))
    return found


def report(passed_over: Iterable[PassedOver]) -> list[str]:
    """What was passed over, by name: a line for each reason, the first few names of each. Images come first."""
    by_reason: dict[str, list[str]] = {}
    for item in sorted(passed_over, key=lambda item: not item.image):
        by_reason.setdefault(item.reason, []).append(item.path)
    return [f"{len(paths)} passed over ({why}): {some_of(paths)}" for why, paths in by_reason.items()]


def why_unreadable(error: Exception, name: str) -> str:
    """What is wrong with an image, without its name in front, so that images with the same fault make one line."""
    return str(error).removeprefix(as_text(name)).strip(" :") or type(error).__name__


def _reason(path: str, kind: str) -> tuple[str, bool]:
    """(why a file or folder is passed over, "" where it is not; whether it seems to be an image)."""
    name = path.rpartition("/")[2]
    suffix = PurePosixPath(name).suffix.lower()
    known = suffix in image_suffixes()
    if name.startswith("."):
        return "hidden", False
    if name in SYSTEM_FOLDERS:
        return SYSTEM_FOLDERS[name], False
    if kind == "folder" or (known and kind != "special"):
        return "", known
    if kind == "special":
        return "no ordinary file", known
    if kind == "broken link":
        return "a link to nowhere", suffix in OTHER_IMAGES
    if suffix in OTHER_IMAGES:
        return f"{suffix} is not decoded; save it as PNG or JPEG", True
    return "not an image", False


def _above(folder: Path) -> _Folder | None:
    """The folders that `folder` lies in, up to the root of the disk: a link to one of them is a circle too."""
    above: _Folder | None = None
    for parent in reversed(Path(os.path.realpath(folder)).parents):
        with contextlib.suppress(OSError):
            info = parent.stat()
            above = _Folder((info.st_dev, info.st_ino), above)
    return above


def _identify(folder: Path, above: _Folder | None, reads: Counter[tuple[int, int]]) -> tuple[_Folder, str]:
    """The folder, counted in `reads`, and why it is not read here: links lead to it in a circle, or too often."""
    info = folder.stat()
    here = _Folder((info.st_dev, info.st_ino), above)
    while above is not None:
        if above.key == here.key:
            return here, "a link to a folder that it lies in"
        above = above.above
    reads[here.key] += 1
    return here, f"read {_MOST_READS} times already, through links" if reads[here.key] > _MOST_READS else ""


def _entries(folder: Path) -> list[tuple[str, str]]:
    """(name, "folder" | "file" | "special" | "broken link") sorted by name; links count as what they lead to."""
    with os.scandir(folder) as entries:
        return sorted((entry.name, _kind(entry)) for entry in entries)


def _kind(entry: os.DirEntry[str]) -> str:
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
        return "broken link" if entry.is_symlink() and not os.path.exists(entry.path) else "special"  # noqa: PTH110
    except OSError:  # a link to itself, or into a folder that is closed to us
        return "broken link"


def _lies_in(home: str, path: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(home)
