"""LLCM: training images listed in idx/, test images in test_vis|test_nir/cam1 ... cam9/IDENTITY/."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from mtrl.data.imageset import ImageSet
from mtrl.data.listing import (
    Sample,
    check_labels,
    identity_folder,
    images_of,
    in_order,
    open_root,
    read_ids,
    read_labels,
    scan_identities,
)
from mtrl.data.sources.source import Request, Source
from mtrl.data.sources.verify.files import note_one_modality, note_stray
from mtrl.data.sources.verify.report import Report, some
from mtrl.files.scan import PassedOver
from mtrl.models.config import Modality

LISTS = {Modality.VISIBLE: "train_vis.txt", Modality.INFRARED: "train_nir.txt"}
TEST_FOLDERS = {Modality.VISIBLE: "test_vis", Modality.INFRARED: "test_nir"}
# Camera 3 took no infrared images; in downloads its folder is empty or missing.
CAMERAS = {Modality.VISIBLE: tuple(range(1, 10)), Modality.INFRARED: (1, 2, 4, 5, 6, 7, 8, 9)}
LAYOUT = (*TEST_FOLDERS.values(), "idx")
_CAMERA_PART = re.compile(r"c([0-9]{1,3})")
PUBLISHED_IDS = {"train": 713, "test": 351}
PUBLISHED_IMAGES = {
    ("train", Modality.VISIBLE): 16946,
    ("train", Modality.INFRARED): 13975,
    ("test", Modality.VISIBLE): 8680,
    ("test", Modality.INFRARED): 7166,
}
_ADVICE = "unpack the download again: training images in vis and nir, test images in test_vis and test_nir"
_LISTS = "take the idx folder from the download"


def load(request: Request) -> dict[str, ImageSet]:
    """Reads the requested parts. Raises FileNotFoundError or ValueError that says what is missing or wrong."""
    base = open_root(request.root, LAYOUT, "llcm")
    check_disjoint(base)
    sets: dict[str, ImageSet] = {}
    if "train" in request.parts:
        sets["train"] = request.read(base, list_train(base), "training images")
    if "test" in request.parts:
        sets["test"] = request.read(base, list_test(base), "test images")
    return sets


def check_disjoint(root: Path) -> None:
    """Raises ValueError if an identity is in idx/test_id.txt and in a training list. Missing files are skipped."""
    tests, lists = root / "idx" / "test_id.txt", [root / "idx" / name for name in LISTS.values()]
    train = {identity_folder(path) for source in lists if source.is_file() for path, _ in read_labels(source)}
    common = sorted(train & set(read_ids(tests))) if tests.is_file() else []
    if common:
        raise ValueError(f"identity {common[0]} stands in the training lists and in {tests}")


def list_train(root: Path) -> list[Sample]:
    """The training images, as listed in idx/train_vis.txt and idx/train_nir.txt.

    An image's identity is the number of its folder. The labels must be contiguous, and the same in both lists for each
    identity. The camera is read from the file name (`0001_c01_...`); it is 0 if the name has none.
    """
    lists = {modality: root / "idx" / name for modality, name in LISTS.items()}
    listed = {source: read_labels(source) for source in lists.values()}
    check_labels(listed, identity_folder)
    return in_order(
        Sample(path, identity_folder(path), camera_of(path), modality)
        for modality, source in lists.items()
        for path, _ in listed[source]
    )


def list_test(root: Path) -> list[Sample]:
    """The images of the identities in idx/test_id.txt, camera by camera.

    Raises FileNotFoundError if a camera's folder is missing (except infrared camera 3, which has no images) or if all
    folders are empty.
    """
    wanted = set(read_ids(root / "idx" / "test_id.txt"))
    samples: list[Sample] = []
    for modality, top in TEST_FOLDERS.items():
        missing = [camera for camera in CAMERAS[modality] if not (root / top / f"cam{camera}").is_dir()]
        if missing:
            raise FileNotFoundError(
                f"{root / top} has no folder cam{missing[0]}; the test set needs cam"
                + ", cam".join(map(str, CAMERAS[modality]))
            )
        for camera in CAMERAS[modality]:
            for identity, paths in images_of(root, f"{top}/cam{camera}").items():
                if identity in wanted:
                    samples += [Sample(path, identity, camera, modality) for path in paths]
    if not samples:
        raise FileNotFoundError(
            f"no test image below {root}; expected files such as test_vis/cam1/0003/NAME.jpg"
        )
    return in_order(samples)


def camera_of(path: str) -> int:
    """The camera in a file name: 12 for `.../0003_c12_s185734_f3195_nir.jpg`; 0 if the name has no such part."""
    parts = PurePosixPath(path).stem.split("_")
    matches = [match for part in parts if (match := _CAMERA_PART.fullmatch(part))]
    return int(matches[0][1]) if matches else 0


def verify(root: Path, report: Report) -> list[Sample]:
    """Checks the files below `root`, adds what it finds to the report, and returns all images of both parts."""
    wanted = _test_ids(root, report)
    train, test = _check_train(root, report), _check_test(root, wanted, report)
    common = sorted({sample.identity for sample in train} & wanted)
    if common:
        report.problem(
            f"{len(common)} identities are in the training and in the test set: {some([str(i) for i in common])}",
            _LISTS,
        )
    note_one_modality(train, "training identities", report)
    note_one_modality(test, "test identities", report)
    return train + test


def _check_train(root: Path, report: Report) -> list[Sample]:
    listed: dict[Path, list[tuple[str, int]]] = {}
    samples: list[Sample] = []
    for modality, name in LISTS.items():
        path = root / "idx" / name
        try:
            listed[path] = read_labels(path)
        except (ValueError, OSError) as error:
            report.problem(str(error), _LISTS)
            continue
        lines = listed[path]
        report.count(
            f"train, {modality.name.lower()} images", len(lines), PUBLISHED_IMAGES["train", modality], _LISTS
        )
        missing = [image for image, _ in lines if not (root / image).exists()]
        if missing:
            report.problem(f"idx/{name}: {len(missing)} of its images are missing: {some(missing)}", _ADVICE)
        gone = set(missing)
        try:
            samples += [
                Sample(image, identity_folder(image), camera_of(image), modality)
                for image, _ in lines
                if image not in gone
            ]
        except ValueError as error:
            report.problem(f"idx/{name}: {error}", _LISTS)
    if len(listed) == len(LISTS):
        try:
            check_labels(listed, identity_folder)
        except ValueError as error:
            report.problem(str(error), _LISTS)
    report.count("train identities", len({s.identity for s in samples}), PUBLISHED_IDS["train"], _LISTS)
    nameless = sum(sample.camera == 0 for sample in samples)
    if nameless:
        report.note(f"{nameless} training images do not name their camera", "training does not need it")
    return samples


def _test_ids(root: Path, report: Report) -> set[int]:
    try:
        wanted = set(read_ids(root / "idx" / "test_id.txt"))
    except (ValueError, OSError) as error:
        report.problem(str(error), _LISTS)
        wanted = set()
    report.count("test identities", len(wanted), PUBLISHED_IDS["test"], _LISTS)
    return wanted


def _check_test(root: Path, wanted: set[int], report: Report) -> list[Sample]:
    samples: list[Sample] = []
    stray: list[PassedOver] = []
    for modality, top in TEST_FOLDERS.items():
        here: list[Sample] = []
        for camera in CAMERAS[modality]:
            images = _check_camera(root, f"{top}/cam{camera}", wanted, stray, report)
            here += [Sample(path, identity, camera, modality) for identity, path in images]
        report.count(f"{top} images", len(here), PUBLISHED_IMAGES["test", modality], _ADVICE)
        report.count(f"{top} gallery places", len({(s.identity, s.camera) for s in here}))
        samples += here
    extra = scan_identities(root, "test_nir/cam3")
    stray += extra.stray
    if extra.images:
        report.note("test_nir/cam3 holds images; the protocol has no infrared camera 3, they are not used")
    absent = sorted(wanted - {sample.identity for sample in samples})
    if absent:
        report.problem(
            f"{len(absent)} test identities have no image: {some([str(i) for i in absent])}", _ADVICE
        )
    note_stray(stray, report)
    return samples


def _check_camera(
    root: Path, folder: str, wanted: set[int], stray: list[PassedOver], report: Report
) -> list[tuple[int, str]]:
    """Checks the folder of one camera. Returns (identity, path) of its images of the `wanted` identities."""
    if not (root / folder).is_dir():
        report.problem(f"the folder {folder} is missing", _ADVICE)
        return []
    found = scan_identities(root, folder)
    stray += found.stray
    for error in found.errors:
        report.problem(error, "make the folder readable, and its name the only one of this number")
    if not found.images:
        report.gap(f"{folder} holds no images", _ADVICE)
    unlisted = sorted(set(found.images) - wanted)
    if unlisted and wanted:
        report.note(
            f"{folder}: {len(unlisted)} identities are not in idx/test_id.txt and are passed over: "
            + some([str(identity) for identity in unlisted])
        )
    images = [(i, path) for i, paths in found.images.items() if i in wanted for path in paths]
    report.count(f"{folder} images", len(images))
    return images


SOURCE = Source(load, "llcm", verify, LAYOUT, training={"": {"pretrained": True, "eval_every": 2}})
