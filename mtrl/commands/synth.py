"""Draws the synthetic data set into the cache and, where asked, a contact sheet, an export, the demo gallery."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from mtrl.data.array_cache import cache_root
from mtrl.data.synthetic import HEIGHT, SIZES, WIDTH, load
from mtrl.data.synthetic.export import LAYOUTS, export
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
    parser.add_argument("--workers", type=int, default=None, help="processes that draw (default: all cores)")
    parser.add_argument(
        "--cache-dir",
        metavar="DIR",
        default=None,
        help=f"cache folder (default: MTRL_CACHE, else {cache_root()})",
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
    for name in ("seed", "test_seed"):
        if getattr(args, name) < 0:
            raise ValueError(f"--{name.replace('_', '-')} must not be negative")
    if args.workers is not None and args.workers < 1:
        raise ValueError("--workers must be at least 1")
    if args.sheet:
        path = Path(args.sheet)
        if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
            raise ValueError(f"--sheet must end in .png or .jpg, not {path.name!r}")
        path.parent.mkdir(parents=True, exist_ok=True)
        contact_sheet("test", args.test_seed).save(path)
        print(f"contact sheet: {path}")
    if args.gallery:
        count = write_gallery(args.gallery, test_seed=args.test_seed)
        print(f"gallery of {count} images: {args.gallery}")
    if args.output:
        data = load(
            args.size, args.seed, args.test_seed, (HEIGHT, WIDTH), args.cache_dir, workers=args.workers
        )
        print(
            f"{export(data, args.output, args.layout)} images in the layout of {args.layout}: {args.output}"
        )
    elif not (args.sheet or args.gallery):
        start = time.perf_counter()
        data = load(args.size, args.seed, args.test_seed, None, args.cache_dir, workers=args.workers)
        height, width = data.train.images.shape[1:3]
        print(f"{args.size}: {len(data.train)} training and {len(data.test)} test images of {height} x {width} pixels "
              f"in {cache_root(args.cache_dir)} ({time.perf_counter() - start:.1f} s)")  # fmt: skip
    return 0
