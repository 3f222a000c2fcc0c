"""RegDB: Visible/ID/*.bmp and Thermal/ID/*.bmp, with ten splits of the identities in idx/*.txt."""

from __future__ import annotations

from pathlib import Path

from mtrl.data.decode import image_set
from mtrl.data.imageset import ImageSet
from mtrl.data.listing import (
    Sample,
    check_labels,
    identity_folder,
    images_of,
    in_order,
    open_root,
    read_labels,
    scan_identities,
)
from mtrl.data.sources.source import Request, Source
from mtrl.data.sources.verify.files import note_one_modality, note_stray
from mtrl.data.sources.verify.report import Report, some
from mtrl.files.scan import PassedOver
from mtrl.models.config import Modality

FOLDERS = {Modality.VISIBLE: "Visible", Modality.INFRARED: "Thermal"}
CAMERAS = {Modality.VISIBLE: 1, Modality.INFRARED: 2}
LAYOUT = (*FOLDERS.values(), "idx")
TRIALS = tuple(range(1, 11))
PUBLISHED_IDS = 412
PUBLISHED_PER_IDENTITY = 10
PUBLISHED_SPLIT = 206
_ADVICE = "unpack the download again; every image stands in Visible/ID/NAME.bmp or Thermal/ID/NAME.bmp"
_LISTS = "take the idx folder from the download, or from another copy of the data set"


def load(request: Request) -> dict[str, ImageSet]:
    """Reads the requested parts of the split `request.trial`, 1 to 10.

    All splits share one cached array of the whole data set; the images of a split are copied from it into memory.
    Raises FileNotFoundError or ValueError that says what is missing or wrong.
    """
    base, trial = open_root(request.root, LAYOUT, "regdb"), request.trial
    samples = {part: list_samples(base, part, trial) for part in ("train", "test")}
    common = {s.identity for s in samples["train"]} & {s.identity for s in samples["test"]}
    if common:
        raise ValueError(f"identity {min(common)} stands in the training and the test lists of trial {trial}")
    paths = {path for folder in FOLDERS.values() for p in images_of(base, folder).values() for path in p}
    listed = {sample.path for part in samples.values() for sample in part}
    pixels = request.decode(base, sorted(paths | listed))
    return {
        part: image_set(pixels, images, request.on_bad)
        for part, images in samples.items()
        if part in request.parts
    }


def list_samples(root: Path, part: str, trial: int) -> list[Sample]:
    """The images listed in idx/PART_visible_TRIAL.txt and idx/PART_thermal_TRIAL.txt.

    An image's identity is the number of its folder. The labels in the lists must be contiguous, one per identity, and
    the same in both modalities. Raises FileNotFoundError for a missing list, and ValueError for a wrong one.
    """
    if trial not in TRIALS:
        raise ValueError(f"trial must be 1 to 10, not {trial}")
    lists = {modality: root / "idx" / list_name(part, modality, trial) for modality in FOLDERS}
    listed = {source: read_labels(source) for source in lists.values()}
    check_labels(listed, identity_folder)
    return in_order(
        Sample(path, identity_folder(path), CAMERAS[modality], modality)
        for modality, source in lists.items()
        for path, _ in listed[source]
    )


def list_name(part: str, modality: Modality, trial: int) -> str:
    """File name of a list, such as `train_visible_1.txt`."""
    return f"{part}_{FOLDERS[modality].lower()}_{trial}.txt"


def verify(root: Path, report: Report) -> list[Sample]:
    """Checks the files below `root`, adds what it finds to the report, and returns all images of the data set."""
    samples: list[Sample] = []
    stray: list[PassedOver] = []
    for modality, folder in FOLDERS.items():
        if not (root / folder).is_dir():
            report.problem(f"the folder {folder} is missing", _ADVICE)
            continue
        found = scan_identities(root, folder)
        stray += found.stray
        for error in found.errors:
            report.problem(error, "make the folder readable, and its name the only one of this number")
        for identity, paths in found.images.items():
            samples += [Sample(path, identity, CAMERAS[modality], modality) for path in paths]
        report.count(f"{folder} identities", len(found.images), PUBLISHED_IDS, _ADVICE)
        total = sum(map(len, found.images.values()))
        if not report.count(f"{folder} images", total, PUBLISHED_IDS * PUBLISHED_PER_IDENTITY, _ADVICE):
            odd = [
                f"{folder}/{identity} ({len(paths)})"
                for identity, paths in found.images.items()
                if len(paths) != PUBLISHED_PER_IDENTITY
            ]
            report.note(f"folders without exactly {PUBLISHED_PER_IDENTITY} images: {some(odd) or 'none'}")
    note_one_modality(samples, "identities", report)
    note_stray(stray, report)
    present = {sample.path for sample in samples}
    trials = [trial for trial in TRIALS if _check_trial(root, trial, present, report)]
    samples += [_sample(path) for path in sorted(present - {sample.path for sample in samples})]
    report.counts.append(("usable trials", len(trials), len(TRIALS)))
    return samples


def _sample(path: str) -> Sample:
    """The sample of an image that is only in a list, for instance because `scan_identities` skips its file format."""
    modality = Modality.INFRARED if path.startswith(FOLDERS[Modality.INFRARED]) else Modality.VISIBLE
    return Sample(path, identity_folder(path), CAMERAS[modality], modality)


def _check_trial(root: Path, trial: int, present: set[str], report: Report) -> bool:
    """Checks the lists of a trial. Returns whether it can be loaded. Adds the listed files that exist to `present`."""
    before = len(report.problems)
    identities: dict[str, set[int]] = {}
    for part in ("train", "test"):
        listed: dict[Path, list[tuple[str, int]]] = {}
        for modality in FOLDERS:
            path = root / "idx" / list_name(part, modality, trial)
            try:
                listed[path] = read_labels(path)
            except (ValueError, OSError) as error:
                report.problem(str(error), _LISTS)
        if len(listed) == len(FOLDERS):
            identities[part] = _check_lists(root, listed, present, report)
    if len(identities) == 2:
        common = identities["train"] & identities["test"]
        if common:
            report.problem(
                f"trial {trial}: {len(common)} identities are in both training and test lists: "
                f"{some([str(identity) for identity in sorted(common)])}",
                _LISTS,
            )
        for part, ids in identities.items():
            if report.compare_counts and len(ids) != PUBLISHED_SPLIT:
                report.problem(
                    f"trial {trial}: {len(ids)} {part} identities, {PUBLISHED_SPLIT} published", _LISTS
                )
    return len(report.problems) == before


def _check_lists(
    root: Path, listed: dict[Path, list[tuple[str, int]]], present: set[str], report: Report
) -> set[int]:
    """Checks a pair of lists, one per modality. Returns the identities in them."""
    try:
        check_labels(listed, identity_folder)
    except ValueError as error:
        report.problem(str(error), _LISTS)
        return set()
    for (path, lines), modality in zip(listed.items(), FOLDERS, strict=True):
        name = path.relative_to(root).as_posix()
        present.update(image for image, _ in lines if image not in present and (root / image).is_file())
        missing = [image for image, _ in lines if image not in present]
        if missing:
            report.problem(f"{name}: {len(missing)} of its images are missing: {some(missing)}", _ADVICE)
        published = PUBLISHED_SPLIT * PUBLISHED_PER_IDENTITY
        if report.compare_counts and len(lines) != published:
            report.problem(f"{name} lists {len(lines)} images, {published} published", _LISTS)
        wrong = [image for image, _ in lines if not image.startswith(f"{FOLDERS[Modality(modality)]}/")]
        if wrong:
            report.problem(f"{name} lists images of another folder: {some(wrong)}", _LISTS)
    return {identity_folder(image) for lines in listed.values() for image, _ in lines}


SOURCE = Source(
    load, "regdb", verify, LAYOUT, splits=TRIALS, training={"": {"pretrained": True, "eval_every": 5}}
)
