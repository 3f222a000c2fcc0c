"""`python -m mtrl crops VIDEO --boxes FILE --output DIR`: images of people out of a video or a folder of frames."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mtrl.commands.options import add_value_range
from mtrl.console.progress import Progress
from mtrl.data.video.boxes import MotBoxes
from mtrl.data.video.crops import CropRules, cut, frames_with_boxes
from mtrl.data.video.frames import frame_count
from mtrl.data.video.listing import LISTING, CropFolder
from mtrl.files.atomic import make_folder
from mtrl.files.filenames import as_text
from mtrl.files.levels import checked_range
from mtrl.files.lock import only_one
from mtrl.files.scan import scan
from mtrl.models.config import Modality
from mtrl.models.spectrum import detect_modality
from mtrl.retrieval.filters import parse_time

_DIGESTED = 1 << 20  # bytes of a video that tell it from others, besides its size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's flags."""
    parser.description = (
        "Cuts the people out of a video, or a folder of its frames, as a detector and tracker found them: "
        "DIR/ID/FRAME.jpg and DIR/listing.csv, which `index` reads. A run that was cut off goes on where it was."
    )
    parser.add_argument("source", metavar="VIDEO", type=Path, help="video file, or folder of frames")
    parser.add_argument(
        "--boxes",
        metavar="FILE",
        type=Path,
        help="MOTChallenge text: frame,id,x,y,width,height,confidence,...",
    )
    parser.add_argument(
        "--detector",
        metavar="SOURCE",
        help="in place of --boxes: find people with this detector (folder or Hub id) and follow them; the boxes are "
        "kept beside DIR",
    )
    parser.add_argument(
        "--device", default="cpu", help="of the detector: auto, cpu, cuda, ... (default: cpu)"
    )
    parser.add_argument("--output", metavar="DIR", type=Path, required=True, help="folder of the crops")
    parser.add_argument(
        "--modality",
        choices=("auto", "visible", "infrared"),
        default="auto",
        help="spectrum of the camera (default: auto, by the first frame that shows somebody)",
    )
    rules = CropRules()
    parser.add_argument(
        "--every", metavar="N", type=int, default=rules.every, help="one frame of N (default: all)"
    )
    parser.add_argument(
        "--margin", metavar="SHARE", type=float, default=rules.margin,
        help="added on each side, as a share of the box (default: 0)",
    )  # fmt: skip
    left_out = parser.add_argument_group("left out are boxes ...")
    left_out.add_argument(
        "--min-height", metavar="PIXELS", type=int, default=rules.min_height,
        help="less tall than this within the frame (default: 48)",
    )  # fmt: skip
    left_out.add_argument(
        "--min-inside", metavar="SHARE", type=float, default=rules.min_inside,
        help="with less of their area within the frame (default: 0.6)",
    )  # fmt: skip
    left_out.add_argument(
        "--min-sharpness", metavar="X", type=float, default=rules.min_sharpness,
        help="more blurred than this: try 0.3 for colour, 0.1 for thermal cameras (default: 0, none)",
    )  # fmt: skip
    left_out.add_argument(
        "--min-confidence",
        metavar="X",
        type=float,
        default=0.0,
        help="with less confidence (default: with 0)",
    )
    parser.add_argument("--camera", metavar="N", type=int, help="the camera's number, for the listing")
    parser.add_argument(
        "--start",
        metavar="TIME",
        type=parse_time,
        help="moment of the first frame, as 2026-11-20T18:30 (UTC)",
    )
    parser.add_argument("--rate", metavar="FPS", type=float, help="frames per second of a folder of frames")
    add_value_range(parser, default="frames of more than 8 bits are refused")


def main(args: argparse.Namespace) -> int:
    """Cuts out and writes. Raises ValueError or OSError for wrong input."""
    if (args.boxes is None) == (args.detector is None):
        raise ValueError("give --boxes FILE, as a detector and tracker write it, or --detector SOURCE")
    _check(args)
    rules = CropRules(args.every, args.margin, args.min_height, args.min_inside, args.min_sharpness)
    total = frame_count(args.source)
    if args.detector:
        args.boxes = _find_people(args, total)
    boxes = MotBoxes(args.boxes, args.min_confidence)
    make_folder(args.output)
    busy = f"another process is writing crops into {as_text(args.output)}"
    with only_one(args.output, refusal=busy):
        folder = CropFolder(args.output, _settings(args, rules))
        before = folder.count
        if not folder.finished:
            _cut_out(args, rules, boxes, folder, total)
        if not folder.count:
            raise ValueError(
                f"none of the {boxes.count} boxes gives a crop: they lie beyond the frames, or are smaller than "
                f"--min-height {rules.min_height}, or cut off"
            )
        again = f", {before} of them before" if before else ""
        print(
            f"{folder.count} crops of {boxes.count} boxes{again}, written to {as_text(args.output / LISTING)}"
        )
    return 0


def _check(args: argparse.Namespace) -> None:
    """Raises ValueError for options that do not fit together, before anything is read."""
    if args.source.is_dir():
        if args.start is not None and args.rate is None:
            raise ValueError(
                "--start needs --rate for a folder of frames: without it no frame's time is known"
            )
        if args.output.resolve().is_relative_to(args.source.resolve()):
            raise ValueError(
                f"--output {as_text(args.output)} lies in the folder of frames, where crops would be taken for frames"
            )
    if args.camera is not None and not -(2**63) <= args.camera < 2**63:
        raise ValueError(f"--camera is an integer of at most 64 bits, not {args.camera}")


def _find_people(args: argparse.Namespace, total: int | None) -> Path:
    """The MOTChallenge file of what the detector finds, made unless it is there already."""
    asked = (_digest(args.source), _detector_digest(args.detector), args.every, args.value_range)
    told = repr((*asked, "damaged frames counted"))  # the last word says how frames are numbered
    name = f"{args.output.name}.{hashlib.sha256(told.encode()).hexdigest()[:12]}.boxes.txt"
    path: Path = args.output.with_name(name)
    if not path.is_file():
        from mtrl.data.video.tracking import track_people
        from mtrl.hub.detector import Detector
        from mtrl.models.device import pick_device

        detector = Detector(args.detector, device=pick_device(args.device))
        make_folder(path.parent)
        with Progress[None](total=total, title="find people", unit="frame") as bar:
            track_people(
                detector.find,
                args.source,
                path,
                every=args.every,
                rate=args.rate,
                value_range=checked_range(args.value_range),
                passed=lambda index: bar.update(args.every),
            )
    return path


def _cut_out(
    args: argparse.Namespace, rules: CropRules, boxes: MotBoxes, folder: CropFolder, total: int | None
) -> None:
    limits = checked_range(args.value_range)
    modality = folder.modality if args.modality == "auto" else Modality.parse(args.modality)
    last = folder.next_frame - 1
    with (
        Progress[None](total=total, initial=folder.next_frame, title="crops", unit="frame") as bar,
        _kept(folder),
    ):

        def passed(index: int) -> None:
            nonlocal last
            folder.done_until(index)
            bar.update(index - last)
            last = index

        frames = frames_with_boxes(
            args.source, boxes, rules.every, folder.next_frame, args.rate, limits, passed
        )
        for frame, inside in frames:
            modality = modality if modality is not None else detect_modality(frame.image)
            for box in inside:
                if crop := cut(frame, box, rules):
                    folder.add(crop, modality, args.start, args.camera, limits if frame.scaled else None)
        folder.done_until(last + 1)
    folder.finish()
    if boxes.last_frame > last + 1:
        warnings.warn(
            f"{as_text(args.boxes)} has boxes up to frame {boxes.last_frame}, but {as_text(args.source)} ends after "
            f"{last + 1}: was it cut off, or do they not belong together?",
            stacklevel=2,
        )


@contextlib.contextmanager
def _kept(folder: CropFolder) -> Iterator[None]:
    """What was done stays done when a run is interrupted or fails."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            folder.keep()
        raise


def _settings(args: argparse.Namespace, rules: CropRules) -> dict[str, Any]:
    """What decides the crops: a folder is continued only with the same."""
    return {
        "source": _digest(args.source),
        "boxes": hashlib.sha256(args.boxes.read_bytes()).hexdigest(),
        "rules": dataclasses.asdict(rules),
        **{
            name: getattr(args, name)
            for name in ("modality", "min_confidence", "camera", "start", "rate", "value_range")
        },
    }


def _detector_digest(source: str) -> str:
    """Of a folder its settings and weights; a Hub id stands for itself."""
    if not (folder := Path(source)).is_dir():
        return source
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.json"), *folder.glob("*.safetensors")]):
        with path.open("rb") as file:
            digest.update(path.name.encode())
            while block := file.read(_DIGESTED):
                digest.update(block)
    return digest.hexdigest()


def _digest(source: Path) -> str:
    """Of a video its size and beginning, of a folder the names, sizes and times of its images."""
    if source.is_dir():
        states = [(name, (source / name).stat()) for name in scan(source).images]
        told = "\n".join(f"{name} {state.st_size} {state.st_mtime_ns}" for name, state in states)
        return hashlib.sha256(told.encode(errors="surrogateescape")).hexdigest()
    with source.open("rb") as file:
        return f"{source.stat().st_size} {hashlib.sha256(file.read(_DIGESTED)).hexdigest()}"
