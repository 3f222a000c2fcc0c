"""Builds and escapes Milvus filter expressions."""

from __future__ import annotations

from collections.abc import Sequence
from unicodedata import normalize

from mtrl.labels.names import canonical
from mtrl.retrieval.filters import Filter

# Characters that would end or change a literal. All others, also spaces and control characters, need no escape.
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r"})


def expression(where: Filter) -> str:
    """The Milvus expression of a filter. Values enter it only as numbers, or as text escaped by `_quoted`."""
    parts = []
    for field, texts in (("name", where.names), ("identity", where.identities)):
        if texts:
            parts.append(any_of(field, texts))
    if where.cameras:
        parts.append(f"camera in [{', '.join(str(int(camera)) for camera in where.cameras)}]")
    if where.after is not None:
        parts.append(f"time >= {_number(where.after)}")
    if where.before is not None:
        parts.append(f"time < {_number(where.before)}")
    if where.modalities:
        parts.append(f"modality in [{', '.join(_quoted(value.name.lower()) for value in where.modalities)}]")
    if where.only:
        parts.append(f"pooled == {'true' if where.only == 'tracks' else 'false'}")
    return " and ".join(parts)


def any_of(field: str, texts: Sequence[str]) -> str:
    """Says that a field is one of these texts: in the NFC form, which rows hold, or as given or decomposed (NFD), as
    rows of older versions may hold it.
    """
    forms = dict.fromkeys(form for text in texts for form in (canonical(text), text, normalize("NFD", text)))
    return f"{field} in [{', '.join(map(_quoted, forms))}]"


def _number(value: float) -> str:
    return f"{float(value):.6f}"  # to microseconds, without an exponent, which some parsers do not know


def _quoted(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"Milvus compares Unicode text only, which {text!r} is not") from None
    escaped = text.translate(_ESCAPES)
    return f'"{escaped}"'
