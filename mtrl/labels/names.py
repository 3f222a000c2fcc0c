"""Rules for names and numbers of people, cameras and images: which are equal, which are valid, how to print them.

Names are shown as they were given, but compared in the form of `canonical`. So an accented letter is the same whether
it is stored as two characters, as macOS does in file names, or as one.
"""

from __future__ import annotations

import unicodedata

MAX_INTEGER = 2**63 - 1  # labels are int64 in arrays, in files and in databases


def canonical(name: str) -> str:
    """The form in which names are compared (Unicode NFC), equal for composed and decomposed accents."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def whole_number(text: str) -> int | None:
    """The number in a text that has only the digits 0 to 9; leading zeros are allowed.

    None for any other text (signs, superscripts, digits of other scripts) and for a number beyond 64 bits.
    """
    if not (text.isascii() and text.isdecimal()) or len(text.lstrip("0")) > len(str(MAX_INTEGER)):
        return None
    number = int(text.lstrip("0") or "0")
    return number if number <= MAX_INTEGER else None


def check_integer(value: int, what: str) -> int:
    """Returns `value`. Raises ValueError if it does not fit into 64 bits with a sign. `what` names it in the error."""
    if not -MAX_INTEGER - 1 <= value <= MAX_INTEGER:
        raise ValueError(f"{what} must fit into 64 bits (at most {MAX_INTEGER}), not {short(value)}")
    return value


def short(value: object) -> str:
    """A value as text for a message, shortened if it is long."""
    if isinstance(value, int) and value.bit_length() > 200:
        return f"a number of {value.bit_length()} bits"
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def printable(text: str) -> str:
    """A name that is safe to print on a terminal: control characters are written as escapes, such as \\x1b."""
    return "".join(map(_spelt, text))


def _spelt(sign: str) -> str:
    plain = sign.isprintable() or unicodedata.category(sign) == "Zs"
    return sign if plain else sign.encode("unicode_escape").decode("ascii")
