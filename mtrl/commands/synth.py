"""`python -m mtrl synth`: renders the synthetic data set, and exports it, a contact sheet or the demo gallery."""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path

from mtrl.data.array_cache import cache_root
from mtrl.data.imageset import ReIDData
from mtrl.data.matfiles import TEST_IDS, read_permutations, read_test_ids
from mtrl.data.synthetic import HEIGHT, SIZES, SPECTRA, WIDTH, load, load_counts
from mtrl.data.synthetic.export import LAYOUTS, REGDB_SHOTS, export
from mtrl.data.synthetic.sheet import contact_sheet, write_gallery


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `python -m mtrl synth`."""
    sizes = "; ".join(f"{name}: {size.train} + {size.test} people" for name, size in SIZES.items())
    parser.add_argument("--size", choices=sorted(SIZES), default="small", help=f"{sizes} (default: small)")
    parser.add_argument(
        "--seed", type=int, default=0, help="other numbers give other training people (default: 0)"
    )
    parser.add_argument(
        "--test-seed", type=int, default=0, help="other numbers give other test people (default: 0)"
    )
    parser.add_argument(
        "--spectrum",
        choices=SPECTRA,
        default=None,
        help="of the infrared images: near-infrared, thermal, or both in turn (default: nir; RegDB's layout: thermal)",
    )
    parser.add_argument("--workers", type=int, default=None, help="processes that draw (default: all cores)")
    parser.add_argument(
        "--cache-dir",
        metavar="DIR",
        default=None,
        help="cache folder (default: MTRL_CACHE, else ~/.cache/mtrl)",
    )
    parser.add_argument(
        "--output", metavar="DIR", default=None, help="export to this new folder instead of only caching"
    )
    parser.add_argument(
        "--layout",
        choices=sorted(LAYOUTS),
        default="sysu",
        help="directory layout of --output (default: sysu)",
    )
    parser.add_argument(
        "--shots-per-camera",
        type=int,
        metavar="N",
        default=None,
        help="images of each identity in each camera (default: the size's own, 1 to 4; RegDB has ten of each spectrum)",
    )
    parser.add_argument(
        "--like",
        metavar="FILE",
        type=Path,
        default=None,
        help="rand_perm_cam.mat of the official SYSU-MM01 evaluation, with test_id.mat beside it: the test set of "
        "--output gets its identities, cameras and numbers of images (10,578 images)",
    )
    parser.add_argument(
        "--people", type=int, metavar="N", default=None, help="of --like, only the first N test identities"
    )
    parser.add_argument(
        "--image-size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        default=None,
        help=f"height and width of the images (default: {HEIGHT} {WIDTH} for --output, else the size's own)",
    )
    parser.add_argument(
        "--sheet",
        metavar="FILE",
        default=None,
        help="write only a contact sheet of test people (PNG or JPEG)",
    )
    parser.add_argument(
        "--gallery", metavar="DIR", default=None, help="write only the demo gallery to this new folder"
    )


def main(args: argparse.Namespace) -> int:
    """Draws what the options ask for; prints where it is."""
    _check(args)
    if args.sheet:
        path = Path(args.sheet)
        if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
            raise ValueError(f"--sheet must end in .png or .jpg, not {path.name!r}")
        path.parent.mkdir(parents=True, exist_ok=True)
        contact_sheet("test", args.test_seed, spectrum=_spectrum(args)).save(path)
        print(f"contact sheet: {path}")
    if args.gallery:
        count = write_gallery(args.gallery, test_seed=args.test_seed, spectrum=_spectrum(args))
        print(f"gallery of {count} images: {args.gallery}")
    if args.output:
        size = (HEIGHT, WIDTH) if args.image_size is None else tuple(args.image_size)
        count = export(_drawn(args, size), args.output, args.layout, permutations=args.like)
        print(f"{count} images in the layout of {args.layout}: {args.output}")
    elif not (args.sheet or args.gallery):
        start = time.perf_counter()
        data = _drawn(args, None if args.image_size is None else tuple(args.image_size))
        height, width = data.train.images.shape[1:3]
        print(f"{args.size}: {len(data.train)} training and {len(data.test)} test images of {height} x {width} pixels "
              f"in {cache_root(args.cache_dir)} ({time.perf_counter() - start:.1f} s)")  # fmt: skip
    return 0


def _check(args: argparse.Namespace) -> None:
    """Raises ValueError for options that are out of range or make no sense together."""
    for name, least in (
        ("seed", 0),
        ("test_seed", 0),
        ("workers", 1),
        ("shots_per_camera", 1),
        ("people", 1),
    ):
        value, flag = getattr(args, name), f"--{name.replace('_', '-')}"
        if value is not None and value < least:
            raise ValueError(f"{flag} must not be negative" if least == 0 else f"{flag} must be at least 1")
    if args.like is not None:
        if args.output is None or args.layout != "sysu":
            raise ValueError("--like is of SYSU-MM01: it needs --output DIR and --layout sysu")
        if args.shots_per_camera is not None:
            raise ValueError("--like says how many images each camera has; leave out --shots-per-camera")
    elif args.people is not None:
        raise ValueError("--people belongs to --like FILE; the numbers of people are those of --size")
    if args.shots_per_camera is not None and args.output is not None and args.layout == "regdb":
        raise ValueError(
            "RegDB has ten images of each identity in each spectrum; leave out --shots-per-camera"
        )


def _spectrum(args: argparse.Namespace) -> str:
    """What was asked for; else RegDB's cameras are thermal, and all others near-infrared."""
    thermal = args.output is not None and args.layout == "regdb"
    return str(args.spectrum or ("thermal" if thermal else "nir"))


def _drawn(args: argparse.Namespace, image_size: tuple[int, int] | None) -> ReIDData:
    """The data set that the options describe."""
    shots = None if args.shots_per_camera is None else (args.shots_per_camera, args.shots_per_camera)
    if args.output and args.layout == "regdb":
        shots = REGDB_SHOTS
    how = {
        "image_size": image_size,
        "cache_dir": args.cache_dir,
        "workers": args.workers,
        "spectrum": _spectrum(args),
    }
    if args.like is None:
        return load(args.size, args.seed, args.test_seed, shots=shots, **how)
    counts = official_counts(args.like, args.people)
    train = load(args.size, args.seed, parts=("train",), **how)
    return dataclasses.replace(train, test=load_counts(counts, args.test_seed, **how))


def official_counts(permutations: Path, people: int | None = None) -> dict[tuple[int, int], int]:
    """{(camera, identity): number of images} of the official test set, or of its first `people` identities.

    permutations  rand_perm_cam.mat; the identities stand in test_id.mat beside it
    Raises FileNotFoundError for a missing file, ValueError for a damaged one and for identities that it does not list.
    """
    listed = read_permutations(permutations)
    identities = read_test_ids(permutations.with_name(TEST_IDS))[:people]
    counts = {
        (camera, identity): orders.shape[1]
        for (camera, identity), orders in listed.items()
        if identity in identities
    }
    absent = sorted(set(identities) - {identity for _, identity in counts})
    if absent:
        raise ValueError(f"{permutations} lists no image of identity {absent[0]}, which {TEST_IDS} names")
    return counts
