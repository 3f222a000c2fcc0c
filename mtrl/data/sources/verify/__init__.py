"""Checks a data set on disk: whether it is complete, equals what was published, and what to do if not."""

from __future__ import annotations

import warnings
from pathlib import Path

from mtrl.data.listing import nested_root
from mtrl.data.sources import find_source, on_disk
from mtrl.data.sources.verify.files import check_duplicates, check_images
from mtrl.data.sources.verify.report import Finding, Report
from mtrl.files.filenames import expanded
from mtrl.files.levels import ValueRange, checked_range

__all__ = ["Finding", "Report", "verify"]


def verify(
    dataset: str,
    root: str | Path,
    *,
    full: bool = False,
    counts: bool = True,
    duplicates: bool = False,
    value_range: ValueRange | None = None,
) -> Report:
    """Checks a data set and returns a report. Changes nothing.

    full         decode every image completely, instead of only its header and its end
    counts       compare the numbers of images with the published ones
    duplicates   look for files of equal content
    value_range  (low, high) for images of more than 8 bits: decodes every image, and notes those with all values
                 outside it
    Raises ValueError for an unknown data set, and FileNotFoundError for a root that does not exist.
    """
    source = find_source(dataset)
    if source.verify is None:
        raise ValueError(f"{dataset} has no files to verify; data sets that have are {', '.join(on_disk())}")
    base = expanded(root)
    if not base.exists():
        raise FileNotFoundError(f"{base} does not exist")
    report = Report(dataset, str(base), counts)
    if source.layout and not any((base / name).is_dir() for name in source.layout):
        _elsewhere(base, source.layout, report)
        return report
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        samples = source.verify(base, report)
    if any(expected not in (None, found) for _, found, expected in report.counts):
        report.note(
            "counts differ from the published ones",
            "if this is a part of the data set, or a drawn one, check it with --no-counts",
        )
    for message in dict.fromkeys(str(warning.message) for warning in raised):
        report.note(message)
    paths = [sample.path for sample in samples]
    folder = base.parent if base.is_file() else base  # paths in a table are relative to its folder
    check_images(folder, paths, report, full, checked_range(value_range))
    if duplicates:
        check_duplicates(folder, paths, report)
    return report


def _elsewhere(base: Path, layout: tuple[str, ...], report: Report) -> None:
    nested = nested_root(base, layout)
    advice = f"use --data-root '{nested}'" if nested else "point --data-root at the folder that holds them"
    report.problem(f"none of {', '.join(layout)} is in {base}", advice)
