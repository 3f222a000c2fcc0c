"""Tells whether a file has changed since it was read, without reading it again."""

from __future__ import annotations

from pathlib import Path


def file_state(path: Path) -> tuple[int, ...]:
    """Numbers that change when a file is written or replaced, even if its time is set back; () if there is no file.

    They are inode, size, and the times of the last change of content and of metadata; programs cannot set the last one.
    Use them only within a process. Do not store them: a copy of the file, or a drive that is mounted again, has other
    numbers.
    """
    try:
        state = path.stat()
    except OSError:
        return ()
    return state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns
