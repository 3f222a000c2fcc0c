"""Runs all sections within a time limit: each in its own process, which is ended when its share of the time is over."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from mtrl.files.atomic import write_atomically
from train.bench.table import Line, header


@dataclasses.dataclass
class Results:
    """What came of the sections so far: versions and device, lines, and a sentence for each that was cut short."""

    about: dict[str, Any] = dataclasses.field(default_factory=dict)
    lines: list[Line] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return self.about | {"lines": [line.to_dict() for line in self.lines], "problems": self.problems}


def run(sections: Sequence[str], flags: Sequence[str], seconds: float, target: Path | None) -> Results:
    """Runs sections one after the other with the same flags; what one leaves of its time goes to the next ones.

    A section that fails or takes too long costs its missing lines, nothing else. `target`, a JSON file, is written
    after each. Prints the table at the end.
    """
    ends, results = monotonic() + seconds, Results()
    for place, section in enumerate(sections):
        share = (ends - monotonic()) / (len(sections) - place)
        print(f"{section}: at most {share:.0f} s", flush=True)
        _section(section, flags, share, results)
        if target is not None:
            write_atomically(target, json.dumps(results.to_dict(), indent=1).encode())
    device = str(results.about.get("device_type", ""))
    print(header(), *(line.row(device) for line in results.lines), sep="\n")
    for problem in results.problems:
        print(problem)
    return results


def _section(section: str, flags: Sequence[str], share: float, results: Results) -> None:
    with tempfile.TemporaryDirectory() as folder:
        written, said = Path(folder) / "lines.json", Path(folder) / "errors.txt"
        command = [sys.executable, "-m", "train", "bench", section, *flags, "--json", str(written)]
        with said.open("w", encoding="utf-8") as errors:
            try:
                done = subprocess.run(
                    command, stdout=subprocess.DEVNULL, stderr=errors, timeout=max(share, 1)
                )
                ended = f"{section} failed: " if done.returncode else ""
            except subprocess.TimeoutExpired:
                ended = f"{section} was stopped after {share:.0f} s"
        if ended.endswith(": "):
            words = said.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            ended += words[-1] if words else f"exit status {done.returncode}"
        found = json.loads(written.read_text(encoding="utf-8")) if written.exists() else {"lines": []}
    lines = [_line(values) for values in found.pop("lines")]
    results.about = results.about or found
    results.lines += lines
    if ended:
        results.problems.append(f"{ended}; {len(lines)} of its lines stand")


def _line(values: dict[str, Any]) -> Line:
    at = values["at"]
    return Line(
        **{**{k: v for k, v in values.items() if k != "ratio"}, "at": None if at is None else tuple(at)}
    )
