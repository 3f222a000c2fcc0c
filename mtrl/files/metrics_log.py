"""Reads `metrics.jsonl`, the record of a training run: one JSON object per line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

METRICS = "metrics.jsonl"


def read_records(path: Path, max_bytes: int | None = None) -> list[dict[str, Any]]:
    """The records of a `metrics.jsonl`, each with a text "kind" and an integer "step".

    Other lines are skipped, since a crash may leave the last line incomplete. Returns an empty list if there is no
    file, or if it has more than `max_bytes`.
    """
    if not path.is_file() or (max_bytes is not None and path.stat().st_size > max_bytes):
        return []
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if (
            isinstance(record, dict)
            and type(record.get("step")) is int
            and isinstance(record.get("kind"), str)
        ):
            records.append(record)
    return records
