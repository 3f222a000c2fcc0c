"""Reads small text files that other programs wrote: UTF-8 or UTF-16, with or without a byte-order mark."""

from __future__ import annotations

import codecs
from pathlib import Path

_MARKS = (  # longer marks first, since UTF-32's begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: Path) -> str:
    """The text of a file, without its byte-order mark. Line ends are unchanged.

    Raises ValueError that names file and line for a file that is neither UTF-8 nor UTF-16 with a byte-order mark, and
    OSError for a file that cannot be read.
    """
    if path.exists() and not path.is_file():  # reading a pipe could block
        raise OSError(f"{path} is no ordinary file")
    content = path.read_bytes()
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8-sig")
    if encoding == "utf-8-sig" and b"\0" in content:  # UTF-16 without a mark, or no text
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise ValueError(f"{path}, line {line}: holds zero bytes; save it as a text file in UTF-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}, line {line}: not a text file in UTF-8 ({error.reason}); save it with the encoding UTF-8"
        ) from error
