"""The benchmark command: medians taken in turn, one table, JSON beside it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from train.bench import command
from train.bench.table import Line, Options, header, number, paired

ROOT = Path(__file__).resolve().parent.parent


def test_both_are_measured_in_turn_and_the_median_counts() -> None:
    calls: list[str] = []

    def ours() -> float:
        calls.append("o")
        return [0, 0, 9, 1, 5][len([c for c in calls if c == "o"]) + 1]

    def yardstick() -> float:
        calls.append("y")
        return 7.0

    assert paired(ours, yardstick, 3, warmup=0) == (5, 7)
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


def test_mtrl_bench_is_the_same_command_and_says_so_where_there_is_none(tmp_path: Path) -> None:
    there = subprocess.run([sys.executable, "-m", "mtrl", "bench", "-h"], cwd=ROOT, capture_output=True)
    assert there.returncode == 0 and b"python -m train bench" in there.stdout
    (tmp_path / "mtrl").symlink_to(ROOT / "mtrl")
    code = "from mtrl.cli import run; from mtrl.__main__ import main; run(lambda: main(['bench']))"
    absent = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert absent.returncode == 2 and "clone" in absent.stderr and "Traceback" not in absent.stderr
