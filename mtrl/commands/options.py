"""Flags shared by the commands that run a model, and how they find and encode their images."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from mtrl.console.progress import Progress
from mtrl.files.filenames import as_text, some_of
from mtrl.files.image_limits import image_suffixes
from mtrl.files.images import read_image
from mtrl.files.levels import RANGE_HELP, ValueRange
from mtrl.files.scan import PassedOver, report, scan, why_unreadable
from mtrl.models.config import Modality
from mtrl.models.load import SOURCE_HELP
from mtrl.models.reid import MTRL
from mtrl.models.spectrum import detect_modality

_BATCHES_AT_ONCE = 4  # between two steps of a progress bar; the next batch is decoded ahead only within them


def add_checkpoint_options(parser: argparse.ArgumentParser) -> None:
    """--checkpoint, --revision and --device."""
    parser.add_argument(
        "--checkpoint",
        metavar="SOURCE",
        default=None,
        help=SOURCE_HELP,
    )
    parser.add_argument("--revision", default=None, help="branch, tag or commit of a Hub id")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda, cuda:1, mps, ... (default: cpu)")


def add_model_options(
    parser: argparse.ArgumentParser, modality: str | None, choices: Sequence[str] = (), default: str = ""
) -> None:
    """--checkpoint, --revision, --device, --modality (with this default, which `default` puts in words, and these
    choices besides the two spectra) and --batch-size."""
    add_checkpoint_options(parser)
    parser.add_argument(
        "--modality",
        choices=("visible", "infrared", *choices),
        default=modality,
        help=f"spectrum of the images (default: {default or modality})",
    )
    parser.add_argument("--batch-size", type=int, default=64, help="images per forward pass (default: 64)")


def add_skip_option(parser: argparse.ArgumentParser) -> None:
    """--skip-unreadable."""
    parser.add_argument(
        "--skip-unreadable",
        action="store_true",
        help="leave out damaged images and folders that cannot be opened, and name them, instead of stopping",
    )


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
    """Files, and the images in folders in order of their names -> (paths, a remark on what was left out or "").

    The remark names what was passed over and why, in lines. With `skip_unreadable` every image is decoded, and those
    that cannot be, or are not there, are left out and named too. Raises FileNotFoundError for a path that does not
    exist, OSError for a folder that cannot be opened, ValueError when no image is left.
    """
    paths: list[Path] = []
    passed_over: list[PassedOver] = []
    unopened: list[str] = []
    for source in sources:
        if source.is_dir():
            found = scan(source)
            paths += [source / path for path in found.images]
            passed_over += [
                dataclasses.replace(item, path=str(source / item.path)) for item in found.passed_over
            ]
            unopened += found.errors
        elif source.exists() or source.is_symlink() or skip_unreadable:
            paths.append(source)
        else:
            raise FileNotFoundError(f"{as_text(source)} does not exist")
    if unopened and not skip_unreadable:
        raise OSError(some_of(unopened))
    unreadable = _unreadable(paths) if skip_unreadable else {}
    kept = [path for path in paths if path not in unreadable]
    lines = unopened + report(
        [PassedOver(str(path), why, True) for path, why in unreadable.items()] + passed_over
    )
    if not kept:
        where = ", ".join(map(as_text, sources))
        raise ValueError("; ".join([f"no images ({', '.join(sorted(image_suffixes()))}) in {where}", *lines]))
    left_out = f"; {len(unreadable)} unreadable left out" if unreadable else ""
    return kept, "\n".join([left_out, *lines])


def detect_modalities(paths: Sequence[Path], value_range: ValueRange | None = None) -> list[Modality]:
    """The spectrum of each image, by its colours (see `mtrl.models.spectrum`)."""
    progress = Progress(paths, title="detect spectra", unit="image")
    return [detect_modality(read_image(path, value_range=value_range)) for path in progress]


def encode_files(
    model: MTRL,
    paths: Sequence[Path],
    modality: str | Modality,
    batch_size: int,
    value_range: ValueRange | None = None,
) -> Tensor:
    """`MTRL.encode` with a progress bar."""
    step = max(1, batch_size) * _BATCHES_AT_ONCE
    parts = []
    with Progress[None](total=len(paths), title="encode", unit="image") as bar:
        for start in range(0, len(paths), step):
            some = paths[start : start + step]
            parts.append(model.encode(some, modality, batch_size, value_range=value_range))
            bar.update(len(some))
    return torch.cat(parts) if parts else torch.empty(0, model.dim)


def _unreadable(paths: Sequence[Path]) -> dict[Path, str]:
    """The images that cannot be decoded, each with the reason."""
    bad: dict[Path, str] = {}
    for path in Progress(paths, title="check images", unit="image"):
        try:
            read_image(path)
        except (ValueError, OSError) as error:
            bad[path] = why_unreadable(error, str(path))
    return bad
