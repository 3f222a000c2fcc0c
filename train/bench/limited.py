"""Runs the benchmark's sections within a time limit, each in a process that is ended when its share is used up."""

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
    """The results of the sections so far.

    about     versions and device
    lines     all lines that were measured
    problems  one sentence for each section that failed or was stopped
    """

    about: dict[str, Any] = dataclasses.field(default_factory=dict)
    lines: list[Line] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The results as JSON values."""
        return self.about | {"lines": [line.to_dict() for line in self.lines], "problems": self.problems}


def run(sections: Sequence[str], flags: Sequence[str], seconds: float, target: Path | None) -> Results:
    """Runs sections one after the other, and prints the table at the end.

    flags    command-line flags of every section
    seconds  time limit for all sections together. Each gets an equal share of the time that is left
    target   JSON file, written after each section, or None
    If a section fails or is stopped, only its missing lines are lost.
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
