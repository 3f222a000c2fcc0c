"""File names as text (bytes that are not UTF-8, control characters, long lists of names), and `~` in paths."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from mtrl.labels.names import printable

ALL_NAMES = "MTRL_ALL_NAMES"
SHOWN = 10
_SURROGATE = re.compile("[\ud800-\udfff]")  # Python's form of a byte that is not UTF-8: 0xE9 is U+DCE9
_SPELT_OUT = re.compile(r"\\x([89a-f][0-9a-f])")


def as_text(name: str | Path) -> str:
    r"""A file name as valid Unicode text, which JSON, CSV, HTML and databases can hold.

    A byte that is not UTF-8 is written as an escape, as in `caf\xe9.jpg`. All other names are unchanged.
    """
    return _SURROGATE.sub(_spell, str(name))


def file_named(folder: Path, text: str) -> Path:
    """The path of a file in `folder`, from the text that `as_text` made of its name."""
    path = folder / text
    if _SPELT_OUT.search(text) and not os.path.lexists(path):
        return folder / _SPELT_OUT.sub(lambda match: chr(0xDC00 + int(match[1], 16)), text)
    return path


def some_of(names: Sequence[str | Path], shown: int = SHOWN) -> str:
    """The first few names and the number of the others, in one line. MTRL_ALL_NAMES=1 in the environment shows all."""
    every = os.environ.get(ALL_NAMES) == "1" or len(names) <= shown
    listed = ", ".join(printable(as_text(name)) for name in (names if every else names[:shown]))
    return listed if every else f"{listed}, ... ({len(names)} in all; {ALL_NAMES}=1 shows them)"


def expanded(path: str | Path) -> Path:
    """A path in which a leading ~ is replaced by the home folder. Raises ValueError if the home folder is not known."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{path}: this user's home folder is not known; write the path out") from error


def without_home(text: str) -> str:
    """The text with ~ for this user's home folder wherever a path begins with it, as a public card should say it."""
    home = os.path.expanduser("~")  # noqa: PTH111 - no error where it is not known
    if home == "~" or Path(home) == Path(Path(home).anchor):
        return text
    return re.sub(rf"(?<![\w./\\-]){re.escape(home.rstrip('/'))}(?![\w.-])", "~", text)


def _spell(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"
