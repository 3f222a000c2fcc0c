"""Tells whether a file has changed since it was read, without reading it again."""

from __future__ import annotations

from pathlib import Path


def file_state(path: Path) -> tuple[int, ...]:
    """Numbers that change when a file is written, replaced, or its time set back; () where there is none.

    Inode, size and the times of the last change of content and of the file's entry: the last one cannot be set. For the
    memory of one process. What is kept on disk must be found by content: copies and drives number and date files anew.
    """
    try:
        state = path.stat()
    except OSError:
        return ()
    return state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns
