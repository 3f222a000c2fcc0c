"""Command lines: flags made from dataclass fields, defaults from a YAML file, and errors without tracebacks.

Each entry of the YAML file is parsed as if it stood on the command line. So an entry and its flag give the same value,
or the same error.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import io
import math
import os
import sys
import types
import typing
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mtrl.console.os_errors import READER_LEFT, drop_output, readable, reader_left
from mtrl.console.settings_file import SwitchOrFile, command_words, json_object, read_entries, read_yaml
from mtrl.files.untrusted import named_file

__all__ = ["Given", "add_flags", "arguments", "build", "given", "json_object", "option", "parse", "read_settings",
           "read_yaml", "run"]  # fmt: skip

Settings = TypeVar("Settings")


def run(main: Callable[[], int | None]) -> typing.NoReturn:
    """Calls `main`, turns its errors into one line, and ends the process.

    Exit codes: 0 done; 2 wrong usage or input, with one message on stderr; 130 interrupted; 141, without a message,
    when the reader of the output has ended (`| head`), as with other Unix programs.
    With MTRL_TRACEBACK=1 in the environment an error keeps its traceback. A character that the console's encoding lacks
    (cp1252 on Windows) is printed as an escape, such as \\u2192, instead of ending the command.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _ended(main)
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()  # a write error is raised here, not while Python exits
        sys.exit(code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except (ValueError, OSError, ImportError) as error:
        if reader_left(error):
            sys.exit(READER_LEFT)
        if os.environ.get("MTRL_TRACEBACK") == "1":
            raise
        print(f"error: {readable(error)}", file=sys.stderr)
        sys.exit(2)
    finally:
        drop_output()


def _ended(main: Callable[[], int | None]) -> int | str | None:
    """The exit code of `main`, also where argparse ends it by SystemExit."""
    try:
        return main() or 0
    except SystemExit as ended:
        return ended.code


def option(
    default: Any,
    help: str,
    choices: Collection[str] | None = None,
    kind: Callable[[str], Any] | None = None,
    bare: str | int | None = None,
    repeat: bool = False,
) -> Any:
    """A dataclass field that `add_flags` turns into a flag with this help and these choices.

    kind  function from the flag's text to its value; None: the field's own type
    bare  value of a flag that is given without a value, and of `true` in YAML; `false` in YAML leaves the flag out
    repeat  a list whose flag may be given again: the values add up
    """
    metadata = {"help": help, "choices": choices, "kind": kind, "bare": bare, "repeat": repeat}
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def add_flags(parser: argparse.ArgumentParser, settings: type, without: Iterable[str] = ()) -> None:
    """Adds one `--flag` to the parser for each field of a settings dataclass, except the fields named in `without`.

    A flag that is not given sets no attribute, so that `given` can tell it from one with the default value.
    """
    hints = typing.get_type_hints(settings)
    for field in dataclasses.fields(settings):
        if field.name in without:
            continue
        flag = "--" + field.name.replace("_", "-")
        kind = _scalar_type(hints[field.name])
        default = field.default if field.default is not dataclasses.MISSING else None
        shown = "" if default in (None, "") else f" (default: {default})"
        keywords: dict[str, Any] = {
            "default": argparse.SUPPRESS,
            "help": field.metadata.get("help", "").replace("%", "%%") + shown,
        }
        if set(typing.get_args(hints[field.name])) == {bool, str}:
            parser.add_argument(flag, action=SwitchOrFile, metavar="FILE", **keywords)
            continue
        if kind is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, **keywords)
            continue
        keywords["type"] = field.metadata.get("kind") or (number if kind is float else kind)
        keywords["choices"] = field.metadata.get("choices")
        if (count := _count(hints[field.name])) is not None:
            keywords["nargs"] = count
            if field.metadata.get("repeat"):
                keywords["action"] = "extend"
        elif field.metadata.get("bare"):
            keywords |= {"nargs": "?", "const": field.metadata["bare"]}
        parser.add_argument(flag, **keywords)


def _count(hint: Any) -> int | str | None:
    """argparse's nargs of a flag: 2 for `tuple[float, float]`, "+" for `tuple[float, ...]`, None for no tuple."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    if typing.get_origin(hint) is not tuple:
        return None
    return "+" if Ellipsis in typing.get_args(hint) else len(typing.get_args(hint))


def number(text: str) -> float:
    """A finite number from text, as an argparse type. Raises ValueError or ArgumentTypeError."""
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be a finite number, not {text!r}")
    return value


@dataclasses.dataclass(frozen=True)
class Given:
    """The values that a command line and its YAML file give, by option name. Options that are not given are absent.

    flags        values from the command line
    file         values from the YAML file of --config; null entries are left out
    source       name of that file, or None
    positionals  arguments without a flag
    """

    flags: dict[str, Any]
    file: dict[str, Any]
    source: str | None
    positionals: dict[str, Any]

    @property
    def values(self) -> dict[str, Any]:
        """The values from both; a flag wins over the file."""
        return {**self.file, **self.flags}


def given(parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> Given:
    """Parses a command line and the YAML file that it names with --config, which this function adds to the parser.

    A required option may be given in either. Raises ValueError for an unknown option or an impossible value in the
    file, and FileNotFoundError if the file is missing. A wrong command line ends the program, as in argparse.
    """
    parser.add_argument("--config", default=None, metavar="FILE", help="YAML file with any of these options")
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=parser.allow_abbrev)
    first.add_argument("--config", default=None)
    source = first.parse_known_args(argv)[0].config
    options = _options(parser)
    required = [action for action in options.values() if action.required]
    for action in required if source else []:  # the file may give it
        action.required = False
    # argparse sets no default where the attribute exists already, so an option that is still None was not given.
    blank = argparse.Namespace(**dict.fromkeys(options, None))
    found = vars(parser.parse_args(argv, blank))
    flags = {name: value for name in options if (value := found.pop(name)) is not None}
    found.pop("config")
    file = _read_file(parser, str(named_file(source))) if source else {}
    missing = [action.option_strings[-1] for action in required if action.dest not in {**file, **flags}]
    if missing:
        parser.error(f"the following arguments are required: {', '.join(missing)}")
    return Given(flags, file, source, found)


def parse(
    settings: type[Settings],
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None = None,
    base: Settings | None = None,
) -> Settings:
    """A `settings` object from a command line. Flags win over the YAML of --config, and both over `base` or defaults.

    Errors as in `given`.
    """
    add_flags(parser, settings)
    return build(settings, given(parser, argv).values, base)


def arguments(parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments of a parser without a settings class. Flags win over the YAML of --config, and it over defaults.

    Errors as in `given`.
    """
    found = given(parser, argv)
    values = {name: _default(action) for name, action in _options(parser).items()}
    return argparse.Namespace(**{**found.positionals, **values, **found.values})


def build(settings: type[Settings], values: dict[str, Any], base: Settings | None = None) -> Settings:
    """A `settings` object with these values; fields without one come from `base`, or from the defaults."""
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return settings(**plain) if base is None else dataclasses.replace(base, **plain)  # type: ignore[type-var]


def read_settings(settings: type[Settings], path: str | Path) -> Settings:
    """Reads the settings that a run wrote into a YAML file. Raises as `given`."""
    parser = argparse.ArgumentParser(add_help=False)
    add_flags(parser, settings)
    return build(settings, _read_file(parser, str(path)))


class _Probe(argparse.ArgumentParser):
    """A parser of one option that raises ValueError where argparse would print a message and exit."""

    def error(self, message: str) -> typing.NoReturn:
        raise ValueError(message)


def _read_file(parser: argparse.ArgumentParser, source: str) -> dict[str, Any]:
    """The values of a YAML file by option, each converted and checked by the option's own action."""
    options = _options(parser)
    known = sorted(name for name, action in options.items() if action.help != argparse.SUPPRESS)
    values = {}
    for name, node in read_entries(source).items():
        if name not in options:
            raise ValueError(f"unknown option {name!r} in {source}; known are {', '.join(known)}")
        action = copy.copy(options[name])
        flag = next(flag for flag in action.option_strings if flag.startswith("--"))
        probe = _Probe(add_help=False, allow_abbrev=False)
        try:
            words = list(command_words(action, flag, node))
            action.required, action.default = False, None
            probe._add_action(action)
            parts = [getattr(probe.parse_args(each), action.dest) for each in words]
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error
        if parts:  # a list option may come in several parts, any other option in one
            values[name] = (
                [item for part in parts for item in part] if isinstance(parts[0], list) else parts[0]
            )
    return values


def _options(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """The parser's options by name, without --config and --help."""
    return {
        action.dest: action
        for action in parser._actions
        if action.option_strings and action.dest not in ("config", "help")
    }


def _default(action: argparse.Action) -> Any:
    """The default value of an option. As in argparse, a default that is text is converted by the option's type."""
    return (
        action.type(action.default)
        if callable(action.type) and isinstance(action.default, str)
        else action.default
    )


def _scalar_type(hint: Any) -> Any:
    """The type of one value of a flag: `int` for `int`, `int | None` and `tuple[int, ...]`."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    if typing.get_origin(hint) is tuple:
        hint = typing.get_args(hint)[0]
    return hint
