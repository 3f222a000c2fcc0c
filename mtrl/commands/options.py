"""What the commands that run a model share: its flags, and the images they are given."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mtrl.images import read_image
from mtrl.levels import RANGE_HELP

SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".png",
    ".bmp",
    ".webp",
    ".tif",
    ".tiff",
    ".gif",
    ".avif",
    ".ppm",
    ".pgm",
)


def add_model_options(parser: argparse.ArgumentParser, modality: str) -> None:
    """--checkpoint, --revision, --device, --modality (with this default) and --batch-size."""
    parser.add_argument(
        "--checkpoint",
        metavar="SOURCE",
        default=None,
        help="folder of a checkpoint, or a Hugging Face Hub id user/repo (default: the shipped one)",
    )
    parser.add_argument("--revision", default=None, help="branch, tag or commit of a Hub id")
    parser.add_argument("--device", default="cpu", help="torch device (default: cpu)")
    parser.add_argument(
        "--modality",
        choices=("visible", "infrared"),
        default=modality,
        help=f"spectrum of the images (default: {modality})",
    )
    parser.add_argument("--batch-size", type=int, default=64, help="images per forward pass (default: 64)")


def add_value_range(
    parser: argparse.ArgumentParser, default: str = "each image's own least and largest"
) -> None:
    """--value-range LOW HIGH, None where it is not given. `default` says what is done then."""
    parser.add_argument(
        "--value-range",
        metavar=("LOW", "HIGH"),
        type=float,
        nargs=2,
        default=None,
        help=f"{RANGE_HELP} (default: {default})",
    )


def find_images(sources: Sequence[Path], skip_unreadable: bool) -> tuple[list[Path], str]:
    """Files, and the images in folders in order of their names -> (paths, a remark on skipped ones or "").

    Raises FileNotFoundError for a path that does not exist, ValueError when no image is left.
    """
    paths: list[Path] = []
    for source in sources:
        if source.is_dir():
            found = (path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
            # Hidden files are half-written ones, or the companions that macOS leaves.
            paths += sorted(path for path in found if not path.name.startswith("."))
        elif source.exists():
            paths.append(source)
        else:
            raise FileNotFoundError(f"{source} does not exist")
    kept = [path for path in paths if _readable(path)] if skip_unreadable else paths
    if not kept:
        raise ValueError(f"no images ({', '.join(SUFFIXES)}) in {', '.join(map(str, sources))}")
    left_out = len(paths) - len(kept)
    return kept, f"; {left_out} unreadable left out" if left_out else ""


def _readable(path: Path) -> bool:
    try:
        read_image(path)
    except (ValueError, OSError):
        return False
    return True
