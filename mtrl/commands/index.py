"""`python -m mtrl index FOLDER --output DIR`: a searchable gallery of a folder of images."""

from __future__ import annotations

import argparse
from pathlib import Path

from mtrl import Gallery, load_pretrained
from mtrl.commands.options import add_model_options, find_images


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.description = (
        "Embeds every image of a folder and saves a gallery that `search` and the page can read."
    )
    parser.add_argument(
        "folder", metavar="FOLDER", type=Path, help="folder of images, searched to its depths"
    )
    parser.add_argument(
        "--output", metavar="DIR", type=Path, required=True, help="folder to write the gallery to"
    )
    add_model_options(parser, modality="infrared")
    parser.add_argument(
        "--identities",
        choices=("none", "folder"),
        default="none",
        help='"folder": an image\'s identity is the name of the folder it lies in (default: none)',
    )
    parser.add_argument(
        "--skip-unreadable", action="store_true", help="leave out damaged images instead of stopping"
    )


def main(args: argparse.Namespace) -> int:
    """Builds and saves. Raises ValueError or OSError for wrong input."""
    paths, skipped = find_images([args.folder], args.skip_unreadable)
    model = load_pretrained(args.checkpoint, device=args.device, revision=args.revision)
    gallery = Gallery.build(
        model,
        paths,
        args.modality,
        identities=[path.parent.name for path in paths] if args.identities == "folder" else None,
        names=[path.relative_to(args.folder).as_posix() for path in paths],
        batch_size=args.batch_size,
    )
    gallery.save(args.output)
    print(f"{len(gallery)} images, {model.dim} dimensions, written to {args.output}" + skipped)
    return 0
