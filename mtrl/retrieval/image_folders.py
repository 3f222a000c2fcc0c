"""Records in a gallery index which folders its images lie in, signed with a key of this machine's user."""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import secrets
import warnings
from pathlib import Path

from mtrl.console.os_errors import readable
from mtrl.data.array_cache import cache_root
from mtrl.files.atomic import write_atomically
from mtrl.files.untrusted import parse_json, read_limited

SOURCES = "sources.json"


def remember_source(index: Path, folder: Path, anew: bool = False) -> None:
    """Adds `folder` to the image folders that an index records, so that the demo page can show its images.

    anew  whether the index was written anew: the folders of the one before are forgotten

    The record is signed for this machine's user, so that an index from elsewhere cannot make the page show files of
    this machine. If the key cannot be stored, nothing is recorded, and a warning says so. Raises ValueError if the
    index holds a damaged record.
    """
    if anew:
        (index / SOURCES).unlink(missing_ok=True)
    folders = list(dict.fromkeys([str(folder.resolve()), *image_folders(index)]))
    try:
        note = {"folders": folders, "seal": _seal(folders)}
    except (OSError, ValueError) as error:
        warnings.warn(
            f"the page will not show the images of {index}: {readable(error)}; set MTRL_CACHE", stacklevel=2
        )
        return
    write_atomically(index / SOURCES, json.dumps(note).encode())


def image_folders(index: Path) -> list[str]:
    """The folders that `remember_source` recorded.

    Empty if there is no record, if its signature is not by this user's key (another user or machine, or a changed
    record), or if the key cannot be read. Raises ValueError for a record that is not readable JSON.
    """
    path = index / SOURCES
    if not path.is_file():
        return []
    try:
        note = parse_json(read_limited(path))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}; build the index again") from error
    folders, seal = (note.get("folders"), note.get("seal")) if isinstance(note, dict) else (None, None)
    if not isinstance(folders, list) or not all(isinstance(folder, str) for folder in folders):
        return []
    try:
        return folders if isinstance(seal, str) and hmac.compare_digest(seal, _seal(folders)) else []
    except (OSError, TypeError, ValueError):
        return []


def _seal(folders: list[str]) -> str:
    """The signature (HMAC-SHA256) of the folders. The user's key is made at the first call, in the cache folder.

    Raises OSError if the key cannot be written or is damaged.
    """
    path = cache_root(None) / "index.key"
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(32))
    key = path.read_bytes()
    if len(key) != 32:
        raise OSError(f"{path} is damaged; delete it, and index the images again")
    return hmac.new(key, json.dumps(folders).encode(), "sha256").hexdigest()
