"""A lock on a run folder, so that only one training at a time writes there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mtrl.files.atomic import make_folder
from mtrl.files.lock import only_one


@contextmanager
def run_lock(folder: Path, new: bool) -> Iterator[None]:
    """Context manager: locks a run folder. The lock ends with the process at the latest, even if it is killed.

    new  True makes the folder if it is missing
    Raises BlockingIOError if another training holds the lock, and OSError if the folder cannot be made.
    """
    if new:
        make_folder(folder)
    if not folder.is_dir():  # the error comes later, when the state is read
        yield
        return
    refusal = f"another training is running in {folder}; wait for its end, or choose another --output"
    with only_one(folder, refusal=refusal):
        yield
