"""A user's own images: folders ROOT/train|query|gallery/visible|infrared/IDENTITY/, or a table that lists them."""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from mtrl.data.imageset import ImageSet
from mtrl.data.listing import BOTH, GALLERY, QUERY, Sample, in_order, warn_of_images
from mtrl.data.sources.source import Request
from mtrl.files.filenames import as_text, expanded, some_of
from mtrl.files.scan import PassedOver, Scan, report, scan
from mtrl.files.table import Row as Line
from mtrl.files.table import read_table as read_lines
from mtrl.files.table import whole_decimal
from mtrl.labels.names import canonical, whole_number
from mtrl.models.config import Modality

SPLITS = ("train", "query", "gallery", "test")
SUBSETS = {"train": BOTH, "query": QUERY, "gallery": GALLERY, "test": BOTH}
MODALITIES = {"visible": Modality.VISIBLE, "infrared": Modality.INFRARED}
TABLES = ("manifest.csv", "manifest.parquet")
COLUMNS = ("path", "identity", "modality", "split")
LAYOUT_HELP = (
    "expected train, query and gallery folders with visible/IDENTITY/*.jpg and infrared/IDENTITY/*.jpg in each, "
    "or a manifest.csv with the columns path, identity, camera, modality, split"
)


@dataclasses.dataclass(frozen=True)
class Row:
    """One image as the user named it. `camera` may be empty; `where` is its line in a table, for errors."""

    path: str
    identity: str
    camera: str
    modality: Modality
    split: str
    where: str = ""


def load(request: Request) -> dict[str, ImageSet]:
    """The user's own data below the root, or listed in the table that the root is (CSV or Parquet).

    Query and gallery images together are the test set, evaluated as RegDB is: every query is compared with every
    gallery image of the other modality, and none is skipped, whatever its camera. In a table, images of the split
    "test" are both. The image of a person is found among images of the same identity name.

    Raises FileNotFoundError or ValueError that says what is missing or wrong; ImportError for a Parquet table
    without a reader.
    """
    root = request.root
    if root is None:
        raise ValueError(f"a folder of your own needs --data-root DIR: {LAYOUT_HELP}")
    base, rows = list_rows(expanded(root))
    samples = to_samples(rows)
    common = shared_identities(samples)
    if common:
        names = ", ".join(common[:10]) + ", ..." * (len(common) > 10)
        warnings.warn(
            f"{len(common)} identities of {root} stand in training and in query or gallery: {names}; figures on people "
            "seen in training are too good, unless these names mean different people",
            stacklevel=2,
        )
    sets: dict[str, ImageSet] = {}
    for part, what in (("train", "training images"), ("test", "query and gallery images")):
        if part in request.parts:
            if not samples[part]:
                raise FileNotFoundError(f"{root} has no {what}; {LAYOUT_HELP}")
            sets[part] = request.read(base, samples[part], what)
    return sets


def shared_identities(samples: Mapping[str, Sequence[Sample]]) -> list[str]:
    """Names of the identities that are trained on and tested on, as `to_samples` gives them, sorted."""
    names = {sample.identity: sample.shown_identity for sample in samples["train"]}
    return sorted(names[i] for i in names.keys() & {sample.identity for sample in samples["test"]})


def list_rows(root: Path) -> tuple[Path, list[Row]]:
    """(folder that paths start from, rows): from a table, from a table in the folder, or from the folders."""
    if root.is_file():
        return root.parent, read_table(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} does not exist; {LAYOUT_HELP}")
    tables = [root / name for name in TABLES if (root / name).is_file()]
    if len(tables) > 1:
        raise ValueError(f"{root} holds {' and '.join(TABLES)}: name the one to use with --data-root")
    if tables:
        return root, read_table(tables[0])
    rows, found = scan_tree(root)
    if found.errors:
        raise OSError(some_of(found.errors))
    if not rows:
        left_out = "".join(f"; {line}" for line in report(found.passed_over))
        raise FileNotFoundError(f"no images in {root}; {LAYOUT_HELP}{left_out}")
    warn_of_images(root, found.passed_over)
    return root, rows


def scan_tree(root: Path) -> tuple[list[Row], Scan]:
    """The images of the folders, and whatever else stands there.

    Identities are the names of the folders directly below visible and infrared; folders in these are read too.
    """
    rows: list[Row] = []
    whole = Scan()
    for split in ("train", "query", "gallery"):
        for name, modality in MODALITIES.items():
            top = f"{split}/{name}"
            found = scan(root, top)
            for path in found.images:
                identity, _, rest = path.removeprefix(f"{top}/").partition("/")
                if rest:
                    rows.append(Row(path, as_text(identity), "", modality, split))
                else:
                    whole.passed_over.append(PassedOver(path, "not in the folder of an identity", image=True))
            whole.passed_over.extend(found.passed_over)
            whole.errors.extend(found.errors)
    return rows, whole


def read_table(path: Path) -> list[Row]:
    """The rows of a CSV or Parquet table with the columns path, identity, modality, split and perhaps camera.

    Paths are absolute or start from the table's folder. Raises ValueError naming the row, and as
    `mtrl.files.table.read_table`.
    """
    return [_row(line) for line in read_lines(path, COLUMNS, ("camera",))]


def to_samples(rows: Iterable[Row]) -> dict[str, list[Sample]]:
    """{"train", "test": samples in order}.

    Identity names that are all numbers keep them; otherwise each name's place in the sorted list is its number.
    The samples keep the names beside the numbers. Names are equal if their composed forms are; 7 and 007 are two.
    Cameras likewise, from 1 on; without any, visible images have camera 1 and infrared ones camera 2, or the
    next odd or even number that no named camera has.
    An image listed as query and as gallery is both. Raises ValueError for an image listed twice otherwise.
    """
    rows = list(rows)
    identities = _numbers({row.identity for row in rows})
    _warn_alike(identities)
    cameras = _numbers({row.camera for row in rows if row.camera}, start=1)
    listed: dict[tuple[str, str], Sample] = {}
    unnamed = {m: _first_free(int(m) + 1, set(cameras.values())) for m in Modality}
    for row in rows:
        part = "train" if row.split == "train" else "test"
        sample = Sample(
            row.path,
            identities[canonical(row.identity)],
            cameras[canonical(row.camera)] if row.camera else unnamed[row.modality],
            row.modality,
            SUBSETS[row.split],
            row.identity,
            row.camera,
        )
        before = listed.get((part, row.path))
        if before is not None:
            same = dataclasses.replace(before, subset=sample.subset) == sample
            if not same or part == "train" or {before.subset, sample.subset} != {QUERY, GALLERY}:
                people = " and ".join(dict.fromkeys((before.shown_identity, sample.shown_identity)))
                where = f"{row.where}: " if row.where else ""
                raise ValueError(f"{where}{row.path} is listed twice, as a {row.split} image of {people}")
            sample = dataclasses.replace(sample, subset=BOTH)
        listed[part, row.path] = sample
    return {
        part: in_order(sample for (where, _), sample in listed.items() if where == part)
        for part in ("train", "test")
    }


def _row(line: Line) -> Row:
    modality, split = line["modality"].lower(), line["split"].lower()
    if modality not in MODALITIES:
        raise ValueError(f'{line.where}: modality must be "visible" or "infrared", not {line["modality"]!r}')
    if split not in SPLITS:
        raise ValueError(f"{line.where}: split must be one of {', '.join(SPLITS)}, not {line['split']!r}")
    camera = whole_decimal(line["camera"])
    return Row(line["path"], line["identity"], camera, MODALITIES[modality], split, line.where)


def _numbers(names: Collection[str], start: int = 0) -> dict[str, int]:
    """{composed form of a name: its number}: the number that it is, where all are different numbers."""
    forms = {canonical(name) for name in names}
    numbers = {form: number for form in forms if (number := whole_number(form)) is not None}
    if len(numbers) == len(forms) == len(set(numbers.values())):
        return numbers
    return {form: number for number, form in enumerate(sorted(forms), start)}


def _warn_alike(names: Collection[str]) -> None:
    """Warns of names that are different people here, and probably one in fact: 7 and 007, Anna and anna."""
    groups: dict[int | str, list[str]] = defaultdict(list)
    for name in sorted(names):
        number = whole_number(name)
        groups[name.casefold() if number is None else number].append(name)
    alike = [" and ".join(group) for group in groups.values() if len(group) > 1]
    if alike:
        shown = "; ".join(alike[:5]) + ("; ..." if len(alike) > 5 else "")
        warnings.warn(f"these identities are taken for different people: {shown}", stacklevel=3)


def _first_free(start: int, taken: Collection[int]) -> int:
    return next(number for number in itertools.count(start, 2) if number not in taken)
