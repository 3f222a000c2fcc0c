"""`python -m mtrl export CHECKPOINT --output model.onnx`: a model for ONNX Runtime and other engines."""

from __future__ import annotations

import argparse
from pathlib import Path

from mtrl.models.export import export_onnx
from mtrl.models.load import SOURCE_HELP, load_pretrained


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.description = (
        "Writes the encode path as ONNX: images in [0,1] of the model's size in, embeddings of unit length out, mean "
        "and standard deviation inside. The graph is compared with the model on random images before it is kept."
    )
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        nargs="?",
        default=None,
        help=SOURCE_HELP,
    )
    parser.add_argument("--output", metavar="FILE", type=Path, required=True, help="the .onnx file to write")
    parser.add_argument("--revision", default=None, help="branch, tag or commit of a Hub id")
    parser.add_argument(
        "--modality",
        choices=("visible", "infrared"),
        default=None,
        help="spectrum of the images; only a model with a dual stem needs it, one file for each",
    )
    parser.add_argument("--half", action="store_true", help="the backbone in float16: half the size")


def main(args: argparse.Namespace) -> int:
    """Exports and compares. Raises ValueError, ImportError or OSError."""
    if args.output.suffix != ".onnx":
        raise ValueError(f"--output must end in .onnx, not {args.output}")
    model = load_pretrained(args.checkpoint, revision=args.revision)
    cosine = export_onnx(model, args.output, args.modality, half=args.half)
    size = args.output.stat().st_size / 1e6
    print(f"{args.output}: {size:.1f} MB, {model.dim} dimensions, least cosine to the model {cosine:.6f}")
    return 0
