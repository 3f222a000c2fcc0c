"""A lock on a run folder, so that one training at a time writes there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mtrl.files.atomic import make_folder
from mtrl.files.lock import only_one


@contextmanager
def run_lock(folder: Path, new: bool) -> Iterator[None]:
    """Locks a run folder, which a `new` run makes first. The lock ends with the process, however it ends.

    Raises BlockingIOError while another training holds it, OSError for a folder that cannot be made.
    """
    if new:
        make_folder(folder)
    if not folder.is_dir():  # reading its state says what is missing
        yield
        return
    refusal = f"another training is running in {folder}; wait for its end, or choose another --output"
    with only_one(folder, refusal=refusal):
        yield
