"""Stores the test metrics of a finished run beside it, with digests of what they were measured on."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch

from mtrl.data.code_digest import code_digest
from mtrl.files.atomic import write_atomically
from mtrl.hub.client import CONFIG, WEIGHTS
from train.ablation.test_sets import key_of_images, key_of_real_people
from train.settings import TrainSettings

_MADE_BY = "made_by"


def kept_path(folder: Path, test_seed: int) -> Path:
    """Where a run keeps the metrics of some test identities."""
    return folder / f"test-{test_seed}.json"


def is_trained(folder: Path) -> bool:
    """Whether a run without a saved training state is finished: its model was tested before, on whomever."""
    return bool(_model(folder)) and any(folder.glob("test-*.json"))


def made_by(settings: TrainSettings, test_seed: int, real: str | None) -> dict[str, str]:
    """What test metrics follow from: model, test images, code and libraries, and with `real` the images there."""
    height, width = settings.image_size
    return {
        "model": _model(Path(settings.run_folder)),
        "data": key_of_images(settings, test_seed),
        "code": code_digest("eval.evaluate", "mtrl.models.reid"),
        "libraries": f"torch {torch.__version__}, timm {timm.__version__}",
        **({} if real is None else {"real people": key_of_real_people(real, (height, width))}),
    }


def write_kept(settings: TrainSettings, test_seed: int, real: str | None, result: dict[str, Any]) -> None:
    """Stores the metrics of the model that lies in the run's folder now."""
    content = {**result, _MADE_BY: made_by(settings, test_seed, real)}
    write_atomically(kept_path(Path(settings.run_folder), test_seed), json.dumps(content, indent=1).encode())


def read_kept(settings: TrainSettings, test_seed: int, real: str | None = None) -> dict[str, Any] | None:
    """The stored metrics, or None where there are none, or they are of another model, test set, code or library.

    With `real`, metrics on the real people of that folder must be among them. Where the model was removed they stay:
    they cannot be measured again.
    """
    path = kept_path(Path(settings.run_folder), test_seed)
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(result, dict):
        return None
    before = result.pop(_MADE_BY, {})
    if not _model(path.parent):
        return result
    if real is not None and "real" not in result:
        return None
    now = made_by(settings, test_seed, real)
    if other := [name for name, value in now.items() if before.get(name) != value]:
        warnings.warn(f"{path} was measured with another {' and '.join(other)}: tested again", stacklevel=2)
        return None
    return result


def made_differently(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of stored metrics that stand in one table: which of code and libraries are not the same for all."""
    made = [result[_MADE_BY] for result in results if _MADE_BY in result]
    return [name for name in ("code", "libraries") if len({its[name] for its in made if name in its}) > 1]


def is_of_another_model(path: Path, result: dict[str, Any]) -> bool:
    """True when another model than the one that was tested lies beside the stored metrics now."""
    now = _model(path.parent)
    return bool(now) and _MADE_BY in result and result[_MADE_BY].get("model") != now


def _model(folder: Path) -> str:
    """Digest of a checkpoint's two files; "" where it is not there."""
    try:
        files = [(folder / name).read_bytes() for name in (CONFIG, WEIGHTS)]
    except OSError:
        return ""
    return hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in files)).hexdigest()
