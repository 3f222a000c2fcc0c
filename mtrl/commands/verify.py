"""`python -m mtrl verify`: checks that a downloaded data set is complete and as published."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mtrl.commands.options import add_value_range
from mtrl.data.sources import Names, on_disk
from mtrl.data.sources.verify import verify


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.description = (
        "Checks a data set on disk: layout, counts per part and camera against the published ones, images that "
        "cannot be read, identities without one modality, stray files. Nothing is changed. Ends with 0 if the data "
        "set can be used and is as published, else with 2."
    )
    parser.add_argument(
        "--dataset", required=True, choices=Names(on_disk), help="which data set; your own: module:function"
    )
    parser.add_argument(
        "--data-root",
        required=True,
        type=Path,
        metavar="DIR",
        help="its folder (folder: or a table of images)",
    )
    parser.add_argument("--full", action="store_true", help="decode every image instead of reading its head")
    parser.add_argument(
        "--counts",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="compare with the published counts; --no-counts for a part of a data set or a drawn one",
    )
    add_value_range(parser)
    parser.add_argument("--duplicates", action="store_true", help="look for files with the same content")


def main(args: argparse.Namespace) -> int:
    """Prints the report: 0 if there is no problem, else 2."""
    report = verify(
        args.dataset,
        args.data_root,
        full=args.full,
        counts=args.counts,
        duplicates=args.duplicates,
        value_range=args.value_range,
    )
    print(report.text())
    if report.problems:
        print(f"error: {args.data_root}: {report.summary()}, see the list above", file=sys.stderr)
        return 2
    return 0
