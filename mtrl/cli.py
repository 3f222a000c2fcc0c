"""Command lines: flags made from dataclass fields, YAML under them, and errors without tracebacks."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mtrl.untrusted import read_limited

Settings = TypeVar("Settings")


def run(main: Callable[[], int | None]) -> typing.NoReturn:
    """Calls `main` and exits: 0 done, 2 wrong usage or input (one message on stderr), 130 interrupted.

    With MTRL_TRACEBACK=1 in the environment an error keeps its traceback.
    """
    try:
        sys.exit(main() or 0)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except (ValueError, OSError, ImportError) as error:
        if os.environ.get("MTRL_TRACEBACK") == "1":
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def option(default: Any, help: str, choices: Sequence[str] | None = None) -> Any:
    """A dataclass field that `add_flags` turns into a flag with this help and these choices."""
    metadata = {"help": help, "choices": choices}
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def add_flags(parser: argparse.ArgumentParser, settings: type) -> None:
    """One `--flag` per field of a settings dataclass. Flags that are not given stay absent (see `parse`)."""
    hints = typing.get_type_hints(settings)
    for field in dataclasses.fields(settings):
        flag = "--" + field.name.replace("_", "-")
        kind = _scalar_type(hints[field.name])
        default = field.default if field.default is not dataclasses.MISSING else None
        shown = "" if default is None else f" (default: {default})"
        keywords: dict[str, Any] = {
            "default": argparse.SUPPRESS,
            "help": field.metadata.get("help", "").replace("%", "%%") + shown,
        }
        if _is_switch_or_file(hints[field.name]):
            parser.add_argument(flag, nargs="?", const=True, metavar="FILE", **keywords)
            parser.add_argument(
                f"--no-{flag[2:]}", dest=field.name, action="store_false", default=argparse.SUPPRESS
            )
        elif kind is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, **keywords)
        elif typing.get_origin(hints[field.name]) is tuple:
            parser.add_argument(flag, type=kind, nargs="+", **keywords)
        else:
            parser.add_argument(flag, type=kind, choices=field.metadata.get("choices"), **keywords)


def parse(
    settings: type[Settings],
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None = None,
    base: Settings | None = None,
) -> Settings:
    """Settings from, in rising order of precedence: defaults or `base`, the YAML of --config, flags.

    Raises ValueError for an unknown key or an impossible value in the YAML file, FileNotFoundError if it
    is missing.
    """
    parser.add_argument("--config", default=None, metavar="FILE", help="YAML file with any of these options")
    add_flags(parser, settings)
    given = vars(parser.parse_args(argv))
    config = given.pop("config")
    values = read_yaml(config) if config else {}
    values.update(given)
    return merge(settings, values, base, config)


def arguments(parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Arguments of a hand-made parser: flags over the YAML of --config over defaults. Adds --config.

    Raises ValueError for an unknown key or choice in the YAML file, FileNotFoundError if it is missing.
    """
    parser.add_argument("--config", default=None, metavar="FILE", help="YAML file with any of these options")
    first = argparse.ArgumentParser(add_help=False)
    first.add_argument("--config", default=None)
    config = first.parse_known_args(argv)[0].config
    actions = {action.dest: action for action in parser._actions if action.option_strings}
    del actions["config"], actions["help"]
    for key, value in (read_yaml(config) if config else {}).items():
        action = actions.get(str(key).replace("-", "_"))
        if action is None:
            raise ValueError(f"unknown option {key!r} in {config}; known are {', '.join(sorted(actions))}")
        if action.choices is not None and value not in action.choices:
            known = ", ".join(map(str, action.choices))
            raise ValueError(f"{key} must be one of {known} in {config}, not {value!r}")
        action.required = False
        # argparse converts defaults that are text, as it does words of the command line
        parser.set_defaults(**{action.dest: str(value) if action.type and value is not None else value})
    return parser.parse_args(argv)


def merge(
    settings: type[Settings], values: dict[str, Any], base: Settings | None = None, source: str | None = None
) -> Settings:
    """A `settings` object from a mapping over `base`. Keys may be written with - or _; unknown ones fail."""
    hints = typing.get_type_hints(settings)
    fields = {field.name: field for field in dataclasses.fields(settings)}  # type: ignore[arg-type]
    where = f" in {source}" if source else ""
    clean: dict[str, Any] = {}
    for key, value in values.items():
        name = str(key).replace("-", "_")
        if name not in fields:
            raise ValueError(f"unknown option {key!r}{where}; known are {', '.join(sorted(fields))}")
        clean[name] = _coerce(value, hints[name], name, where)
        choices = fields[name].metadata.get("choices")
        if choices and clean[name] is not None and clean[name] not in choices:
            raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}{where}, not {value!r}")
    if base is None:
        return settings(**clean)
    return dataclasses.replace(base, **clean)  # type: ignore[type-var]


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A mapping from a YAML file, read without constructing objects. Raises ValueError for anything else."""
    import yaml

    text = read_limited(Path(path))
    try:
        # An alias repeats what it names: a few lines of them would print as gigabytes.
        if "&" in text and any(
            isinstance(token, yaml.AliasToken) for token in yaml.scan(text, yaml.SafeLoader)
        ):
            raise ValueError(f"{path} has aliases (*name); write the values out")
        values = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{path} is not valid YAML: {str(error) or 'nested too deeply'}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a mapping of options to values")
    return values


def _is_switch_or_file(hint: Any) -> bool:
    """Whether an option is on, off, or on with a file: `bool | str`."""
    return set(typing.get_args(hint)) == {bool, str}


def _scalar_type(hint: Any) -> Any:
    """The type of one value of a flag: `int` for `int`, `int | None` and `tuple[int, ...]`."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    if typing.get_origin(hint) is tuple:
        hint = typing.get_args(hint)[0]
    return hint


def _coerce(value: Any, hint: Any, name: str, where: str) -> Any:
    if _is_switch_or_file(hint):
        if not isinstance(value, (bool, str)):
            raise ValueError(f"{name} must be true, false or the name of a file{where}, not {value!r}")
        return value
    optional = typing.get_origin(hint) in (typing.Union, types.UnionType)
    if value is None and optional:
        return None
    kind = _scalar_type(hint)
    inner = next((a for a in typing.get_args(hint) if a is not type(None)), hint) if optional else hint
    if typing.get_origin(inner) is tuple:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{name} must be a list{where}, not {value!r}")
        return tuple(_coerce(item, kind, name, where) for item in value)
    if kind is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError as error:
            raise ValueError(f"{name} must be a number{where}, not {value!r}") from error
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{name} must be {kind.__name__}{where}, not {value!r}")
    return value
