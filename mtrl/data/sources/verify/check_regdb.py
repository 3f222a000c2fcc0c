"""Is this RegDB, whole, with its ten splits?"""

from __future__ import annotations

from pathlib import Path

from mtrl.data.listing import Sample, check_labels, identity_folder, read_labels, scan_identities
from mtrl.data.sources.regdb import CAMERAS, FOLDERS, TRIALS, list_name
from mtrl.data.sources.verify.files import note_one_modality, note_stray
from mtrl.data.sources.verify.report import Report, some
from mtrl.files.scan import PassedOver
from mtrl.models.config import Modality

PUBLISHED_IDS = 412
PUBLISHED_PER_IDENTITY = 10
PUBLISHED_SPLIT = 206
_ADVICE = "unpack the download again; every image stands in Visible/ID/NAME.bmp or Thermal/ID/NAME.bmp"
_LISTS = "take the idx folder from the download, or from another copy of the data set"


def check(root: Path, report: Report) -> list[Sample]:
    """Fills the report and returns all images of the data set."""
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
    """An image that stands in a list only, such as one with an ending that `scan_identities` does not take."""
    modality = Modality.INFRARED if path.startswith(FOLDERS[Modality.INFRARED]) else Modality.VISIBLE
    return Sample(path, identity_folder(path), CAMERAS[modality], modality)


def _check_trial(root: Path, trial: int, present: set[str], report: Report) -> bool:
    """True when the trial can be loaded. Listed files that exist are added to `present`."""
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
    """The identities that a pair of lists names."""
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
