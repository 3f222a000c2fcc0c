"""Checks of single files: can they be read, how large are the pictures, is one there twice."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from mtrl.data.listing import Sample
from mtrl.data.verify.report import Report, some
from mtrl.images import read_image
from mtrl.levels import OutsideRange, ValueRange

_SMALLEST = 16
_ENDINGS = {".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9", ".png": b"IEND\xaeB`\x82"}
_TAIL = 64


def check_images(
    root: Path, paths: Iterable[str], report: Report, full: bool, value_range: ValueRange | None = None
) -> None:
    """Opens every image. Without `full` only the heads and ends of files are read; doubtful ones are decoded. With a
    `value_range` every one is decoded.

    Pictures that cannot be read are problems; tiny ones, ones wider than high, and ones outside the range are notes.
    """
    full = full or value_range is not None
    wanted = sorted(set(paths))
    bad: list[str] = []
    tiny: list[str] = []
    wide: list[str] = []
    with (
        warnings.catch_warnings(record=True) as raised,
        ThreadPoolExecutor(min(32, os.cpu_count() or 1)) as pool,
    ):
        warnings.simplefilter("always", OutsideRange)
        results = pool.map(lambda path: _measure(root / path, full, value_range), wanted, chunksize=1)
        bar = tqdm(
            results, total=len(wanted), desc="check images", unit="image", mininterval=1.0, disable=None
        )
        for path, size in zip(wanted, bar, strict=True):
            if isinstance(size, str):
                bad.append(f"{path} ({size.removeprefix(str(root / path)).strip(': ')})")
                continue
            width, height = size
            if min(size) < _SMALLEST:
                tiny.append(f"{path} ({width} x {height})")
            elif width > height:
                wide.append(f"{path} ({width} x {height})")
    if bad:
        report.problem(
            f"{len(bad)} images cannot be read: {some(bad)}",
            "get these files again from the data set's authors",
        )
    if tiny:
        report.note(f"{len(tiny)} images are smaller than {_SMALLEST} pixels: {some(tiny)}")
    if wide:
        report.note(
            f"{len(wide)} images are wider than high: {some(wide)}",
            "a few are normal for people who sit or bow; many mean that images were turned or are not cropped",
        )
    outside = sorted(str(warning.message) for warning in raised if warning.category is OutsideRange)
    if outside:
        report.note(f"{len(outside)} images are one flat level: {some(outside, 2)}")
    if not full and wanted:
        report.note("images were opened but not decoded", "--full decodes every one of them")


def check_duplicates(root: Path, paths: Iterable[str], report: Report) -> None:
    """Notes files with the same content."""
    by_size: dict[int, list[str]] = defaultdict(list)
    for path in sorted(set(paths)):
        try:
            by_size[(root / path).stat().st_size].append(path)
        except OSError:
            continue
    by_content: dict[bytes, list[str]] = defaultdict(list)
    for group in by_size.values():
        if len(group) > 1:
            for path in group:
                by_content[hashlib.sha256((root / path).read_bytes()).digest()].append(path)
    same = [" = ".join(group) for group in by_content.values() if len(group) > 1]
    if same:
        report.note(f"{len(same)} images are there more than once: {some(same, 3)}")


def note_stray(stray: Sequence[str], report: Report) -> None:
    """Notes what the loaders pass over."""
    if stray:
        report.note(
            f"{len(stray)} stray files or folders are passed over: {some(stray)}",
            "nothing has to be done; other programs may stumble over them",
        )


def note_one_modality(samples: Sequence[Sample], what: str, report: Report) -> None:
    """Notes identities that only one kind of camera saw."""
    seen: dict[int, set[int]] = defaultdict(set)
    for sample in samples:
        seen[sample.identity].add(int(sample.modality))
    for modality, name in ((1, "infrared"), (0, "visible")):
        lacking = [str(identity) for identity in sorted(seen) if modality not in seen[identity]]
        if lacking:
            report.note(
                f"{len(lacking)} {what} have no {name} image: {some(lacking)}",
                "training leaves them out; queries without a match are not counted",
            )


def _measure(path: Path, full: bool, value_range: ValueRange | None = None) -> tuple[int, int] | str:
    """(width, height), or why the picture cannot be read."""
    try:
        if not full:
            size = _size_from_head(path)
            if size is not None:
                return size
        return read_image(path, value_range=value_range).size
    except (ValueError, OSError) as error:
        return str(error)


def _size_from_head(path: Path) -> tuple[int, int] | None:
    """(width, height) if the head is sound and the file ends as its format says; None: look more closely."""
    try:
        with Image.open(path) as image:
            size, bands, suffix = image.size, len(image.getbands()), path.suffix.lower()
        length = path.stat().st_size
        if suffix == ".bmp":
            return size if length >= size[0] * size[1] * bands else None
        if suffix not in _ENDINGS:
            return None
        with path.open("rb") as file:
            file.seek(max(0, length - _TAIL))
            return size if _ENDINGS[suffix] in file.read() else None
    except (ValueError, OSError, SyntaxError, Image.DecompressionBombError):
        return None
