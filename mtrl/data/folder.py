"""A user's own images: folders ROOT/train|query|gallery/visible|infrared/IDENTITY/, or a table that lists them."""

from __future__ import annotations

import csv
import dataclasses
import importlib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from mtrl.config import Modality
from mtrl.data.decode import empty_set, load_images
from mtrl.data.imageset import ReIDData
from mtrl.data.listing import BOTH, GALLERY, QUERY, Sample, Scan, in_order, scan_images
from mtrl.levels import ValueRange

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
    """One image as the user named it. `camera` may be empty."""

    path: str
    identity: str
    camera: str
    modality: Modality
    split: str


def load(
    root: str | Path | None,
    *,
    image_size: tuple[int, int] = (288, 144),
    cache_dir: str | Path | None = None,
    parts: Collection[str] = ("train", "test"),
    on_bad: str = "error",
    value_range: ValueRange | None = None,
) -> ReIDData:
    """The user's own data below `root`, or listed in the table `root` (CSV or Parquet).

    Query and gallery images together are the test set, evaluated as RegDB is: every query is compared with every
    gallery image of the other modality, and none is skipped, whatever its camera. In a table, images of the split
    "test" are both. The image of a person is found among images of the same identity name.

    `value_range` scales images of more than 8 bits, as in `read_image`.

    Raises FileNotFoundError or ValueError that says what is missing or wrong; ImportError for a Parquet table
    without a reader.
    """
    if root is None:
        raise ValueError(f"a folder of your own needs --data-root DIR: {LAYOUT_HELP}")
    base, rows = list_rows(Path(root).expanduser())
    samples = to_samples(rows)
    images = {"train": empty_set(image_size), "test": empty_set(image_size)}
    for part, what in (("train", "training images"), ("test", "query and gallery images")):
        if part in parts:
            if not samples[part]:
                raise FileNotFoundError(f"{root} has no {what}; {LAYOUT_HELP}")
            images[part] = load_images(
                base, samples[part], image_size, cache_dir, on_bad=on_bad, what=what, value_range=value_range
            )
    return ReIDData("folder", "regdb", images["train"], images["test"])


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
        raise OSError(found.errors[0])
    if not rows:
        raise FileNotFoundError(f"no images in {root}; {LAYOUT_HELP}")
    return root, rows


def scan_tree(root: Path) -> tuple[list[Row], Scan]:
    """The images of the folders, and whatever else stands there. Identities are the folders' names."""
    rows: list[Row] = []
    found = Scan({}, [], [])
    for split in ("train", "query", "gallery"):
        for name, modality in MODALITIES.items():
            top = f"{split}/{name}"
            for folder in sorted(path for path in _children(root / top, found) if path.is_dir()):
                paths = scan_images(root, f"{top}/{folder.name}", found)
                rows += [Row(path, folder.name, "", modality, split) for path in paths]
            found.stray.extend(
                f"{top}/{path.name}" for path in _children(root / top, found) if not path.is_dir()
            )
    return rows, found


def read_table(path: Path) -> list[Row]:
    """The rows of a CSV or Parquet table with the columns path, identity, modality, split and perhaps camera.

    Paths are absolute or start from the table's folder. Raises ValueError naming the row.
    """
    if path.suffix.lower() == ".parquet":
        records: Iterable[Mapping[str, Any]] = _read_parquet(path)
    elif path.suffix.lower() == ".csv":
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                records = list(csv.DictReader(file, strict=True))
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not a readable CSV table: {error}") from error
    else:
        raise ValueError(f"{path} must be a .csv or .parquet table, or a folder")
    rows = [_row(record, f"{path}, row {number}") for number, record in enumerate(records, 1)]
    if not rows:
        raise ValueError(f"{path} lists no images")
    return rows


def to_samples(rows: Iterable[Row]) -> dict[str, list[Sample]]:
    """{"train", "test": samples in order}.

    Identity names that are all numbers keep them; otherwise each name's place in the sorted list is its number.
    Cameras likewise, from 1 on; without any, visible images have camera 1 and infrared ones camera 2.
    An image listed as query and as gallery is both. Raises ValueError for an image listed twice otherwise.
    """
    rows = list(rows)
    identities = _numbers({row.identity for row in rows})
    cameras = _numbers({row.camera for row in rows if row.camera}, start=1)
    listed: dict[tuple[str, str], Sample] = {}
    for row in rows:
        part = "train" if row.split == "train" else "test"
        camera = cameras[row.camera] if row.camera else int(row.modality) + 1
        sample = Sample(row.path, identities[row.identity], camera, row.modality, SUBSETS[row.split])
        before = listed.get((part, row.path))
        if before is not None:
            same = dataclasses.replace(before, subset=sample.subset) == sample
            if not same or part == "train" or {before.subset, sample.subset} != {QUERY, GALLERY}:
                raise ValueError(f"{row.path} is listed twice")
            sample = dataclasses.replace(sample, subset=BOTH)
        listed[part, row.path] = sample
    return {
        part: in_order(sample for (where, _), sample in listed.items() if where == part)
        for part in ("train", "test")
    }


def _row(record: Mapping[str, Any], where: str) -> Row:
    if None in record or None in record.values():
        raise ValueError(f"{where}: the number of columns differs from the first line's")
    values = {str(key).strip().lower(): str(value).strip() for key, value in record.items()}
    missing = [name for name in COLUMNS if name not in values]
    if missing:
        raise ValueError(
            f"{where}: no column {', '.join(missing)}; needed are {', '.join(COLUMNS)}, and camera if known"
        )
    empty = [name for name in COLUMNS if not values[name]]
    if empty:
        raise ValueError(f"{where}: {', '.join(empty)} is empty")
    modality, split = values["modality"].lower(), values["split"].lower()
    if modality not in MODALITIES:
        raise ValueError(f'{where}: modality must be "visible" or "infrared", not {values["modality"]!r}')
    if split not in SPLITS:
        raise ValueError(f"{where}: split must be one of {', '.join(SPLITS)}, not {values['split']!r}")
    path = values["path"].replace("\\", "/")
    return Row(path, values["identity"], values.get("camera", ""), MODALITIES[modality], split)


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    try:
        reader = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise ImportError(
            f"reading {path} needs pyarrow: python -m pip install pyarrow, or save the table as CSV"
        ) from None
    try:
        records: list[dict[str, Any]] = reader.read_table(path).to_pylist()
    except (OSError, ValueError) as error:  # pyarrow's own errors are these
        raise ValueError(f"{path} is not a readable Parquet table: {error}") from error
    return [{key: _cell(value) for key, value in record.items()} for record in records]


def _cell(value: Any) -> Any:
    """A cell as CSV would hold it: nothing for an empty one; a column of integers with gaps comes as floats."""
    if value is None or value != value:
        return ""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _numbers(names: Collection[str], start: int = 0) -> dict[str, int]:
    numbers = {name: int(name) for name in names if name.isascii() and name.isdecimal()}
    if len(numbers) == len(names) == len(set(numbers.values())):
        return numbers
    return {name: number for number, name in enumerate(sorted(names), start)}


def _children(folder: Path, found: Scan) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        found.errors.append(f"{folder} cannot be read: {error.strerror}")
        return []
