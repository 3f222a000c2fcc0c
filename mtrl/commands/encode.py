"""`python -m mtrl encode IMAGE... --output FILE`: embeddings as safetensors."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mtrl.commands.options import (
    add_model_options,
    add_skip_option,
    add_value_range,
    encode_files,
    find_images,
)
from mtrl.files.atomic import write_atomically
from mtrl.files.filenames import as_text
from mtrl.files.tensor_file import tensor_bytes
from mtrl.models.load import load_pretrained


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.description = (
        "Writes one tensor `features` (float32, one unit row per image) with the images' names, in the same order, "
        "as a JSON list under `names` in the file's metadata, which also holds a given value range."
    )
    parser.add_argument("images", metavar="IMAGE", type=Path, nargs="+", help="images, or folders of images")
    parser.add_argument(
        "--output", metavar="FILE", type=Path, required=True, help="the .safetensors file to write"
    )
    add_model_options(parser, modality="visible")
    add_value_range(parser)
    add_skip_option(parser)


def main(args: argparse.Namespace) -> int:
    """Encodes and writes. Raises ValueError or OSError for wrong input."""
    if args.output.suffix != ".safetensors":
        raise ValueError(f"--output must end in .safetensors, not {args.output}")
    paths, skipped = find_images(args.images, args.skip_unreadable)
    model = load_pretrained(args.checkpoint, device=args.device, revision=args.revision)
    features = encode_files(model, paths, args.modality, args.batch_size, args.value_range)
    metadata = {
        "format": "pt",
        "names": json.dumps([as_text(path) for path in paths]),
        "modality": args.modality,
        "model": model.fingerprint(),
    }
    if args.value_range:
        metadata["value_range"] = json.dumps(args.value_range)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(args.output, tensor_bytes({"features": features}, metadata))
    print(f"{len(paths)} images, {model.dim} dimensions, written to {as_text(args.output)}" + skipped)
    return 0
