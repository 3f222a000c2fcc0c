"""The real clips beside the repository, where they lie, and the project's boxes for them as MOTChallenge files."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from mtrl.data.sources.m3svd import Box, read_boxes
from tests.helpers.paths import SHARED

REAL = SHARED / "real" / "m3svd"
needs_real_clips = pytest.mark.skipif(not (REAL / "visible").is_dir(), reason="the real clips are not here")


def clips_folder(program: str, described: str | None) -> Path:
    """The folder of the clips that a measurement is given."""
    parser = argparse.ArgumentParser(
        f"python -m {program}", description=described, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data-root", type=Path, default=REAL, help="folder of m3svd: visible/ and infrared/"
    )
    return Path(parser.parse_args().data_root)


def write_boxes(folder: Path, share: tuple[float, float] = (0.0, 1.0)) -> dict[str, Path]:
    """Writes CLIP.txt for every clip that has boxes -> {clip: file}. A person has one number in all clips.

    share  of each person's frames, in the order of time: (0, 0.4) are the first 40 %
    """
    walks: dict[int, list[Box]] = {}
    for box in read_boxes():
        walks.setdefault(box.identity, []).append(box)
    lines: dict[str, list[tuple[int, str]]] = {}
    for person, walk in walks.items():
        walk.sort(key=lambda box: box.frame)
        part = int(len(walk) * (share[1] - share[0]) + 1e-9)
        for box in walk[:part] if share[0] == 0 else walk[len(walk) - part :]:
            left, top, right, bottom = box.corners
            text = f"{box.frame + 1},{person},{left},{top},{right - left},{bottom - top},1,-1,-1,-1"
            lines.setdefault(box.sequence, []).append((box.frame, text))
    files = {}
    for clip, rows in sorted(lines.items()):
        files[clip] = folder / f"{clip}.txt"
        files[clip].write_text("\n".join(text for _, text in sorted(rows)) + "\n")
    return files
