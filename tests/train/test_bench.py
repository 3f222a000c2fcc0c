"""The benchmark command: medians taken in turn, one table, JSON beside it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TextIO

import pytest

from mtrl.__main__ import main as mtrl_main
from train.bench import command
from train.bench.table import Line, Options, header, number, paired


def test_both_are_measured_in_turn_and_the_median_counts() -> None:
    calls: list[str] = []

    def ours() -> float:
        calls.append("o")
        return [0, 0, 9, 1, 5][len([c for c in calls if c == "o"]) + 1]

    def baseline() -> float:
        calls.append("y")
        return 7.0

    assert paired(ours, baseline, 3, warmup=0) == (5, 7)
    assert "".join(calls) == "oyyooy"
    assert paired(lambda: 2.0, None, 1) == (2.0, None)
    seconds, _ = paired(lambda: sum(range(1000)) and None, None, 3)
    assert 0 < seconds < 1


def test_a_ratio_says_how_much_better_ours_is() -> None:
    faster = Line("s", "w", 10.0, 2.0, "loop", "images/s", True)
    quicker = Line("s", "w", 2.0, 10.0, "loop", "s", False)
    assert faster.ratio == quicker.ratio == 5
    assert Line("s", "w", 2.0, None, "", "s", False).ratio is None
    assert "5.00x" in faster.row("cpu") and "vs loop" in faster.row("cpu")
    assert len({line.index("|", 1) for line in (*header().splitlines(), faster.row("cpu"))}) == 1


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (12345.6, "12,346"), (1.5, "1.50"), (0.0123, "0.0123"), (1e-9, "1.00e-09")]
)
def test_numbers_are_readable(value: float, text: str) -> None:
    assert number(value) == text


def test_the_command_prints_and_writes_the_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lines(options: Options) -> Iterator[Line]:
        assert options.quick and options.repeats == 2
        yield Line("data", "something", 4.0, 2.0, "other", "images/s", True, "note")

    monkeypatch.setitem(sys.modules, "train.bench.data", SimpleNamespace(lines=lines))
    target = tmp_path / "bench.json"
    flags = ["data", "--quick", "--repeats", "2", "--device", "cpu", "--json", str(target)]
    assert command.main(flags) == 0
    shown = capsys.readouterr().out
    assert "something" in shown and "2.00x" in shown and "torch" in shown
    written = json.loads(target.read_text())
    assert written["lines"][0]["ratio"] == 2 and written["packages"]["torch"] and written["processor"]


def test_wrong_usage() -> None:
    with pytest.raises(SystemExit):
        command.main(["nothing"])
    with pytest.raises(ValueError, match="repeats"):
        command.main(["data", "--repeats", "0"])


def test_mtrl_bench_passes_on_and_says_so_where_there_is_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(words: list[str]) -> SimpleNamespace:
        assert words[1:] == ["-m", "train", "bench", "data", "--quick"]
        return SimpleNamespace(returncode=3)

    monkeypatch.setattr(subprocess, "run", run)
    assert mtrl_main(["bench", "data", "--quick"]) == 3
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="clone"):
        mtrl_main(["bench"])


def test_within_a_time_every_section_has_a_process_and_one_that_fails_costs_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stand-in for the processes: `data` gives a line, `step` gives one and hangs, `scale` fails."""
    line = Line("data", "something", 4.0, 2.0, "other", "images/s", True, at=("growth, by size", 3))
    values = {"packages": {"torch": "9"}, "device_type": "cuda", "lines": [line.to_dict()]}

    def process(words: list[str], timeout: float, stderr: TextIO, stdout: int) -> SimpleNamespace:
        assert words[1:4] == ["-m", "train", "bench"] and words[5:7] == ["--repeats", "2"] and timeout <= 60
        if words[4] == "scale":
            stderr.write("a warning\nno memory left\n")
            return SimpleNamespace(returncode=1)
        Path(words[-1]).write_text(json.dumps(values))
        if words[4] == "step":
            raise subprocess.TimeoutExpired(words, timeout)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", process)
    target = tmp_path / "all.json"
    flags = ["data", "step", "scale", "--minutes", "1", "--repeats", "2", "--json", str(target)]
    assert command.main(flags) == 0
    shown = capsys.readouterr().out
    assert shown.count("2.00x") == 2 and "cuda" in shown
    written = json.loads(target.read_text())
    assert [one["what"] for one in written["lines"]] == ["something"] * 2 and written["packages"] == {
        "torch": "9"
    }
    assert "step was stopped" in written["problems"][0] and "1 of its lines" in written["problems"][0]
    assert "scale failed: no memory left" in written["problems"][1]
    assert command.main(["scale", *flags[3:]]) == 1
    with pytest.raises(ValueError, match="minutes"):
        command.main(["--minutes", "-1"])


@pytest.mark.slow
@pytest.mark.parametrize("section", ["data", "step", "scale"])
def test_sections_run(section: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With one size and one repetition; figures are not looked at, only that all of them are there."""
    flags = [section, "--quick", "--repeats", "1", "--device", "cpu", "--json", str(tmp_path / "bench.json")]
    plot = ["--plot", str(tmp_path / "scale.png")] if section == "scale" else []
    assert command.main([*flags, *plot]) == 0
    written = json.loads((tmp_path / "bench.json").read_text())["lines"]
    assert len(written) >= 3 and all(line["ours"] > 0 for line in written)
    assert not plot or (tmp_path / "scale.png").read_bytes().startswith(b"\x89PNG")
