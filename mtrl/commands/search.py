"""`python -m mtrl search INDEX IMAGE...`: the nearest gallery images of each query."""

from __future__ import annotations

import argparse
import dataclasses
import json
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from mtrl.commands.options import add_model_options, add_value_range, detect_modalities, find_images
from mtrl.data.video.thermal import check_scaling
from mtrl.files.filenames import as_text
from mtrl.files.levels import ValueRange, checked_range
from mtrl.labels.names import printable
from mtrl.models.config import Modality
from mtrl.models.load import load_pretrained
from mtrl.models.reid import MTRL
from mtrl.models.spectrum import encode_each
from mtrl.retrieval.filters import Filter, format_time, parse_time
from mtrl.retrieval.match import Match
from mtrl.retrieval.stores.base import COLLECTION
from mtrl.retrieval.stores.factory import open_store
from mtrl.retrieval.tracks import pool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.description = (
        "Ranks the images of a gallery by their similarity to each query (cosine, highest first)."
    )
    parser.add_argument(
        "index", metavar="INDEX", help="folder that `index` wrote, or a Milvus server's http(s) address"
    )
    parser.add_argument(
        "images",
        metavar="IMAGE",
        type=Path,
        nargs="+",
        help="query images; a folder is a track: its images, of one person, are one query",
    )
    add_model_options(parser, modality="visible", choices=("auto",))
    add_value_range(parser, default="the index's, for queries from cameras of the same units")
    parser.add_argument("--k", type=int, default=10, help="results per query (default: 10)")
    parser.add_argument(
        "--collection", default=COLLECTION, help=f"name within Milvus (default: {COLLECTION})"
    )
    only = parser.add_argument_group("search only images of ...")
    only.add_argument("--camera", metavar="N", type=int, nargs="+", default=[], help="one of these cameras")
    only.add_argument("--identity", metavar="ID", nargs="+", default=[], help="one of these people")
    only.add_argument(
        "--after", metavar="TIME", type=parse_time, help="this time on, as 2026-11-20T18:30 (UTC)"
    )
    only.add_argument(
        "--before", metavar="TIME", type=parse_time, help="before this time, as 2026-11-20T19:30+01:00"
    )
    only.add_argument(
        "--spectrum", choices=("visible", "infrared"), nargs="+", default=[], help="this spectrum"
    )
    only.add_argument(
        "--only", choices=("images", "tracks"), default="", help="not the tracks' own entries, or these alone"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def main(args: argparse.Namespace) -> int:
    """Searches and prints. Raises ValueError or OSError for wrong input."""
    where = Filter(
        identities=args.identity,
        cameras=args.camera,
        after=args.after,
        before=args.before,
        modalities=args.spectrum,
        only=args.only,
    )
    store = open_store(args.index, args.collection)
    try:
        model = load_pretrained(args.checkpoint, device=args.device, revision=args.revision)
        store.check_model(model)
        limits = checked_range(args.value_range) or store.value_range
        features = _queries(model, args, limits)
        answers = list(zip(args.images, store.find(features, args.k, where), strict=True))
    finally:
        store.close()
    if args.json:
        found = [
            {"query": as_text(q), "matches": [dataclasses.asdict(m) for m in matches]}
            for q, matches in answers
        ]
        print(json.dumps(found, indent=1))
        return 0
    for query, matches in answers:
        print(printable(as_text(query)))
        print("\n".join(map(_row, matches)) if matches else "      nothing fits")
    return 0


def _queries(model: MTRL, args: argparse.Namespace, limits: ValueRange | None) -> Tensor:
    """Features [Q,D] of the queries: images, or folders of one person's images. All are encoded together."""
    queries = [find_images([source], False)[0] if source.is_dir() else [source] for source in args.images]
    sizes = list(map(len, queries))
    paths = [path for query in queries for path in query]
    if args.modality == "auto":
        found = iter(detect_modalities(paths, limits))
        spectra = []
        for size in sizes:
            own = list(islice(found, size))
            spectra += [max(Modality, key=own.count)] * size  # a person's images are of one camera
    else:
        spectra = [Modality.parse(args.modality)] * len(paths)
    check_scaling(paths, spectra, limits)
    features = encode_each(model, paths, spectra, args.batch_size, limits)
    return torch.cat([pool(part) for part in features.split(sizes)])


def _row(match: Match) -> str:
    identity = "" if match.identity is None else f"  identity {printable(str(match.identity))}"
    camera = "" if match.camera is None else f"  camera {match.camera}"
    time = "" if match.time is None else f"  {format_time(match.time)}"
    spectrum = "" if match.modality is None else f"  {match.modality}"
    track = "  track" if match.track == match.name else ""
    return f"{match.rank:4d}  {match.score:6.3f}  {printable(match.name)}{track}{spectrum}{identity}{camera}{time}"
