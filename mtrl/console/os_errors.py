"""Errors of the operating system as one line with advice; ending a command whose output pipe was closed."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sys
from typing import TextIO

from mtrl.files.atomic import CLOSED, FULL

READER_LEFT = 141  # what a shell shows for other programs that such a pipe ends: 128 + SIGPIPE

_ADVICE = {
    **dict.fromkeys(FULL, "free some space, or choose another folder"),
    **dict.fromkeys(CLOSED, "change its permissions, or choose another place"),
    errno.ENOENT: "check the name, and that its folder exists",
    errno.ENOTDIR: "a part of this path is a file: choose another place",
    errno.EISDIR: "give a file, not a folder",
    errno.EEXIST: "choose another name",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.EIO: "check the disk",
    errno.EADDRINUSE: "another program has this port: choose another one with --port",
}


def readable(error: BaseException) -> str:
    """The message of an error; of the system's own, without its number but with the file and what to do."""
    if not isinstance(error, OSError) or not error.errno or not error.strerror:
        return str(error) or type(error).__name__
    if "temporary directory" in error.strerror:
        return "no folder for temporary files can be written: set TMPDIR to one that can"
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    advice = _ADVICE.get(error.errno)
    return ": ".join([*names, error.strerror]) + (f"; {advice}" if advice else "")


def reader_left(error: BaseException) -> bool:
    """Whether an error comes from writing to standard output or error after the reader, such as `| head`, has ended."""
    if not isinstance(error, OSError) or error.errno not in (errno.EPIPE, errno.EINVAL):
        return False
    return any(_is_cut(stream) for stream in (sys.stdout, sys.stderr))


def drop_output() -> None:
    """Discards output that cannot be written, so that Python does not report it again when it exits."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):  # a stream without a file, a closed one
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)


def _is_cut(stream: TextIO | None) -> bool:
    """Whether the reader of this stream's pipe has ended."""
    if stream is None:
        return False
    with contextlib.suppress(OSError, ValueError):  # a stream without a file, a closed one
        number = stream.fileno()
        if hasattr(select, "poll"):
            poll = select.poll()
            poll.register(number, 0)
            return any(event & (select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0))
        try:  # Windows: what was not written is tried again
            stream.flush()
        except OSError:
            return True
    return False
