"""Is this LLCM, whole?"""

from __future__ import annotations

from pathlib import Path

from mtrl.data.listing import (
    Sample,
    check_labels,
    identity_folder,
    read_ids,
    read_labels,
    scan_identities,
)
from mtrl.data.sources.llcm import CAMERAS, LISTS, TEST_FOLDERS, camera_of
from mtrl.data.sources.verify.files import note_one_modality, note_stray
from mtrl.data.sources.verify.report import Report, some
from mtrl.files.scan import PassedOver
from mtrl.models.config import Modality

PUBLISHED_IDS = {"train": 713, "test": 351}
PUBLISHED_IMAGES = {
    ("train", Modality.VISIBLE): 16946,
    ("train", Modality.INFRARED): 13975,
    ("test", Modality.VISIBLE): 8680,
    ("test", Modality.INFRARED): 7166,
}
_ADVICE = "unpack the download again: training images in vis and nir, test images in test_vis and test_nir"
_LISTS = "take the idx folder from the download"


def check(root: Path, report: Report) -> list[Sample]:
    """Fills the report and returns all images of both parts."""
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
    """(identity, path) of a camera's test images."""
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
