"""`python -m mtrl index PHOTOS --output X`: builds a searchable gallery, adds images to it, deletes images from it."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from mtrl.commands.options import (
    add_model_options,
    add_skip_option,
    add_value_range,
    detect_modalities,
    encode_files,
)
from mtrl.commands.photos import Photos, read_photos
from mtrl.console.progress import Progress
from mtrl.data.video.thermal import check_scaling
from mtrl.files.filenames import as_text
from mtrl.files.levels import ValueRange, checked_range
from mtrl.models.config import Modality
from mtrl.models.load import load_pretrained
from mtrl.models.reid import MTRL
from mtrl.models.spectrum import encode_each
from mtrl.retrieval.checks import check_same_range
from mtrl.retrieval.filters import Filter
from mtrl.retrieval.gallery import Gallery
from mtrl.retrieval.image_folders import remember_source
from mtrl.retrieval.stores.base import COLLECTION, KINDS, Store
from mtrl.retrieval.stores.factory import check_entries, check_target, create_store, open_store
from mtrl.retrieval.stores.uri import is_uri, shown
from mtrl.retrieval.tracks import with_tracks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.description = (
        "Embeds images and saves a gallery that `search` can read. With --add to an existing one, where images of "
        "the same name are replaced; with --delete-name or --delete-identity it takes images out first."
    )
    parser.add_argument(
        "photos",
        metavar="PHOTOS",
        type=Path,
        nargs="?",
        help="folder of images, searched to its depths; one that `crops` wrote, or a folder of several such; or a .csv "
        "or .parquet with the columns path, identity, camera, time, modality, track, quality",
    )
    parser.add_argument(
        "--output",
        metavar="X",
        required=True,
        help="folder of the gallery, or a Milvus server's http(s) address",
    )
    parser.add_argument(
        "--store",
        choices=KINDS,
        default="exact",
        help="exact search (default), approximate search with faiss, or a Milvus database; read from X with --add",
    )
    parser.add_argument(
        "--collection", default=COLLECTION, help=f"name within Milvus (default: {COLLECTION})"
    )
    parser.add_argument(
        "--add", action="store_true", help="add to the gallery at X instead of writing it anew"
    )
    parser.add_argument(
        "--delete-name", metavar="NAME", nargs="+", default=[], help="take these images out of X"
    )
    parser.add_argument(
        "--delete-identity", metavar="ID", nargs="+", default=[], help="take these people out of X"
    )
    _add_labels(parser)
    _add_engine(parser)


def _add_labels(parser: argparse.ArgumentParser) -> None:
    """Spectrum, track, scale, identity and time of the images."""
    add_model_options(
        parser,
        modality=None,
        choices=("auto", "column"),
        default="the listing's column where it has one, else infrared; auto and column make a gallery of both",
    )
    parser.add_argument(
        "--tracks",
        metavar="COLUMN",
        nargs="?",
        const="track",
        help="add an entry for each track, its images' mean weighted by their quality; the listing's column that "
        "names it (default: track)",
    )
    add_value_range(parser, default="each image's own values; with --add, what X has")
    parser.add_argument(
        "--identities",
        choices=("none", "folder"),
        default="none",
        help='"folder": an image\'s identity is the name of the folder it lies in (default: none)',
    )
    parser.add_argument(
        "--times",
        choices=("none", "file"),
        default="none",
        help="\"file\": an image's time is its file's modification time (default: none)",
    )


def _add_engine(parser: argparse.ArgumentParser) -> None:
    """Where images are encoded, and how features are kept."""
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="where images are encoded: in this process, or by Ray on this machine or the cluster of RAY_ADDRESS, "
        "whose machines see the images under the same paths",
    )
    parser.add_argument(
        "--workers", metavar="N", type=int, default=1, help="actors that encode with Ray (default: 1)"
    )
    parser.add_argument(
        "--parts",
        metavar="DIR",
        type=Path,
        help="folder, seen by all machines, of what Ray has encoded so far (default: X.parts; COLLECTION.parts for a "
        "server)",
    )
    parser.add_argument(
        "--half",
        action="store_true",
        help="store features in float16: half the space (not in Milvus); with --add, entries are kept as X keeps them",
    )
    add_skip_option(parser)


def main(args: argparse.Namespace) -> int:
    """Deletes, then adds or builds. Raises ValueError or OSError for wrong input."""
    removal = args.delete_name or args.delete_identity
    if not args.photos and not removal:
        raise ValueError("give PHOTOS to index, or --delete-name or --delete-identity")
    if removal and args.photos and not args.add:
        raise ValueError(
            "deleting and writing anew together make no sense; use --add to add images after deleting"
        )
    if args.photos:
        _index(args)
    else:
        store = open_store(args.output, args.collection)
        try:
            _delete(store, args)
        finally:
            store.close()
    return 0


def _delete(store: Store, args: argparse.Namespace) -> None:
    names, people = [tuple(map(as_text, texts)) for texts in (args.delete_name, args.delete_identity)]
    # Identities first: a gallery without them refuses, before anything is deleted.
    wanted = [where for where in (Filter(identities=people), Filter(names=names)) if where]
    if wanted:
        count = sum(store.delete(where) for where in wanted)
        print(f"{count} entries deleted, {len(store)} left in {shown(args.output)}")


def _index(args: argparse.Namespace) -> None:
    photos, skipped = read_photos(args.photos, args.identities, args.times, args.skip_unreadable, args.tracks)
    if args.tracks and photos.tracks is None:
        raise ValueError(
            f"{args.photos} has no column {args.tracks}, which --tracks needs: index what `crops` wrote"
        )
    if not args.add:
        check_target(args.store, args.output, args.collection)
    model = load_pretrained(args.checkpoint, device=args.device, revision=args.revision)
    store = open_store(args.output, args.collection) if args.add else None
    try:
        limits = checked_range(args.value_range)
        if photos.value_range is not None:
            check_same_range(limits or photos.value_range, photos.value_range)
            limits = photos.value_range
        if store is not None:
            store.check_model(model)
            check_same_range(store.value_range, limits or store.value_range)
            limits = store.value_range
        entries = _entries(model, photos, args, limits, store)
        if store is None:
            store = create_store(args.store, args.output, entries, args.collection)
        else:
            _delete(store, args)
            store.upsert(entries)
        total = f"; {len(store)} in all" if args.add else ""
        if Path(args.output).is_dir():
            folder = args.photos if args.photos.is_dir() else args.photos.parent
            remember_source(Path(args.output), folder, anew=not args.add)
        tracks = len(entries) - len(photos.paths)
        also = f" and {tracks} tracks" if tracks else ""
        print(
            f"{len(photos.paths)} images{also}, {model.dim} dimensions, written to {shown(args.output)}"
            + total
            + skipped
        )
    finally:
        if store is not None:
            store.close()


def _entries(
    model: MTRL, photos: Photos, args: argparse.Namespace, limits: ValueRange | None, store: Store | None
) -> Gallery:
    """`Gallery.build` with progress bars. What the store would refuse is told before the first image is encoded."""
    modalities = _modalities(photos, args.modality, limits)
    described = partial(_described, model, photos, args, limits, modalities)
    without_features = described(torch.eye(1, model.dim).expand(len(photos.paths), -1))
    if store is None:
        check_entries(args.store, without_features)
    else:
        store.check(without_features)
    each = modalities if isinstance(modalities, list) else [modalities] * len(photos.paths)
    entries = described(_encode(model, photos, each, args, limits))
    return entries.half() if args.half else entries


def _described(
    model: MTRL,
    photos: Photos,
    args: argparse.Namespace,
    limits: ValueRange | None,
    modalities: Modality | list[Modality],
    features: Tensor,
) -> Gallery:
    """The images' features with their labels, and those of the tracks if wanted."""
    one, each = (None, tuple(modalities)) if isinstance(modalities, list) else (modalities, None)
    gallery = Gallery(
        features,
        tuple(photos.names),
        one,
        None if photos.identities is None else tuple(photos.identities),
        None if photos.cameras is None else tuple(photos.cameras),
        model.fingerprint(),
        None if photos.times is None else tuple(photos.times),
        limits,
        each,
        None if photos.tracks is None else tuple(photos.tracks),
    )
    return with_tracks(gallery, photos.qualities) if args.tracks else gallery


def _encode(
    model: MTRL, photos: Photos, each: list[Modality], args: argparse.Namespace, limits: ValueRange | None
) -> Tensor:
    """Features of the images, each of its spectrum, with progress bars."""
    if args.engine == "ray":
        return _encode_with_ray(model, photos, each, args, limits)
    # Before the first one is encoded; only infrared images are opened, and of them only the headers.
    infrared = [p for p, kind in zip(photos.paths, each, strict=True) if kind is Modality.INFRARED]
    for path in Progress(infrared, title="check scaling", unit="image"):
        check_scaling([path], Modality.INFRARED, limits)
    return encode_each(model, photos.paths, each, args.batch_size, limits, partial(encode_files, model))


def _encode_with_ray(
    model: MTRL,
    photos: Photos,
    modalities: list[Modality],
    args: argparse.Namespace,
    limits: ValueRange | None,
) -> Tensor:
    """Features through the parts folder, which stays: a second run with it has nothing to encode."""
    from mtrl.retrieval.ray_engine import Work, encode_with_ray

    base = Path(args.collection if is_uri(args.output) else args.output).resolve()
    parts = args.parts or base.with_name(base.name + ".parts")
    size, device = model.config.image_size, next(model.parameters()).device.type
    local = args.checkpoint is not None and Path(args.checkpoint).is_dir()
    checkpoint = str(Path(args.checkpoint).absolute()) if local else args.checkpoint
    work = Work(checkpoint, args.revision, device, size, str(parts.absolute()), args.batch_size, limits)
    return encode_with_ray(model, photos.paths, modalities, work, args.workers)


def _modalities(photos: Photos, wanted: str | None, limits: ValueRange | None) -> Modality | list[Modality]:
    """The spectrum of all images, or that of each."""
    if wanted == "column" or (wanted in (None, "auto") and photos.modalities is not None):
        if photos.modalities is None:
            raise ValueError("--modality column needs a listing with the column modality")
        if wanted is None and len(set(photos.modalities)) == 1:
            return photos.modalities[0]
        return photos.modalities
    return (
        detect_modalities(photos.paths, limits) if wanted == "auto" else Modality.parse(wanted or "infrared")
    )
