"""Addresses of database servers, and how they are printed: without what may be a secret."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mtrl.files.filenames import as_text

TOKEN = "MILVUS_TOKEN"


def is_address(target: str | Path) -> bool:
    """Is this the address of a server, not a folder?"""
    return str(target).startswith(("http://", "https://"))


def shown(target: str | Path) -> str:
    """The target as it may be printed: an address without user, password and parameters."""
    if not is_address(target):
        return as_text(target)
    bare = re.sub(r"//.*@", "//***@", str(target), flags=re.DOTALL)
    return re.sub(r"[?#].*", "?***", bare, flags=re.DOTALL)


def redacted(text: str, target: str | Path) -> str:
    """A message about the target without the password in its address, and without the token."""
    text = text.replace(str(target), shown(target))
    login = re.search(r"//(.*)@", str(target), flags=re.DOTALL) if is_address(target) else None
    password = login[1].partition(":")[2] if login else ""
    for secret in (login[1] if login else "", password, os.environ.get(TOKEN, "")):
        text = text.replace(secret, "***") if secret else text
    return text
