"""Checks whether a run can be started or resumed in a folder, and which settings differ from those stored there."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mtrl.console.cli import read_settings
from mtrl.console.settings_file import read_entries
from train.presets import listed
from train.run.settings import RunSettings


def check_folder(settings: RunSettings) -> list[tuple[str, Any, Any]]:
    """Checks a run's folder. Returns (name, value before, value now) of each setting that a resumed run changes.

    Raises ValueError if a new run's folder holds a run already, or if a resumed run changes a setting that may not
    change. Raises FileNotFoundError if there is nothing to resume.
    """
    folder = Path(settings.run_folder)
    state = folder / "last" / "state.safetensors"
    if not settings.resume:
        if state.exists():
            raise ValueError(
                f"{folder} already holds a run: add --resume to continue it, or choose another --output"
            )
        return []
    if not state.is_file():
        raise FileNotFoundError(f"nothing to resume: {state} does not exist; start the run without --resume")
    path = folder / "settings.yaml"
    changes = differences(settings, path)
    for name, before, now in changes:
        if name not in settings.tunable:
            raise ValueError(
                f"{folder} belongs to a run with {name} {before}, not {now}: give the settings of that run "
                f"(--config {path}), or start another one in another folder"
            )
    return changes


def differences(
    settings: RunSettings, path: Path, free: frozenset[str] | None = None
) -> list[tuple[str, Any, Any]]:
    """(name, value in the file, value now) of each setting that differs from the settings file at `path`.

    free  names of settings that are not compared; None: `settings.free`
    A pooling of "auto" equals any: the file holds the one that was chosen. What the file does not name was not known to
    the version that wrote it, and so switched off, where it can be.
    """
    if not path.is_file():
        return []
    free = settings.free if free is None else free
    there, written = read_settings(type(settings), path), read_entries(path)
    names = [field.name for field in dataclasses.fields(settings)]
    compared = [n for n in names if n not in free and (n in written or not getattr(there, n))]
    pairs = [(n, getattr(there, n), getattr(settings, n)) for n in compared]
    return [pair for pair in pairs if pair[1] != pair[2] and (pair[0], pair[2]) != ("pooling", "auto")]


def in_words(changes: Sequence[tuple[str, Any, Any]]) -> str:
    """What a resumed run changes, as `epochs 4 instead of epochs 5`."""
    before, now = (listed((name, pair[side]) for name, *pair in changes) for side in (0, 1))
    return f"{now} instead of {before}"
