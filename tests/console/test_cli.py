"""Flags, YAML and exit codes."""

from __future__ import annotations

import argparse
import dataclasses
import re
from pathlib import Path

import pytest

from mtrl.console import cli


@dataclasses.dataclass(frozen=True)
class Settings:
    name: str = cli.option("a", "a name", ("a", "b"))
    rate: float = cli.option(0.5, "a share of 100 %")
    size: tuple[int, ...] = cli.option((4, 2), "two numbers")
    fast: bool = cli.option(False, "a switch")
    root: str | None = cli.option(None, "a folder")


def parse(*argv: str, base: Settings | None = None) -> Settings:
    return cli.parse(Settings, argparse.ArgumentParser(), argv, base)


def test_flags_override_yaml_overrides_base(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("rate: 1\nsize: [8, 6]\nfast: true\n")
    base = Settings(name="b", rate=0.1, root="x")
    assert parse("--config", str(config), "--rate", "2", base=base) == Settings("b", 2.0, (8, 6), True, "x")
    assert parse("--no-fast", "--size", "1", "2") == Settings(size=(1, 2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("speed: 3", "unknown option 'speed'"),
        ("rate: fast", "c.yaml: argument --rate: invalid number value: 'fast'"),
        ("rate: .inf", "argument --rate: invalid number value: '.inf'"),
        ("rate: inf", "argument --rate: must be a finite number"),
        ("rate: [1]", "argument --rate: takes one value, not a list"),
        ("rate: {a: 1}", "argument --rate: takes a value, not a mapping"),
        ("size: []", "argument --size: expected at least one argument"),
        ("size: [3, null]", "argument --size: each value of a list"),
        ("size: 3.0", "argument --size: invalid int value: '3.0'"),
        ("fast: 1", "argument --fast: must be true or false, not '1'"),
        ("fast: [true]", "argument --fast: must be true or false, not a list"),
        ("name: c", "argument --name: invalid choice: 'c'"),
        ("rate: 1\nrate: 2", "rate stands there twice"),
        ("[a]: 1", "must hold a mapping"),
        ("rate: !!binary YQ==", "not valid YAML"),
        ("rate: &x 1\nroot: *x", "has aliases"),
        ("- 1", "must hold a mapping"),
        ("a: [", "not valid YAML"),
        ("!!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_bad_yaml_is_named(tmp_path: Path, text: str, message: str) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(text)
    with pytest.raises(ValueError, match=re.escape(message)):
        parse("--config", str(config))


def test_a_link_of_the_users_own_may_lead_anywhere(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "c.yaml").write_text("port: 80\n")
    (tmp_path / "c.yaml").symlink_to(tmp_path / "elsewhere" / "c.yaml")
    assert cli.arguments(hand_made(), ["--config", str(tmp_path / "c.yaml")]).port == 80


def hand_made() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--kind", choices=("a", "b"), default="a")
    parser.add_argument("--share", action="store_true")
    return parser


def test_hand_made_parsers_take_yaml_too(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("port: 80\nshare: true\nkind: b\n")
    found = cli.arguments(hand_made(), ["--config", str(config)])
    assert (found.port, found.kind, found.share) == (80, "b", True)
    assert cli.arguments(hand_made(), ["--config", str(config), "--port", "81"]).port == 81
    for text, message in (("speed: 1", "unknown option 'speed'"), ("kind: c", "invalid choice: 'c'")):
        config.write_text(text)
        with pytest.raises(ValueError, match=message):
            cli.arguments(hand_made(), ["--config", str(config)])


def test_missing_config(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.yaml"):
        parse("--config", str(tmp_path / "none.yaml"))


@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [(ValueError("no such thing"), 2, "error: no such thing"), (KeyboardInterrupt(), 130, "interrupted")],
)
def test_exit_codes(capsys: pytest.CaptureFixture[str], error: BaseException, code: int, shown: str) -> None:
    def fail() -> int:
        raise error

    with pytest.raises(SystemExit) as stop:
        cli.run(fail)
    assert stop.value.code == code
    assert capsys.readouterr().err.strip() == shown


def test_programming_errors_keep_their_traceback() -> None:
    def fail() -> int:
        raise TypeError("a bug")

    with pytest.raises(TypeError):
        cli.run(fail)
