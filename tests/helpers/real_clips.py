"""The real clips beside the repository, where they lie, and their boxes as MOTChallenge files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.paths import SHARED

REAL = SHARED / "real" / "m3svd"
needs_real_clips = pytest.mark.skipif(
    not (REAL / "boxes.json").is_file(), reason="the real clips are not here"
)


def write_boxes(folder: Path, share: tuple[float, float] = (0.0, 1.0)) -> dict[str, Path]:
    """Writes CLIP.txt for every clip that has boxes -> {clip: file}. A person has one number in all clips.

    share  of each person's frames, in the order of time: (0, 0.4) are the first 40 %
    """
    walks: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for entry in json.loads((REAL / "boxes.json").read_text())["boxes"]:
        walks.setdefault((entry["seq"], entry["id"]), []).append(entry)
    lines: dict[str, list[tuple[int, str]]] = {}
    for (clip, person), entries in walks.items():
        entries.sort(key=lambda entry: int(entry["frame"]))
        part = int(len(entries) * (share[1] - share[0]) + 1e-9)
        for entry in entries[:part] if share[0] == 0 else entries[len(entries) - part :]:
            left, top, right, bottom = entry["box"]
            text = f"{entry['frame'] + 1},{person + 1},{left},{top},{right - left},{bottom - top},1,-1,-1,-1"
            lines.setdefault(clip, []).append((entry["frame"], text))
    files = {}
    for clip, rows in sorted(lines.items()):
        files[clip] = folder / f"{clip}.txt"
        files[clip].write_text("\n".join(text for _, text in sorted(rows)) + "\n")
    return files
