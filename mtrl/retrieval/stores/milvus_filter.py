"""Builds and escapes Milvus filter expressions."""

from __future__ import annotations

from mtrl.labels.names import canonical
from mtrl.retrieval.filters import Filter

# What would end or change a literal. All other characters, spaces and controls too, stand for themselves.
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r"})


def expression(where: Filter) -> str:
    """A Milvus filter. Its literals are numbers, and texts escaped by `_quoted`; nothing else of a value gets in."""
    parts = []
    for field, texts in (("name", where.names), ("identity", where.identities)):
        if texts:
            # Rows hold the compared form; those of collections of older versions the form that was given.
            forms = dict.fromkeys(form for text in texts for form in (canonical(text), text))
            parts.append(f"{field} in [{', '.join(map(_quoted, forms))}]")
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


def _number(value: float) -> str:
    return f"{float(value):.6f}"  # microseconds; exponents are left out, which not every parser knows


def _quoted(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"Milvus compares Unicode text only, which {text!r} is not") from None
    escaped = text.translate(_ESCAPES)
    return f'"{escaped}"'
