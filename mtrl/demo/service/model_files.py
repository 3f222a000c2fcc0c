"""What lies beside a model's weights: its card, the records of its training, other models to try."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mtrl.console.settings_file import read_yaml
from mtrl.files.filenames import as_text
from mtrl.files.metrics_log import METRICS, read_records
from mtrl.files.untrusted import inside, parse_json, read_limited
from mtrl.hub.client import CARD, CONFIG, WEIGHTS

MAX_CARD = 200_000  # bytes
MAX_CONFIG = 1_000_000
MAX_RECORD_BYTES = 20_000_000


def find_runs(folders: Sequence[Path]) -> dict[str, Path]:
    """The models in folders of runs, by name: every sub-folder that holds a configuration and weights.

    Raises FileNotFoundError for a folder that is not there, ValueError for one without any model.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"no folder of models at {as_text(folder)}")
        runs = [
            p for p in sorted(folder.iterdir()) if all((p / name).is_file() for name in (CONFIG, WEIGHTS))
        ]
        if not runs:
            raise ValueError(
                f"no model in the sub-folders of {as_text(folder)}: name a folder of runs, each of which holds "
                f"{CONFIG} and {WEIGHTS}"
            )
        for path in runs:
            name = as_text(Path(folder.resolve().name) / path.name)
            while name in found:
                name += " (2)"
            found[name] = path
    return found


def read_backbone(folder: Path) -> str:
    """The name of the network in a checkpoint's folder, "" where its configuration does not say."""
    try:
        values = parse_json(read_limited(folder / CONFIG, MAX_CONFIG, "replace"))
    except (ValueError, OSError):
        return ""
    name = values.get("backbone") if isinstance(values, dict) else None
    return name[:80] if isinstance(name, str) else ""


def read_card(folder: Path | None) -> str:
    """The Markdown of the card in a folder; for a run without one, what its settings say; else ""."""
    if folder is None:
        return ""
    try:
        return read_limited(folder / CARD, MAX_CARD, "replace")
    except FileNotFoundError:
        return _card_of_run(folder / "settings.yaml")
    except (ValueError, OSError):
        return ""


def _card_of_run(path: Path) -> str:
    try:
        settings = read_yaml(path)
    except (ValueError, OSError):
        return ""
    data = "-".join(str(settings[key]) for key in ("dataset", "size") if settings.get(key))
    if settings.get("dataset") != "synthetic":
        data = str(settings.get("dataset") or "")
    images = settings.get("transitions") or settings.get("translator")
    images = None if settings.get("transition") is False else images
    rows = [("Data", data), ("method", settings.get("method")), ("translator", images)]
    rows += [(key, settings.get(key)) for key in ("epochs", "seed")]
    lines = [f"- {key}: {value}" for key, value in rows if value not in (None, "")]
    return "## Training\n\n" + "\n".join(lines) if lines else ""


def read_log(folder: Path | None) -> tuple[dict[str, Any], ...]:
    """The records of a run folder's training; a huge file, or a link out of the folder, is not read."""
    if folder is None:
        return ()
    try:
        return tuple(read_records(inside(folder / METRICS), MAX_RECORD_BYTES))
    except (ValueError, OSError):
        return ()
