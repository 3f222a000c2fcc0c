"""`python -m train bench`: runs the sections of the benchmark, prints the table line by line, writes it as JSON."""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from mtrl.console import cli
from mtrl.files.atomic import write_atomically
from mtrl.models.device import pick_device
from train.bench.limited import run
from train.bench.plot import draw
from train.bench.table import Line, Options, header
from train.run.log import environment, processor

# {name: module}. Each module defines `lines(options) -> Iterator[Line]`.
SECTIONS = {
    "data": "training batches: read, cropped, mirrored, erased, colour-changed, on the device",
    "step": "one training step: forward, losses, backward, optimiser",
    "evaluation": "metrics, re-ranking and a whole test run",
    "encode": "features of images",
    "search": "a query among many gallery features",
    "scale": "memory at the size of SYSU-MM01; growth with images, identities and gallery",
}


def main(argv: Sequence[str]) -> int:
    """Runs the command; see `python -m train bench -h`."""
    arguments = cli.arguments(_parser(), argv)
    if arguments.repeats < 1:
        raise ValueError(f"--repeats must be at least 1, not {arguments.repeats}")
    if arguments.minutes is not None:
        return _within(arguments)
    options = Options(pick_device(arguments.device), arguments.repeats, arguments.quick)
    device = _device_name(options.device)
    about = environment() | {
        "processor": processor(),
        "device": device,
        "device_type": options.device.type,
        "quick": options.quick,
    }
    print(
        f"{device}; {torch.get_num_threads()} threads; torch {torch.__version__}; median of {options.repeats}"
    )
    print(header(), flush=True)
    done: list[Line] = []
    for line in _all_lines(arguments.sections or list(SECTIONS), options):
        print(line.row(options.device.type), flush=True)
        done.append(line)
        if arguments.json:
            values = about | {"lines": [each.to_dict() for each in done]}
            write_atomically(Path(arguments.json), json.dumps(values, indent=1).encode())
    if arguments.plot:
        draw(done, Path(arguments.plot))
    return 0


def _within(arguments: argparse.Namespace) -> int:
    """Runs every section in its own process, within the given time. Returns the exit code: 1 if there is no line."""
    if not arguments.minutes > 0:
        raise ValueError(f"--minutes must be above 0, not {arguments.minutes}")
    flags = [
        "--repeats",
        str(arguments.repeats),
        "--device",
        arguments.device,
        *["--quick"] * arguments.quick,
    ]
    target = Path(arguments.json) if arguments.json else None
    results = run(arguments.sections or list(SECTIONS), flags, 60 * arguments.minutes, target)
    if arguments.plot and any(line.at for line in results.lines):
        draw(results.lines, Path(arguments.plot))
    return 0 if results.lines else 1


def _all_lines(sections: Sequence[str], options: Options) -> Iterator[Line]:
    for name in sections:
        yield from importlib.import_module(f"train.bench.{name}").lines(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m train bench",
        description="Measures this program beside common code, in turn, in one run. Ratios above 1: ours is better.",
        epilog="sections: " + "; ".join(f"{name}: {text}" for name, text in SECTIONS.items()),
    )
    parser.add_argument("sections", nargs="*", metavar="section", help=f"of {', '.join(SECTIONS)}; default all",
                        type=_section)  # fmt: skip
    parser.add_argument("--repeats", type=int, default=5, help="measurements per line (default: 5)")
    parser.add_argument("--quick", action="store_true", help="small sizes: to see it run, not to quote")
    parser.add_argument("--device", default="auto", help='"auto", "cpu", "cuda", ... (default: auto)')
    parser.add_argument("--minutes", type=float, help="stop after this time; each section has its share, "
                        "in a process of its own, and the table comes at the end")  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="write measurements, versions and device here")
    parser.add_argument(
        "--plot", metavar="FILE", help="draw the growth that the section scale measures, as PNG"
    )
    return parser


def _section(name: str) -> str:
    if name not in SECTIONS:
        raise argparse.ArgumentTypeError(f"no section {name!r}; there are {', '.join(SECTIONS)}")
    return name


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
