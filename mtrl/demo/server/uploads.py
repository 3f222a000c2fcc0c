"""Uploaded files: a private folder, deleted when the session ends or after a time."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from mtrl.demo.server.request_origin import CURRENT
from mtrl.files.lock import take_lock

VARIABLE = "GRADIO_TEMP_DIR"  # where Gradio keeps files; read whenever a page is built or asked
_PREFIX = "mtrl-page-"
_TOKEN = re.compile(r"[0-9a-f]{64}")
_held: dict[Path, int | None] = {}  # this process's folders, and the locks on them


def private_folder() -> Path:
    """The folder for the files of this process's pages, which no other user of the machine can read.

    It is made inside GRADIO_TEMP_DIR, else the system's temporary folder, named to Gradio, and deleted when the
    process ends. What a process that was killed has left there is deleted by the next one.
    """
    named = Path(os.environ.get(VARIABLE) or tempfile.gettempdir())
    if named in _held:
        return named
    try:
        named.mkdir(parents=True, exist_ok=True)
        for old in named.glob(f"{_PREFIX}*"):
            _delete_abandoned(old)
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=named)).resolve()
    except OSError as error:
        raise OSError(
            f"the page cannot keep files in {named} ({error.strerror or error}): set {VARIABLE} to a folder that can "
            "be written"
        ) from error
    _held[folder] = take_lock(folder)
    os.environ[VARIABLE] = str(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _delete_abandoned(folder: Path) -> None:
    """Deletes a page's folder that no living process holds. Where nothing can be locked, it stays."""
    with contextlib.suppress(OSError):
        handle = take_lock(folder, follow_links=False)
        if handle is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(handle)


def place(folder: Path | str, name: str) -> Path:
    """A path for a file of that name in a folder of its own, whose name cannot be guessed.

    Whoever knows the path can read the file, so it is not made from the content, which others may have too.
    """
    own = Path(folder) / secrets.token_hex(32)
    own.mkdir(mode=0o700)
    return own / name


def is_ours(path: str, folder: Path) -> bool:
    """Whether that is a file that lies in `folder` as `place` and Gradio put files there; no link, no way around."""
    if not path.isprintable() or "\\" in path:
        return False
    file = Path(path)
    right = file.parent.parent == folder and _TOKEN.fullmatch(file.parent.name) and str(file) == path
    return (
        bool(right)
        and not file.name.startswith(".")
        and file.is_file()
        and Path(os.path.realpath(file)) == file
    )


class Uploads:
    """Which visit holds which files, and how much of the disk every visitor takes. Safe to call from several threads.

    most   bytes of all files together
    share  bytes of one visitor
    For a file that would pass one of them, older files go: the oldest of that visitor, or of the one who has most.
    """

    def __init__(self, most: int = 1 << 30, share: int = 1 << 28) -> None:
        self.most, self.share = most, share
        self._visits: dict[str, set[Path]] = {}
        self._files: dict[Path, _File] = {}  # in the order in which they came
        self._taken: Counter[str] = Counter()  # bytes of each visitor
        self._guard = threading.Lock()

    def keep(
        self, folder: Path | str, name: str, content: bytes, shown: bool = False, of: str | None = None
    ) -> Path:
        """Writes a file of the visit that is answered now. `shown`: the page itself has made it, to show it, as a copy
        of the upload `of` if there is one."""
        path = place(folder, name)
        try:
            path.write_bytes(content)
        except OSError:
            delete(path)
            raise
        self.came(path, len(content), CURRENT.get().visitor, shown, of)
        return path

    def came(self, path: Path, size: int, visitor: str, shown: bool = False, of: str | None = None) -> None:
        """Notes a new file of `size` bytes. Others make room for it."""
        with self._guard:
            self._files[path] = _File(visitor, size, shown, of)
            self._taken[visitor] += size
            while self._taken[visitor] > self.share and self._drop_oldest(visitor, path):
                pass
            while self._taken.total() > self.most:
                if not self._drop_oldest(self._taken.most_common(1)[0][0], path):
                    break

    def is_shown(self, path: str) -> bool:
        """Whether the page has made that file itself, or it is none of a visitor's."""
        with self._guard:
            file = self._files.get(Path(path))
            return file is None or file.shown

    def original(self, path: str) -> str:
        """The upload of which that file is the shown copy, while it is there; else the file itself."""
        with self._guard:
            file = self._files.get(Path(path))
            return file.of if file is not None and file.of and Path(file.of) in self._files else path

    def add(self, visit: str | None, path: str) -> None:
        """Notes that a visit holds a file. Without the visit's name it is left to the page's clock; a file that no
        visitor has sent, such as the example on the page, belongs to no visit."""
        with self._guard:
            if visit and Path(path) in self._files:
                self._visits.setdefault(visit, set()).add(Path(path))

    def close(self, visit: str | None) -> None:
        """Deletes the files of a visit that nobody else holds."""
        with self._guard:
            mine = self._visits.pop(visit or "", set())
            for path in mine - set().union(*self._visits.values()):
                self._drop(path)

    def forget_lost(self) -> None:
        """Drops the notes of files that are gone."""
        with self._guard:
            for path in [path for path in self._files if not path.exists()]:
                self._drop(path)
            for visit, paths in list(self._visits.items()):
                paths.intersection_update(self._files)
                if not paths:
                    del self._visits[visit]

    def _drop_oldest(self, visitor: str, spared: Path) -> bool:
        """Deletes the oldest file of a visitor but `spared`. False where there is none."""
        oldest = next(
            (path for path, file in self._files.items() if file.visitor == visitor and path != spared), None
        )
        if oldest is not None:
            self._drop(oldest)
        return oldest is not None

    def _drop(self, path: Path) -> None:
        delete(path)
        file = self._files.pop(path, None)
        if file is not None:
            self._taken[file.visitor] -= file.size
            if self._taken[file.visitor] <= 0:
                del self._taken[file.visitor]


@dataclasses.dataclass(frozen=True)
class _File:
    visitor: str
    size: int
    shown: bool
    of: str | None = None


def delete(path: Path) -> None:
    """Deletes a file and the folder that it was alone in."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
        path.parent.rmdir()


def sweep(folder: Path, age: float, keep: Collection[Path] = ()) -> tuple[set[Path], int]:
    """Deletes what is older than `age` seconds, but for `keep`. Returns the files that are left and their bytes."""
    now, left, size = time.time(), set(), 0
    for parent, _, names in os.walk(folder, topdown=False):  # goes on where others delete at the same time
        for path in (Path(parent, name) for name in names):
            with contextlib.suppress(OSError):
                state = path.lstat()
                if now - state.st_mtime > age and path not in keep:
                    delete(path)
                else:
                    left.add(path)
                    size += state.st_size
        with contextlib.suppress(OSError):
            if Path(parent) != folder and now - Path(parent).lstat().st_mtime > age:
                Path(parent).rmdir()  # only where it is empty
    return left, size


UPLOADS = Uploads()
