"""Files that visitors sent: deleted when the visit ends."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path


class Uploads:
    """Which visit holds which files. Files have their content's name, so two visits may hold the same one."""

    def __init__(self) -> None:
        self._visits: dict[str, set[Path]] = {}
        self._guard = threading.Lock()

    def add(self, visit: str | None, path: str) -> None:
        """Notes that a visit holds a file. Without the visit's name the file is left to the page's clock."""
        if visit:
            with self._guard:
                self._visits.setdefault(visit, set()).add(Path(path))

    def close(self, visit: str | None) -> None:
        """Deletes the files of a visit that nobody else holds."""
        with self._guard:
            mine = self._visits.pop(visit or "", set())
            for path in mine - set().union(*self._visits.values()):
                with contextlib.suppress(OSError):
                    path.unlink()


UPLOADS = Uploads()
