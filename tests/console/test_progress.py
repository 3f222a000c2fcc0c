"""Progress in a file: a plain line now and then, no carriage returns; on a terminal a bar."""

from __future__ import annotations

import io
import sys

import pytest

from mtrl.console import progress
from mtrl.console.progress import Progress, say
from tests.helpers.paths import ROOT

SECONDS = 10.0  # between two lines, as the project has it


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def loop(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, seconds: float, steps: int) -> str:
    now = [0.0]
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "_LAST_LINE", [])
    monkeypatch.setattr(progress, "LINE_SECONDS", SECONDS)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    bar = Progress(range(steps), title="epoch 1", unit="step")
    for step in bar:
        now[0] += seconds
        bar.remark(f"loss {step}")
    return stream.getvalue()


def test_a_file_gets_plain_lines_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    text = loop(monkeypatch, io.StringIO(), seconds=1.0, steps=1000)
    assert "\r" not in text and text.splitlines()[0] == "epoch 1: 10 of 1000 steps, loss 9"
    assert len(text.splitlines()) == 1000 / SECONDS
    assert loop(monkeypatch, io.StringIO(), seconds=0.001, steps=5000) == ""


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\r" in loop(monkeypatch, Terminal(), seconds=1.0, steps=20)


def test_lines_between_and_bars_that_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with Progress[None](title="x", unit="image", total=3, show=False) as bar:
        bar.update(3)
    say("a line")
    assert stream.getvalue() == "a line\n"


def test_all_bars_are_in_one_place() -> None:
    sources = [p for room in ("mtrl", "train", "eval") for p in (ROOT / room).rglob("*.py")]
    users = [p.name for p in sources if "import tqdm" in p.read_text(encoding="utf-8")]
    assert users == ["progress.py"]
