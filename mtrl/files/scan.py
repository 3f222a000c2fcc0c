"""Finds the images in a folder and its subfolders. All commands, data sets and the page use this rule.

An image is a file with the ending of a format that can be read, in capital or small letters. Hidden files and folders,
those of `SYSTEM_FOLDERS`, and special files such as pipes are skipped. Links are followed, unless they lead back into a
folder that they lie in. No file is opened. So an empty or damaged image, or a broken link with the ending of an image,
is listed too, and the error names it when it is read.
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

# Endings of images that cannot be read here. Users are told when such files are skipped.
# fmt: off
OTHER_IMAGES = frozenset((
    ".heic", ".heif", ".hif", ".avif", ".jxl", ".jxr", ".jp2", ".j2k", ".jpx", ".svg", ".eps", ".psd", ".tga", ".ico",
    ".icns", ".exr", ".hdr", ".dds", ".pcx", ".raw", ".dng", ".nef", ".cr2", ".cr3", ".arw", ".orf", ".rw2", ".raf",
))
# fmt: on
# Folders in which systems and file servers keep copies or previews of files.
SYSTEM_FOLDERS = {
    "__MACOSX": "left by macOS",
    "@eaDir": "previews of a file server",
    "#recycle": "a file server's bin",
    "$RECYCLE.BIN": "left by Windows",
    "System Volume Information": "left by Windows",
    "lost+found": "left by a repair of the disk",
}
# How often one folder is read at most, through links. Even without a cycle, links can make a small tree huge: with 30
# folders that each have two links to the next one, there are 2^30 paths.
_MOST_READS = 100


@dataclasses.dataclass(frozen=True)
class PassedOver:
    """A file or folder that was skipped.

    path    relative to the root, with forward slashes
    reason  why it was skipped, in words
    image   whether it looks like an image or may hold images, so that the user may miss it
    """

    path: str
    reason: str
    image: bool = False


@dataclasses.dataclass(frozen=True)
class Scan:
    """The images found in a folder, and what was skipped.

    images       paths relative to the root, with forward slashes, sorted by name
    passed_over  all other files and folders
    errors       messages about folders that cannot be read
    """

    images: list[str] = dataclasses.field(default_factory=list)
    passed_over: list[PassedOver] = dataclasses.field(default_factory=list)
    errors: list[str] = dataclasses.field(default_factory=list)


class _Folder(NamedTuple):
    """A folder with the folders above it. `key` is (device, inode): the same for every path to the folder."""

    key: tuple[int, int]
    above: _Folder | None


def scan(
    root: Path, below: str = "", enter: Callable[[str], str] | None = None, inside: bool = False
) -> Scan:
    """Lists the images in ROOT/BELOW and all its subfolders. A missing folder counts as empty.

    enter   function from a folder's path relative to the root to the reason for skipping it, or "" to read it
    inside  True skips links that lead out of the root
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
    """Describes what was skipped: one line per reason, with the first few names. Images come first."""
    by_reason: dict[str, list[str]] = {}
    for item in sorted(passed_over, key=lambda item: not item.image):
        by_reason.setdefault(item.reason, []).append(item.path)
    return [f"{len(paths)} passed over ({why}): {some_of(paths)}" for why, paths in by_reason.items()]


def why_unreadable(error: Exception, name: str) -> str:
    """The message of an image's error without the image's name in front, so that equal faults can be grouped."""
    return str(error).removeprefix(as_text(name)).strip(" :") or type(error).__name__


def _reason(path: str, kind: str) -> tuple[str, bool]:
    """(reason for skipping a file or folder, "" for none; whether it looks like an image)."""
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
    """The folders that `folder` lies in, up to the root of the disk, since a link to one of them makes a cycle too."""
    above: _Folder | None = None
    for parent in reversed(Path(os.path.realpath(folder)).parents):
        with contextlib.suppress(OSError):
            info = parent.stat()
            above = _Folder((info.st_dev, info.st_ino), above)
    return above


def _identify(folder: Path, above: _Folder | None, reads: Counter[tuple[int, int]]) -> tuple[_Folder, str]:
    """(the folder, reason for skipping it or ""). It is skipped if links make a cycle or lead to it too often.

    Counts the visit in `reads`.
    """
    info = folder.stat()
    here = _Folder((info.st_dev, info.st_ino), above)
    while above is not None:
        if above.key == here.key:
            return here, "a link to a folder that it lies in"
        above = above.above
    reads[here.key] += 1
    return here, f"read {_MOST_READS} times already, through links" if reads[here.key] > _MOST_READS else ""


def _entries(folder: Path) -> list[tuple[str, str]]:
    """A folder's entries sorted by name: (name, "folder" | "file" | "special" | "broken link"). Links are followed."""
    with os.scandir(folder) as entries:
        return sorted((entry.name, _kind(entry)) for entry in entries)


def _kind(entry: os.DirEntry[str]) -> str:
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
        return "broken link" if entry.is_symlink() and not os.path.exists(entry.path) else "special"  # noqa: PTH110
    except OSError:  # a link to itself, or into a folder without access
        return "broken link"


def _lies_in(home: str, path: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(home)
