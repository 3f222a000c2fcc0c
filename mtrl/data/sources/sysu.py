"""SYSU-MM01: cam1 ... cam6/IDENTITY/FRAME.jpg, identities of each part in exp/*.txt."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath

from mtrl.data.decode import image_set
from mtrl.data.imageset import ImageSet
from mtrl.data.listing import Sample, images_of, in_order, open_root, read_ids, scan_identities
from mtrl.data.sources.source import Request, Source
from mtrl.data.sources.verify.files import note_one_modality, note_stray
from mtrl.data.sources.verify.report import Report, some
from mtrl.files.scan import PassedOver
from mtrl.labels.names import whole_number
from mtrl.models.config import Modality

VISIBLE_CAMERAS = (1, 2, 4, 5)
INFRARED_CAMERAS = (3, 6)
CAMERAS = (1, 2, 3, 4, 5, 6)
LAYOUT = (*(f"cam{camera}" for camera in CAMERAS), "exp")
TRAIN_IDS = ("395", "296")
PUBLISHED_IDS = {"train": 296, "val": 99, "test": 96}
# Numbers of images of cameras 1 to 6. For the validation identities only the sums by modality are published.
PUBLISHED_IMAGES = {
    "train": (4721, 5753, 5929, 4821, 4989, 4000),
    "test": (1374, 1565, 1883, 1918, 1918, 1920),
}
PUBLISHED_TEST_IDS = (56, 56, 93, 94, 95, 96)
PUBLISHED_VALIDATION = {"visible": 1974, "infrared": 1980}
_LARGEST_FRAME = 9999  # frame numbers have four digits
_ADVICE = "unpack the download again; every image stands in camC/IDENTITY/FRAME.jpg"


def load(request: Request) -> dict[str, ImageSet]:
    """Reads the requested parts.

    `request.train_ids` "395" trains on the training and validation identities together, as published results do.
    "296" trains on the training identities, and gives the 99 validation identities as "validation". Raises
    FileNotFoundError or ValueError that says what is missing or wrong.
    """
    if request.train_ids not in TRAIN_IDS:
        raise ValueError(f"train_ids must be one of {', '.join(TRAIN_IDS)}, not {request.train_ids!r}")
    base = open_root(request.root, LAYOUT, "sysu")
    split = read_split(base)
    sets: dict[str, ImageSet] = {}
    if "train" in request.parts:
        # Training identities first: with 296 of them, training and validation are two views of one cache.
        train, validation = (list_samples(base, split[part]) for part in ("train", "val"))
        pixels = request.decode(base, [sample.path for sample in train + validation], "training images")
        if request.train_ids == "395":
            sets["train"] = image_set(pixels, train + validation, request.on_bad)
        else:
            sets["validation"] = image_set(pixels, validation, request.on_bad)
            sets["train"] = image_set(pixels, train, request.on_bad)
    if "test" in request.parts:
        sets["test"] = request.read(base, list_samples(base, split["test"]), "test images")
    return sets


def read_split(root: Path) -> dict[str, list[int]]:
    """Reads exp/: {"train": identities, "val": identities, "test": identities}, each ascending.

    Raises ValueError if two parts share an identity.
    """
    split = {part: read_ids(root / "exp" / f"{part}_id.txt") for part in ("train", "val", "test")}
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        common = sorted(set(split[first]) & set(split[second]))
        if common:
            raise ValueError(
                f"identity {common[0]} stands in exp/{first}_id.txt and in exp/{second}_id.txt of {root}"
            )
    return split


def list_samples(root: Path, identities: Collection[int]) -> list[Sample]:
    """The images of some identities in all cameras. An identity need not have a folder in every camera.

    Raises FileNotFoundError if there is no image at all.
    """
    wanted = set(identities)
    samples = []
    for camera in CAMERAS:
        for identity, paths in images_of(root, f"cam{camera}").items():
            if identity in wanted:
                samples += [Sample(path, identity, camera, modality_of(camera)) for path in paths]
    if not samples:
        raise FileNotFoundError(
            f"no image of {len(wanted)} identities below {root}; expected files such as cam1/0001/0001.jpg"
        )
    return in_order(samples)


def modality_of(camera: int) -> Modality:
    """The modality of a camera's images: cameras 3 and 6 are infrared."""
    return Modality.INFRARED if camera in INFRARED_CAMERAS else Modality.VISIBLE


def verify(root: Path, report: Report) -> list[Sample]:
    """Checks the files below `root`, adds what it finds to the report, and returns all images of the three parts."""
    split = _identities(root, report)
    samples: dict[str, list[Sample]] = {part: [] for part in split}
    stray: list[PassedOver] = []
    for camera in CAMERAS:
        if not (root / f"cam{camera}").is_dir():
            report.problem(f"the folder cam{camera} is missing", _ADVICE)
            continue
        found = scan_identities(root, f"cam{camera}")
        stray += found.stray
        for error in found.errors:
            report.problem(error, "make the folder readable, and its name the only one of this number")
        if not found.images:
            report.gap(f"cam{camera} holds no images", _ADVICE)
        for part, identities in split.items():
            for identity in identities & found.images.keys():
                samples[part] += [
                    Sample(p, identity, camera, modality_of(camera)) for p in found.images[identity]
                ]
    for part, images in samples.items():
        _count(part, images, report)
        _absent(part, split[part], images, report)
        note_one_modality(images, f"{part} identities", report)
    note_stray(stray, report)
    _optional(root, report)
    return [sample for images in samples.values() for sample in images]


def _identities(root: Path, report: Report) -> dict[str, set[int]]:
    split: dict[str, set[int]] = {}
    for part, published in PUBLISHED_IDS.items():
        path = root / "exp" / f"{part}_id.txt"
        try:
            split[part] = set(read_ids(path))
        except (ValueError, OSError) as error:
            report.problem(str(error), f"copy exp/{part}_id.txt from the download")
            split[part] = set()
            continue
        report.count(f"{part} identities", len(split[part]), published, f"compare {path} with the download's")
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        common = sorted(split[first] & split[second])
        if common:
            report.problem(
                f"{len(common)} identities stand in exp/{first}_id.txt and in exp/{second}_id.txt: "
                f"{some([str(identity) for identity in common])}",
                "take both files from the download",
            )
    return split


def _count(part: str, samples: list[Sample], report: Report) -> None:
    if part == "val":
        for name, cameras in (("visible", VISIBLE_CAMERAS), ("infrared", INFRARED_CAMERAS)):
            count = sum(sample.camera in cameras for sample in samples)
            report.count(f"val, {name} images", count, PUBLISHED_VALIDATION[name], _ADVICE)
        return
    for camera, published in zip(CAMERAS, PUBLISHED_IMAGES[part], strict=True):
        here = [sample for sample in samples if sample.camera == camera]
        fits = report.count(f"{part}, cam{camera} images", len(here), published, _ADVICE)
        if not fits and len(here) < published:
            _gaps(here, f"{part}, cam{camera}", report)
        if part == "test":
            identities = len({sample.identity for sample in here})
            expected = PUBLISHED_TEST_IDS[camera - 1]
            report.count(f"test, cam{camera} identities", identities, expected, _ADVICE)


def _absent(part: str, identities: Iterable[int], samples: list[Sample], report: Report) -> None:
    absent = sorted(set(identities) - {sample.identity for sample in samples})
    if absent:
        names = some([f"{identity:04d}" for identity in absent])
        report.problem(f"{len(absent)} {part} identities have no image in any camera: {names}", _ADVICE)


def _gaps(samples: list[Sample], where: str, report: Report) -> None:
    """Notes missing files. Frames are numbered from 1 in every folder, so a gap in the numbers is a missing file."""
    folders: dict[str, set[int]] = {}
    for sample in samples:
        path = PurePosixPath(sample.path)
        number = whole_number(path.stem)
        if number is not None and number <= _LARGEST_FRAME:
            folders.setdefault(str(path.parent), set()).add(number)
    gaps = [
        f"{folder}/{number:04d}"
        for folder, numbers in sorted(folders.items())
        for number in sorted(set(range(1, max(numbers) + 1)) - numbers)
    ]
    if gaps:
        report.note(f"{where}: gaps in the frame numbers at {some(gaps)}", "these files are probably missing")


def _optional(root: Path, report: Report) -> None:
    if not (root / "exp" / "rand_perm_cam.mat").is_file():
        report.note(
            "exp/rand_perm_cam.mat is not there",
            "only --gallery official needs it; it is in the official evaluation kit, not in the download",
        )
    arrays = sorted(path.name for path in root.glob("*.npy"))
    if arrays:
        report.note(f"other programs' arrays are here and are not used: {some(arrays)}")


SOURCE = Source(load, "sysu", verify, LAYOUT, training={"": {"pretrained": True, "eval_every": 2}})
