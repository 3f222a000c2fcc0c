"""Checks whether a user's own folders, or table, can be used for training and evaluation."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from mtrl.data.listing import GALLERY, QUERY, Sample
from mtrl.data.sources.folder.load import (
    LAYOUT_HELP,
    MODALITIES,
    SPLITS,
    TABLES,
    Row,
    list_rows,
    scan_tree,
    shared_identities,
    to_samples,
)
from mtrl.data.sources.verify.files import note_one_modality, note_stray
from mtrl.data.sources.verify.report import Report, some
from mtrl.labels.names import canonical


def verify(root: Path, report: Report) -> list[Sample]:
    """Checks the user's folders or table, adds what it finds to the report, and returns all images."""
    try:
        if root.is_file() or any((root / name).is_file() for name in TABLES):
            _, rows = list_rows(root)
        else:
            rows, found = scan_tree(root)
            for error in found.errors:
                report.problem(error, "make the folder readable")
            note_stray(found.passed_over, report)
            _note_others(root, report)
        samples = to_samples(rows)
    except (ValueError, OSError, ImportError) as error:
        report.problem(str(error))
        return []
    _count(rows, report)
    if not rows:
        report.problem("no images", LAYOUT_HELP)
    elif not samples["train"]:
        report.note("no training images", "these data can be evaluated, but not trained on")
    elif not samples["test"]:
        report.note("no query or gallery images", "these data can be trained on, but not evaluated")
    _check_pairs(samples["test"], report)
    note_one_modality(samples["train"], "training identities", report)
    _check_overlap(samples, report)
    return samples["train"] + samples["test"]


def _count(rows: list[Row], report: Report) -> None:
    images = Counter((row.split, row.modality) for row in rows)
    people = {(row.split, row.modality, canonical(row.identity)) for row in rows}
    identities = Counter((split, modality) for split, modality, _ in people)
    for split in SPLITS:
        for name, modality in MODALITIES.items():
            if images[split, modality]:
                report.count(f"{split}, {name} images", images[split, modality])
                report.count(f"{split}, {name} identities", identities[split, modality])


def _check_pairs(test: list[Sample], report: Report) -> None:
    """Notes queries without a gallery image of their identity, and reports a problem if that is so for all queries."""
    if not test:
        return
    usable = 0
    for name, modality in MODALITIES.items():
        queries = [s for s in test if s.modality == modality and s.subset != GALLERY]
        gallery = {s.identity for s in test if s.modality != modality and s.subset != QUERY}
        lost = sum(sample.identity not in gallery for sample in queries)
        usable += len(queries) - lost
        if lost:
            report.note(
                f"{lost} of {len(queries)} {name} queries have no image of the same identity in the gallery of the "
                "other modality",
                "they are not counted; is the identity named alike in query and gallery?",
            )
    if not usable:
        report.problem(
            "no query has an image of the same identity in the gallery of the other modality",
            "use the same IDENTITY names below query and gallery",
        )


def _check_overlap(samples: dict[str, list[Sample]], report: Report) -> None:
    common = shared_identities(samples)
    if common:
        report.note(
            f"{len(common)} identities are trained on and tested on: {some(common)}",
            "figures on people seen in training are too good, unless these names mean different people",
        )


def _note_others(root: Path, report: Report) -> None:
    known = {"train", "query", "gallery"}
    try:
        others = sorted(path.name for path in root.iterdir() if path.is_dir() and path.name not in known)
    except OSError:
        return
    if others:
        report.note(f"folders with other names are not read: {some(others)}", LAYOUT_HELP)
