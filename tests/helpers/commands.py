"""Runs a command of `python -m mtrl` in this process."""

from __future__ import annotations

from mtrl.__main__ import main


def command(*argv: object) -> int:
    return main([str(word) for word in argv])
