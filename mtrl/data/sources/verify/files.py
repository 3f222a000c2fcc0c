"""Checks of image files: whether they can be read, what size they have, and whether two are equal."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mtrl.console.progress import Progress
from mtrl.data.listing import Sample
from mtrl.data.sources.verify.report import Report, some
from mtrl.files.filenames import as_text
from mtrl.files.image_limits import opened
from mtrl.files.images import read_image, upright_size
from mtrl.files.levels import OutsideRange, ValueRange
from mtrl.files.scan import PassedOver

_SMALLEST = 16
_JPEG_END, _PNG_END = b"\xff\xd9", b"IEND\xaeB`\x82"
_PNG_ORIENTATIONS = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")
_TAIL = 64


def check_images(
    root: Path, paths: Iterable[str], report: Report, full: bool, value_range: ValueRange | None = None
) -> None:
    """Opens every image as the loaders do, and reports what is wrong.

    Images that the loaders refuse are problems. Tiny images, images that are wider than high, and images outside the
    value range are notes.
    full         True decodes every image. False decodes only doubtful ones, and formats other than JPEG, PNG and BMP
    value_range  (low, high) for images of more than 8 bits; if it is given, every image is decoded
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
        bar = Progress(results, total=len(wanted), title="check images", unit="image")
        for path, size in zip(wanted, bar, strict=True):
            if isinstance(size, str):
                bad.append(f"{path} ({size.removeprefix(as_text(root / path)).strip(': ')})")
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
    """Notes files of equal content."""
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


def note_stray(stray: Sequence[PassedOver], report: Report) -> None:
    """Notes the files that the loaders skip, first those that look like images."""
    if stray:
        items = sorted(stray, key=lambda item: not item.image)
        names = some([f"{item.path} ({item.reason})" for item in items])
        report.note(
            f"{len(stray)} stray files or folders are passed over: {names}",
            "nothing has to be done; other programs may stumble over them",
        )


def note_one_modality(samples: Sequence[Sample], what: str, report: Report) -> None:
    """Notes identities with images of one modality only. Reports a problem if no identity has both."""
    seen: dict[int, set[int]] = defaultdict(set)
    names = {sample.identity: sample.shown_identity for sample in samples}
    for sample in samples:
        seen[sample.identity].add(int(sample.modality))
    if seen and all(len(modalities) == 1 for modalities in seen.values()):
        report.problem(
            f"none of the {len(seen)} {what} has visible and infrared images",
            "an identity must have the same name in both modalities",
        )
    for modality, name in ((1, "infrared"), (0, "visible")):
        lacking = [names[identity] for identity in sorted(seen) if modality not in seen[identity]]
        if lacking:
            report.note(
                f"{len(lacking)} {what} have no {name} image: {some(lacking)}",
                "training leaves them out; queries without a match are not counted",
            )


def _measure(path: Path, full: bool, value_range: ValueRange | None = None) -> tuple[int, int] | str:
    """(width, height) of the upright image as the loaders read it, or the reason why they cannot."""
    try:
        size = None if full else _size_from_head(path)
        return read_image(path, value_range=value_range).size if size is None else size
    except (ValueError, OSError) as error:
        return str(error)


def _size_from_head(path: Path) -> tuple[int, int] | None:
    """(width, height) from a file's header, if the reader accepts it and the file ends as its format requires.

    None if the image must be decoded to know. That includes a header that the reader refuses: decoding gives the
    reason.
    """
    try:
        with opened(path, str(path)) as image:
            if image.format in ("BMP", "DIB"):
                whole = path.stat().st_size >= image.width * image.height * len(image.getbands())
                return image.size if whole else None
            content = path.read_bytes()
            if image.format in ("JPEG", "MPO") and _JPEG_END in content[-_TAIL:]:
                return upright_size(image)
            # A PNG's orientation may be stored after its pixels, so only decoding finds it.
            turned = any(name in content for name in _PNG_ORIENTATIONS)
            if image.format == "PNG" and _PNG_END in content[-_TAIL:] and not turned:
                return image.size
    except Exception:  # decoders of damaged files raise errors of many kinds
        return None
    return None
