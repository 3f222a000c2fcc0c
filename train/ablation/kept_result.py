"""Stores the test metrics of a finished run beside it, with digests of what they were measured on."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import timm
import torch

from mtrl.data.code_digest import code_digest
from mtrl.data.sources.m3svd import BOXES
from mtrl.files.atomic import write_atomically
from mtrl.hub.client import CONFIG, WEIGHTS
from train.settings import TrainSettings

_MADE_BY = "made_by"


def kept_path(folder: Path, test_seed: int) -> Path:
    """Where a run keeps the metrics of some test identities."""
    return folder / f"test-{test_seed}.json"


def made_by(settings: TrainSettings, real: bool) -> dict[str, str]:
    """What test metrics follow from: the run's model, the test data, code and libraries; `real`: those of m3svd too."""
    drawn = settings.dataset == "synthetic"
    return {
        "model": _model(Path(settings.run_folder)),
        "data": code_digest("mtrl.data.synthetic.draw")
        if drawn
        else str(Path(settings.data_root or ".").resolve()),
        "code": code_digest("eval.evaluate", "mtrl.models.reid"),
        "libraries": f"torch {torch.__version__}, timm {timm.__version__}",
        **({"real people": _real_people()} if real else {}),
    }


def write_kept(settings: TrainSettings, test_seed: int, result: dict[str, Any]) -> None:
    """Stores the metrics of the model that lies in the run's folder now."""
    content = {**result, _MADE_BY: made_by(settings, "real" in result)}
    write_atomically(kept_path(Path(settings.run_folder), test_seed), json.dumps(content, indent=1).encode())


def read_kept(settings: TrainSettings, test_seed: int, real: bool = False) -> dict[str, Any] | None:
    """The stored metrics, or None where there are none, or they are of another model, test set, code or library.

    With `real`, metrics on real people must be among them. Where the model was removed they stay: they cannot be
    measured again.
    """
    path = kept_path(Path(settings.run_folder), test_seed)
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(result, dict):
        return None
    now, before = made_by(settings, "real" in result), result.pop(_MADE_BY, {})
    if real and "real" not in result and now["model"]:
        return None
    other = [name for name, value in now.items() if before.get(name) != value]
    if other and now["model"]:
        warnings.warn(f"{path} was measured with another {' and '.join(other)}: tested again", stacklevel=2)
        return None
    return result


def _real_people() -> str:
    """Digest of what decides which images of m3svd are tested."""
    boxes = hashlib.sha256(BOXES.read_bytes()).hexdigest()
    return f"{code_digest('mtrl.data.sources.m3svd')} {boxes}"


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
