"""The image folders of an index, recorded beside it and signed with a key of this machine's user."""

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


def remember_source(index: Path, folder: Path) -> None:
    """Records in an index that images of it lie in `folder`, so that the page can show them.

    The record is signed by this machine's user: an index from elsewhere cannot point at files here. Where the
    key cannot be kept, the page will not show the images; a warning says so.
    """
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
    """The folders recorded by `remember_source` on this machine; none where the signature is another user's."""
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
    """A keyed digest of the folders. The key is made once, for this user, and never leaves the cache folder."""
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
