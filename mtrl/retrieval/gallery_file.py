"""A gallery on disk: a JSON table of labels, and a safetensors file of features named by its checksum."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mtrl.files.atomic import write_atomically
from mtrl.files.file_state import file_state
from mtrl.files.tensor_file import tensor_bytes, tensor_digest
from mtrl.files.untrusted import FLOATS, open_tensors, outline, parse_json, read_limited

FORMAT = "mtrl-gallery-1"
FORMAT_2 = "mtrl-gallery-2"  # with modalities or tracks, which earlier versions do not know
TABLE = "gallery.json"
_SHA256 = re.compile("[0-9a-f]{64}")
# Limits on the size of a table: its labels take at most so many bytes, plus ten times those of the features.
_SPARE_BYTES, _PER_BYTE = 4_000_000, 10


def write_gallery(folder: Path, features: Tensor, labels: Mapping[str, Any]) -> None:
    """Writes the features and the table of labels into a folder.

    The table, which names the features' checksum, is replaced last. So an interrupted save leaves the old gallery
    intact.
    """
    tensors = {"features": features.contiguous()}
    digest = tensor_digest(tensors)
    folder.mkdir(parents=True, exist_ok=True)
    path = _features_file(folder, digest)
    # Also written if the file exists, since it may be damaged.
    write_atomically(path, tensor_bytes(tensors, {"format": "pt"}))
    new = any(labels.get(name) is not None for name in ("modalities", "tracks"))
    table = {"format": FORMAT_2 if new else FORMAT, "sha256": digest, **labels}
    # json.dumps writes ASCII, since file names need not be valid Unicode.
    write_atomically(folder / TABLE, json.dumps(table).encode())
    for stale in folder.glob("features-*.safetensors"):
        if stale != path:
            with contextlib.suppress(OSError):  # Windows cannot delete a file that is mapped
                stale.unlink()


def read_gallery(folder: Path) -> tuple[Tensor, dict[str, Any]]:
    """Reads (features, table of labels) from a folder. The features are a memory map of the file.

    If another process replaces them meanwhile, they are read again. Raises FileNotFoundError if there is no gallery,
    and ValueError if it is damaged.
    """
    while True:
        before = table_state(folder)
        try:
            return _read(folder)
        except (ValueError, OSError):
            if table_state(folder) == before:
                raise


def table_state(folder: Path) -> tuple[int, ...]:
    """Numbers that change whenever the folder's gallery is written (see `file_state`); () if there is none."""
    return file_state(folder / TABLE)


def _read(folder: Path) -> tuple[Tensor, dict[str, Any]]:
    if not (folder / TABLE).is_file():
        raise FileNotFoundError(
            f"{folder} is no gallery: it lacks {TABLE}; make one with `python -m mtrl index IMAGES --output DIR`"
        )
    table = _read_table(folder / TABLE)
    path = _features_file(folder, table["sha256"])
    if not path.is_file():
        raise FileNotFoundError(f"{folder} lacks {path.name}; build the gallery again")
    try:
        with open_tensors(path) as file:
            found = outline(file)
            if found.keys() != {"features"} or not _are_rows(*found["features"], len(table["names"])):
                raise ValueError(f"{path} does not hold the features of {len(table['names'])} images")
            tensors = {"features": file.get_tensor("features")}
    except (ValueError, RuntimeError) as error:  # torch raises RuntimeError if the file vanishes meanwhile
        raise ValueError(f"{error}; build the gallery again") from error
    if tensor_digest(tensors) != table["sha256"]:
        raise ValueError(f"{path} is damaged (its checksum differs); build the gallery again")
    return tensors["features"], table


def _are_rows(kind: str, shape: tuple[int, ...], count: int) -> bool:
    return kind in FLOATS and len(shape) == 2 and shape[0] == count


def _features_file(folder: Path, digest: str) -> Path:
    return folder / f"features-{digest[:16]}.safetensors"


def _read_table(path: Path) -> dict[str, Any]:
    features = 0
    for file in path.parent.glob("features-*.safetensors"):
        with contextlib.suppress(FileNotFoundError):  # another process may delete old files
            features += file.stat().st_size
    try:
        table = parse_json(read_limited(path, _SPARE_BYTES + _PER_BYTE * features))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); build the gallery again") from error
    if not isinstance(table, dict) or table.get("format") not in (FORMAT, FORMAT_2):
        raise ValueError(f'{path} is no gallery of this library: it does not say "format": "{FORMAT}"')
    types: dict[str, tuple[type, ...]] = {"names": (list,)}
    types |= dict.fromkeys(("sha256", "model", "modality"), (str,))
    optional = ("identities", "cameras", "times", "value_range", "modalities", "tracks")
    types |= dict.fromkeys(optional, (list, type(None)))
    for key, type_ in types.items():
        if not isinstance(table.get(key), type_):
            raise ValueError(f"{path} lacks {key}, or it is of the wrong kind; build the gallery again")
    # The checksum becomes part of a file name, and the table is untrusted, so it must not lead out of the folder.
    if not _SHA256.fullmatch(table["sha256"]):
        raise ValueError(f"{path} holds no checksum; build the gallery again")
    return table
