"""URIs of database servers: tells them from folders, and removes passwords and tokens before they are printed."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mtrl.files.filenames import as_text

TOKEN = "MILVUS_TOKEN"


def is_uri(target: str | Path) -> bool:
    """Whether this is the http(s) URI of a server, not a folder."""
    return str(target).startswith(("http://", "https://"))


def shown(target: str | Path) -> str:
    """The target as text that is safe to print: a URI without user, password and parameters, or the folder."""
    if not is_uri(target):
        return as_text(target)
    hidden = re.sub(r"//.*@", "//***@", str(target), flags=re.DOTALL)
    return re.sub(r"[?#].*", "?***", hidden, flags=re.DOTALL)


def redacted(text: str, target: str | Path) -> str:
    """A message about the target, without the password in the target's URI and without the token."""
    text = text.replace(str(target), shown(target))
    login = re.search(r"//(.*)@", str(target), flags=re.DOTALL) if is_uri(target) else None
    password = login[1].partition(":")[2] if login else ""
    for secret in (login[1] if login else "", password, os.environ.get(TOKEN, "")):
        text = text.replace(secret, "***") if secret else text
    return text
