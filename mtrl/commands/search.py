"""`python -m mtrl search INDEX IMAGE...`: the nearest gallery images of each query."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from mtrl import Gallery, Match, load_pretrained
from mtrl.commands.options import add_model_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.description = (
        "Ranks the images of a gallery by their likeness to each query (cosine, highest first)."
    )
    parser.add_argument("index", metavar="INDEX", type=Path, help="folder that `index` wrote")
    parser.add_argument("images", metavar="IMAGE", type=Path, nargs="+", help="query images")
    add_model_options(parser, modality="visible")
    parser.add_argument("--k", type=int, default=10, help="results per query (default: 10)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def main(args: argparse.Namespace) -> int:
    """Searches and prints. Raises ValueError or OSError for wrong input."""
    gallery = Gallery.load(args.index)
    model = load_pretrained(args.checkpoint, device=args.device, revision=args.revision)
    gallery.check_model(model)
    features = model.encode(args.images, args.modality, args.batch_size)
    answers = [(path, gallery.matches(row, args.k)) for path, row in zip(args.images, features, strict=True)]
    if args.json:
        found = [
            {"query": str(q), "matches": [dataclasses.asdict(m) for m in matches]} for q, matches in answers
        ]
        print(json.dumps(found, indent=1, ensure_ascii=False))
        return 0
    for query, matches in answers:
        print(query)
        print("\n".join(_row(match) for match in matches))
    return 0


def _row(match: Match) -> str:
    identity = "" if match.identity is None else f"  identity {match.identity}"
    camera = "" if match.camera is None else f"  camera {match.camera}"
    return f"{match.rank:4d}  {match.score:6.3f}  {match.name}{identity}{camera}"
