"""What lies beside a model's weights: its card, the records of its training, other models to try."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mtrl.console.settings_file import read_yaml
from mtrl.files.filenames import as_text
from mtrl.files.metrics_log import METRICS, read_records
from mtrl.hub.client import CARD, CONFIG, WEIGHTS

MAX_CARD = 200_000  # bytes
MAX_CONFIG = 1_000_000
MAX_RECORD_BYTES = 20_000_000


def find_runs(folders: Sequence[Path]) -> dict[str, Path]:
    """The models in folders of runs, by name: every sub-folder that holds a configuration and weights."""
    found: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"no folder of models at {as_text(folder)}")
        for path in sorted(folder.iterdir()):
            if all((path / name).is_file() for name in (CONFIG, WEIGHTS)):
                name = as_text(Path(folder.resolve().name) / path.name)
                while name in found:
                    name += " (2)"
                found[name] = path
    return found


def read_backbone(folder: Path) -> str:
    """The name of the network in a checkpoint's folder, "" where its configuration does not say."""
    path = folder / CONFIG
    if not path.is_file() or not is_own(path) or path.stat().st_size > MAX_CONFIG:
        return ""
    try:
        values = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (ValueError, RecursionError):
        return ""
    name = values.get("backbone") if isinstance(values, dict) else None
    return name[:80] if isinstance(name, str) else ""


def read_card(folder: Path | None) -> str:
    """The Markdown of the card in a folder; for a run without one, what its settings say; else ""."""
    path = folder / CARD if folder else None
    if path is None:
        return ""
    if not path.is_file():
        return _card_of_run(path.with_name("settings.yaml"))
    if not is_own(path):
        return ""
    if path.stat().st_size > MAX_CARD:
        return ""
    return path.read_text(encoding="utf-8", errors="replace")


def is_own(path: Path) -> bool:
    """Whether a file lies in its folder, links resolved; the cache of the Hub links from a snapshot to its repository.

    A checkpoint may come from a stranger, whose links would have this page show other files of this machine.
    """
    folder = path.parent.resolve()
    root = folder.parents[1] if folder.parent.name == "snapshots" else folder
    return path.resolve().is_relative_to(root)


def _card_of_run(path: Path) -> str:
    if not is_own(path):
        return ""
    try:
        settings = read_yaml(path)
    except (ValueError, OSError):
        return ""
    data = "-".join(str(settings[key]) for key in ("dataset", "size") if settings.get(key))
    if settings.get("dataset") != "synthetic":
        data = str(settings.get("dataset") or "")
    rows = [("Data", data)] + [(key, settings.get(key)) for key in ("method", "translator", "epochs", "seed")]
    lines = [f"- {key}: {value}" for key, value in rows if value not in (None, "")]
    return "## Training\n\n" + "\n".join(lines) if lines else ""


def read_log(folder: Path | None) -> tuple[dict[str, Any], ...]:
    """The records of a run folder's training; a huge file is not read."""
    if folder is None or not is_own(folder / METRICS):
        return ()
    return tuple(read_records(folder / METRICS, MAX_RECORD_BYTES))
