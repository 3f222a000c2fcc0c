"""A gallery on disk: a JSON table of labels, and a safetensors file of features named by its checksum."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mtrl.checkpoint import tensor_digest, write_atomically

FORMAT = "mtrl-gallery-1"
TABLE = "gallery.json"
_SHA256 = re.compile("[0-9a-f]{64}")


def write_gallery(folder: Path, features: Tensor, labels: Mapping[str, Any]) -> None:
    """Writes features and table. The table, which holds the checksum, is replaced last: a save that is cut off
    leaves the old gallery whole.
    """
    tensors = {"features": features.contiguous()}
    digest = tensor_digest(tensors)
    folder.mkdir(parents=True, exist_ok=True)
    path = _features_file(folder, digest)
    if not path.is_file():
        write_atomically(path, save(tensors, metadata={"format": "pt"}))
    table = {"format": FORMAT, "sha256": digest, **labels}
    write_atomically(folder / TABLE, json.dumps(table, ensure_ascii=False).encode())
    for stale in folder.glob("features-*.safetensors"):
        if stale != path:
            stale.unlink(missing_ok=True)


def read_gallery(folder: Path) -> tuple[Tensor, dict[str, Any]]:
    """(features, table) of a folder. The features are mapped into memory: the file is read where it is needed.

    Raises FileNotFoundError when it is not there, ValueError when it is damaged.
    """
    if not (folder / TABLE).is_file():
        raise FileNotFoundError(
            f"{folder} is no gallery: it lacks {TABLE}; make one with `python -m mtrl index IMAGES --output DIR`"
        )
    table = _read_table(folder / TABLE)
    path = _features_file(folder, table["sha256"])
    if not path.is_file():
        raise FileNotFoundError(f"{folder} lacks {path.name}; build the gallery again")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); build the gallery again") from error
    if tensors.keys() != {"features"} or tensor_digest(tensors) != table["sha256"]:
        raise ValueError(f"{path} is damaged (its checksum differs); build the gallery again")
    return tensors["features"], table


def _features_file(folder: Path, digest: str) -> Path:
    return folder / f"features-{digest[:16]}.safetensors"


def _read_table(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}); build the gallery again") from error
    if not isinstance(table, dict) or table.get("format") != FORMAT:
        raise ValueError(f'{path} is no gallery of this library: it does not say "format": "{FORMAT}"')
    text, optional = (str,), (list, type(None))
    kinds = {"sha256": text, "model": text, "modality": text, "names": (list,)}
    for key, kind in {**kinds, "identities": optional, "cameras": optional, "times": optional}.items():
        if not isinstance(table.get(key), kind):
            raise ValueError(f"{path} lacks {key}, or it is of the wrong kind; build the gallery again")
    # It becomes part of a file name, and the table may be a stranger's: it must not lead out of the folder.
    if not _SHA256.fullmatch(table["sha256"]):
        raise ValueError(f"{path} holds no checksum; build the gallery again")
    return table
