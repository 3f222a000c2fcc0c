"""What may be said to Milvus: filters, and texts that can stand in one."""

from __future__ import annotations

from mtrl.retrieval.gallery import Gallery
from mtrl.retrieval.where import Where

MAX_TEXT = 1024


def expression(where: Where) -> str:
    """A Milvus filter. Its literals are numbers, and texts escaped by `_quoted`; nothing else of a value gets in."""
    parts = []
    for field, texts in (("name", where.names), ("identity", where.identities)):
        if texts:
            parts.append(f"{field} in [{', '.join(map(_quoted, texts))}]")
    if where.cameras:
        parts.append(f"camera in [{', '.join(str(int(camera)) for camera in where.cameras)}]")
    if where.after is not None:
        parts.append(f"time >= {_number(where.after)}")
    if where.before is not None:
        parts.append(f"time < {_number(where.before)}")
    return " and ".join(parts)


def _number(value: float) -> str:
    return f"{float(value):.6f}"  # microseconds; exponents are left out, which not every parser knows


def _quoted(text: str) -> str:
    _check_text(text)
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _check_text(text: str) -> None:
    if len(text.encode("utf-8", "replace")) > MAX_TEXT or not text.isprintable():
        raise ValueError(
            f"names and identities in Milvus have at most {MAX_TEXT} bytes and no control characters: {text[:60]!r}"
        )


def check_texts(entries: Gallery) -> None:
    """Raises ValueError for a name or identity that is too long, or that no filter could name."""
    for text in entries.names:
        _check_text(text)
    for identity in entries.identities or ():
        _check_text(str(identity))
