"""`python -m mtrl translate IN OUT`: transition images of a file or of a folder, beside or below OUT."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from mtrl.commands.options import add_value_range
from mtrl.images import read_image
from mtrl.levels import ValueRange, checked_range
from mtrl.translate import NAMES, Translator, load_translator

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    ".jpg": {"quality": 95, "subsampling": 0},
    ".webp": {"lossless": True},
}
SAVE_OPTIONS[".jpeg"] = SAVE_OPTIONS[".jpg"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.description = (
        "Writes the transition image of every picture: the same size, pixel on pixel, the same names "
        "below OUT. A picture that OUT already has is skipped, so that an interrupted run can be continued."
    )
    parser.add_argument(
        "source", metavar="IN", type=Path, help="a picture, or a folder (searched to its depths)"
    )
    parser.add_argument(
        "target", metavar="OUT", type=Path, help="a file for a picture, a folder for a folder"
    )
    parser.add_argument(
        "--translator",
        default="luminance",
        help=f"{', '.join(NAMES)}, a folder or a Hub id (default: luminance)",
    )
    parser.add_argument("--device", default="cpu", help="torch device (default: cpu)")
    add_value_range(parser)
    parser.add_argument(
        "--overwrite", action="store_true", help="translate again what OUT has, e.g. from another translator"
    )


def main(args: argparse.Namespace) -> int:
    """Translates, and prints what was done. Raises ValueError or OSError for wrong input."""
    try:
        device = torch.empty(0, device=args.device).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {args.device!r} cannot be used: {str(error).splitlines()[0]}") from error
    translator = load_translator(args.translator).to(device)
    pairs = list(_pairs(args.source, args.target))
    done, skipped = translate_all(pairs, translator, device, args.overwrite, args.value_range)
    print(f"{done} translated, {skipped} already there: {args.target}")
    return 0


def translate_all(
    pairs: list[tuple[Path, Path]],
    translator: Translator,
    device: torch.device,
    overwrite: bool = False,
    value_range: ValueRange | None = None,
) -> tuple[int, int]:
    """Translates each (input file, output file) -> numbers of pictures written and skipped.

    `value_range` scales pictures of more than 8 bits. A file that cannot be read does not stop the others; at the
    end ValueError names the first.
    """
    checked_range(value_range)
    todo = [(source, target) for source, target in pairs if overwrite or not target.exists()]
    failures: list[str] = []
    for source, target in tqdm(todo, desc="translate", unit="image", disable=len(todo) < 2):
        try:
            picture = read_image(source, value_range=value_range)
        except (ValueError, OSError) as error:
            failures.append(str(error))
            continue
        _save(translate_picture(picture, translator, device), target)
    if failures:
        raise ValueError(
            f"{len(failures)} of {len(todo)} pictures could not be read; the first: {failures[0]}"
        )
    return len(todo), len(pairs) - len(todo)


def translate_picture(picture: Image.Image, translator: Translator, device: torch.device) -> Image.Image:
    """RGB picture -> RGB picture of the same size."""
    pixels = torch.from_numpy(np.array(picture, dtype=np.uint8)).to(device)
    with torch.inference_mode():
        output = translator(pixels.permute(2, 0, 1)[None].float() / 255)
    bytes_ = (output[0] * 255).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(bytes_.permute(1, 2, 0).contiguous().cpu().numpy())


def _pairs(source: Path, target: Path) -> Iterator[tuple[Path, Path]]:
    """(input file, output file) of everything to do, in order of names.

    Raises FileNotFoundError without a source, ValueError for a target that cannot be meant.
    """
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist")
    if source.is_file():
        output = target / source.name if target.is_dir() else target
        _check_output(source, output)
        yield source, output
        return
    if target.is_file():
        raise ValueError(f"{source} is a folder, so OUT must be one too, but {target} is a file")
    inside, root = target.resolve(), source.resolve()
    if inside == root:
        raise ValueError("IN and OUT are the same folder: the originals would be lost")
    found = [path for path in sorted(source.rglob("*")) if _is_picture(path)]
    found = [path for path in found if not path.resolve().is_relative_to(inside)]
    if not found:
        raise ValueError(f"no pictures ({', '.join(SUFFIXES)}) in {source}")
    for path in found:
        yield path, target / path.relative_to(source)


def _is_picture(path: Path) -> bool:
    hidden = path.name.startswith(".")  # half-written files of an interrupted run, macOS companions
    return path.suffix.lower() in SUFFIXES and not hidden and path.is_file()


def _check_output(source: Path, output: Path) -> None:
    if output.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{output} must end in one of {', '.join(SUFFIXES)}")
    if output.resolve() == source.resolve():
        raise ValueError("IN and OUT are the same file: the original would be lost")


def _save(picture: Image.Image, target: Path) -> None:
    """Writes under another name first, so that a file of the right name is always whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.stem}.partial{target.suffix}")
    try:
        picture.save(partial, **SAVE_OPTIONS.get(target.suffix.lower(), {}))
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
