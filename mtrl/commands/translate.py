"""`python -m mtrl translate IN OUT`: writes the transition images of a file or a folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from mtrl.commands.options import add_value_range
from mtrl.console.progress import Progress
from mtrl.files.filenames import as_text, some_of
from mtrl.files.image_limits import format_of, image_suffixes
from mtrl.files.images import read_image
from mtrl.files.levels import ValueRange, checked_range
from mtrl.files.scan import Scan, report, scan, why_unreadable
from mtrl.models.device import pick_device
from mtrl.translate import TRANSLATORS, Translator, load_translator

SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.description = (
        "Writes the transition image of every image: the same size, pixel on pixel, the same names "
        "below OUT. An image that OUT already has is skipped, so that an interrupted run can be continued."
    )
    parser.add_argument(
        "source", metavar="IN", type=Path, help="an image, or a folder (searched to its depths)"
    )
    parser.add_argument("target", metavar="OUT", type=Path, help="a file for an image, a folder for a folder")
    parser.add_argument(
        "--translator",
        default="luminance",
        help=f"{', '.join(TRANSLATORS)}, a folder or a Hub id (default: luminance)",
    )
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda, cuda:1, mps, ... (default: cpu)")
    add_value_range(parser)
    parser.add_argument(
        "--overwrite", action="store_true", help="translate again what OUT has, e.g. from another translator"
    )


def main(args: argparse.Namespace) -> int:
    """Translates, and prints what was done. Raises ValueError or OSError for wrong input."""
    device = pick_device(args.device)
    translator = load_translator(args.translator).to(device)
    pairs, found = _pairs(args.source, args.target)
    for line in report(found.passed_over):
        print(line)
    todo = [pair for pair in pairs if args.overwrite or not pair[1].is_file()]
    bad = translate_all(todo, translator, device, args.value_range)
    print(
        f"{len(todo) - len(bad)} translated, {len(pairs) - len(todo)} already there: {as_text(args.target)}"
    )
    problems = list(found.errors)
    if bad:
        named = [f"{path} ({why})" for path, why in bad.items()]
        problems.append(f"{len(bad)} of {len(todo)} images could not be read: {some_of(named)}")
    if problems:
        raise ValueError("; ".join(problems))
    return 0


def translate_all(
    pairs: list[tuple[Path, Path]],
    translator: Translator,
    device: torch.device,
    value_range: ValueRange | None = None,
) -> dict[Path, str]:
    """Translates each (input file, output file) -> {input file that cannot be read: why}. All others are done.

    `value_range` scales images of more than 8 bits.
    """
    checked_range(value_range)
    bad: dict[Path, str] = {}
    for source, target in Progress(pairs, title="translate", unit="image", show=len(pairs) > 1):
        try:
            image = read_image(source, value_range=value_range)
        except (ValueError, OSError) as error:
            bad[source] = why_unreadable(error, str(source))
            continue
        _save(translate_image(image, translator, device), target)
    return bad


def translate_image(image: Image.Image, translator: Translator, device: torch.device) -> Image.Image:
    """RGB image -> RGB image of the same size."""
    pixels = torch.from_numpy(np.array(image, dtype=np.uint8)).to(device)
    with torch.inference_mode():
        output = translator(pixels.permute(2, 0, 1)[None].float() / 255)
    bytes_ = (output[0] * 255).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(bytes_.permute(1, 2, 0).contiguous().cpu().numpy())


def _pairs(source: Path, target: Path) -> tuple[list[tuple[Path, Path]], Scan]:
    """(input file, output file) of everything to do, in order of names, and what stands in the folder.

    Raises FileNotFoundError without a source, ValueError for a target that cannot be meant.
    """
    if not source.exists():
        raise FileNotFoundError(f"{as_text(source)} does not exist")
    if not source.is_dir():
        output = target / source.name if target.is_dir() else target
        if output.suffix.lower() not in image_suffixes():
            raise ValueError(f"{as_text(output)} must end in one of {', '.join(sorted(image_suffixes()))}")
        found, pairs = Scan([source.name]), [(source, output)]
    else:
        if target.exists() and not target.is_dir():
            raise ValueError(
                f"{as_text(source)} is a folder, so OUT must be one too, but {as_text(target)} is a file"
            )
        inside = target.resolve()
        found = scan(
            source, enter=lambda path: "the output folder" if (source / path).resolve() == inside else ""
        )
        pairs = [(source / path, target / path) for path in found.images]
    if not pairs:
        nothing = f"no images ({', '.join(sorted(image_suffixes()))}) in {as_text(source)}"
        raise ValueError("; ".join([nothing, *found.errors, *report(found.passed_over)]))
    _check_outputs(pairs)
    return pairs, found


def _check_outputs(pairs: list[tuple[Path, Path]]) -> None:
    """Raises ValueError where an output file is an input file, by whatever path or link."""
    originals = {key for source, _ in pairs if (key := _file_key(source))}
    for source, target in pairs:
        if (key := _file_key(target)) and key in originals:
            raise ValueError(
                f"{as_text(target)}, the output for {as_text(source)}, is an image of IN: the original would be lost"
            )


def _file_key(path: Path) -> tuple[int, int] | None:
    """The same for all paths of a file; None where there is none."""
    try:
        info = path.stat()
    except OSError:
        return None
    return info.st_dev, info.st_ino


def _save(image: Image.Image, target: Path) -> None:
    """Writes under another name first, so that a file of the right name is always whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.stem}.partial{target.suffix}")
    kind = format_of(target)
    if kind == "GIF":  # of at most 256 colours: all greys, which the shipped translators give, are kept
        grey = image.convert("L")
        image = grey if grey.convert("RGB").tobytes() == image.tobytes() else image
    try:
        image.save(partial, format=kind, **SAVE_OPTIONS.get(kind, {}))
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
