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
    """One image with the names that the user gave. `camera` may be empty; `where` is its table row, for errors."""

    path: str
    identity: str
    camera: str
    modality: Modality
    split: str
    where: str = ""


def load(request: Request) -> dict[str, ImageSet]:
    """Reads the user's own data. The root is a folder of images, or a CSV or Parquet table that lists them.

    Query and gallery images together are the test set, evaluated by RegDB's rules: every query is compared with every
    gallery image of the other modality, whatever its camera. Images of the split "test" (only in tables) are query and
    gallery at once. Images show the same person if their identity names are equal.

    Raises FileNotFoundError or ValueError that says what is missing or wrong, and ImportError for a Parquet table if
    no Parquet reader is installed.
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
    """Names of identities that are both in the training and in the test samples, sorted. See `to_samples`."""
    names = {sample.identity: sample.shown_identity for sample in samples["train"]}
    return sorted(names[i] for i in names.keys() & {sample.identity for sample in samples["test"]})


def list_rows(root: Path) -> tuple[Path, list[Row]]:
    """Lists a root's images: (folder that relative paths start from, rows).

    The root is a table, a folder with a table in it, or a folder tree of images. Raises FileNotFoundError, OSError or
    ValueError for a root that is missing, unreadable, empty or ambiguous.
    """
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
    """Lists the images of a folder tree, and a record of the other files found.

    An identity is a folder directly below `visible` or `infrared`. Its own subfolders are read too.
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
    """Reads a CSV or Parquet table with the columns path, identity, modality, split and, optionally, camera.

    Paths are absolute or relative to the table's folder. Raises ValueError that names the row, and the errors of
    `mtrl.files.table.read_table`.
    """
    return [_row(line) for line in read_lines(path, COLUMNS, ("camera",))]


def to_samples(rows: Iterable[Row]) -> dict[str, list[Sample]]:
    """Turns rows into samples in order: {"train": [...], "test": [...]}.

    Identities  If all names are different numbers, these are the labels. Otherwise the names are sorted and numbered
                from 0. Names are equal if their Unicode NFC forms are; 7 and 007 are two names. Samples keep the names.
    Cameras     As identities, but numbered from 1. A visible image without a camera gets camera 1, an infrared one
                camera 2, or the next odd or even number that no named camera has.
    An image listed as query and as gallery is both. Raises ValueError for an image listed twice in any other way.
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
    """{NFC form of a name: its label}. See `to_samples` for the rule; sorted names are numbered from `start`."""
    forms = {canonical(name) for name in names}
    numbers = {form: number for form in forms if (number := whole_number(form)) is not None}
    if len(numbers) == len(forms) == len(set(numbers.values())):
        return numbers
    return {form: number for number, form in enumerate(sorted(forms), start)}


def _warn_alike(names: Collection[str]) -> None:
    """Warns of names that count as different people but look like one: 7 and 007, Anna and anna."""
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
