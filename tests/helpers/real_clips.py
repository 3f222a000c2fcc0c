"""The real clips beside the repository, where they lie, and their boxes as MOTChallenge files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.paths import SHARED

REAL = SHARED / "real" / "m3svd"
needs_real_clips = pytest.mark.skipif(
    not (REAL / "boxes.json").is_file(), reason="the real clips are not here"
)


def write_boxes(folder: Path) -> dict[str, Path]:
    """Writes CLIP.txt for every clip that has boxes -> {clip: file}. A person has one number in all clips."""
    lines: dict[str, list[tuple[int, str]]] = {}
    for entry in json.loads((REAL / "boxes.json").read_text())["boxes"]:
        left, top, right, bottom = entry["box"]
        text = f"{entry['frame'] + 1},{entry['id'] + 1},{left},{top},{right - left},{bottom - top},1,-1,-1,-1"
        lines.setdefault(entry["seq"], []).append((entry["frame"], text))
    files = {}
    for clip, rows in sorted(lines.items()):
        files[clip] = folder / f"{clip}.txt"
        files[clip].write_text("\n".join(text for _, text in sorted(rows)) + "\n")
    return files
