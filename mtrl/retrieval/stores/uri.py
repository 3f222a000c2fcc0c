"""URIs of database servers: told from folders, and printed without passwords and tokens."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mtrl.files.filenames import as_text

TOKEN = "MILVUS_TOKEN"


def is_uri(target: str | Path) -> bool:
    """Is this the http(s) URI of a server, not a folder?"""
    return str(target).startswith(("http://", "https://"))


def shown(target: str | Path) -> str:
    """The target as it may be printed: a URI without user, password and parameters."""
    if not is_uri(target):
        return as_text(target)
    hidden = re.sub(r"//.*@", "//***@", str(target), flags=re.DOTALL)
    return re.sub(r"[?#].*", "?***", hidden, flags=re.DOTALL)


def redacted(text: str, target: str | Path) -> str:
    """A message about the target without the password in its URI, and without the token."""
    text = text.replace(str(target), shown(target))
    login = re.search(r"//(.*)@", str(target), flags=re.DOTALL) if is_uri(target) else None
    password = login[1].partition(":")[2] if login else ""
    for secret in (login[1] if login else "", password, os.environ.get(TOKEN, "")):
        text = text.replace(secret, "***") if secret else text
    return text
