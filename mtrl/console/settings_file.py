"""Reads settings from a YAML file, each value as the text in the file, without YAML's guess of its type.

YAML 1.1 guesses types: `off` is false, `010` is eight, `12:30` is 750, `1e-3` is text. An option has a type of its own,
so each value is parsed by the option from its text, as on a command line.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from mtrl.files.untrusted import parse_json, read_limited

TRUE = ("true", "yes", "on")
FALSE = ("false", "no", "off")
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
_PREFIX = "tag:yaml.org,2002:"
_KINDS = ("null", "bool", "int", "float", "str", "timestamp", "seq", "map", "merge", "value")
_TAGS = {_PREFIX + kind for kind in _KINDS}


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A mapping from a YAML file, with the types that YAML gives its values. Runs no code.

    An empty file is an empty mapping. Raises ValueError for anything that is no mapping of plain YAML.
    """
    node = _compose(Path(path))
    if node is None:
        return {}
    try:
        loader = yaml.SafeLoader("")
        values: dict[str, Any] = loader.construct_document(node)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not valid YAML: {str(error) or 'nested too deeply'}") from error
    return values


def read_entries(path: str | Path) -> dict[str, yaml.Node]:
    """The entries of a YAML file by option name, with "-" in names replaced by "_".

    Raises ValueError for a file that is no mapping, and for an option that is given twice.
    """
    node, entries = _compose(Path(path)), dict[str, yaml.Node]()
    for key, value in node.value if node is not None else ():
        if not isinstance(key, yaml.ScalarNode):
            raise ValueError(f"{path} must hold a mapping of options to values")
        name = key.value.replace("-", "_")
        if name in entries:
            raise ValueError(f"{path}: {key.value} stands there twice")
        entries[name] = value
    return entries


def command_words(action: argparse.Action, flag: str, node: yaml.Node) -> Iterator[list[str]]:
    """Command-line arguments that give the option `action` the value of a YAML node.

    Yields lists of arguments, each to be parsed by itself. A list of values may need several, whose results are joined.
    Yields nothing for null, for a switch that keeps its default, and for an empty list where that is the default.
    Raises ValueError for a value that no command line can give.
    """
    if _is_null(node):
        return
    if action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction):
        yield from _switch(action, flag, node)
    elif isinstance(action, SwitchOrFile) and (on := _boolean(node)) is not None:
        yield [flag if on else f"--no-{flag.removeprefix('--')}"]
    elif action.nargs == argparse.OPTIONAL and action.const and (on := _boolean(node)) is not None:
        if on:
            yield [flag]
    elif isinstance(node, yaml.MappingNode):
        if action.type is not json_object:
            raise ValueError(f"argument {flag}: takes a value, not a mapping")
        yield [f"{flag}={json.dumps(_plain(node))}"]
    elif isinstance(node, yaml.SequenceNode):
        words = [_text(flag, item) for item in node.value]
        repeated = isinstance(action, argparse._AppendAction)
        if not repeated and action.nargs in (None, argparse.OPTIONAL):
            raise ValueError(f"argument {flag}: takes one value, not a list")
        if not words and (repeated or not action.default):
            return
        if isinstance(action.nargs, int) or not words:
            yield [flag, *words]
        else:
            yield from ([f"{flag}={word}"] for word in words)
    else:
        yield [f"{flag}={_text(flag, node)}"]


class SwitchOrFile(argparse.Action):
    """An option that is on (`--x`), off (`--no-x`), or on with a file (`--x FILE`): True, False or the file's name."""

    def __init__(self, option_strings: Sequence[str], dest: str, **keywords: Any) -> None:
        off = [f"--no-{flag.removeprefix('--')}" for flag in option_strings if not flag.startswith("--no-")]
        super().__init__([*option_strings, *off], dest, nargs=argparse.OPTIONAL, **keywords)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option: str | None = None,
    ) -> None:
        off = (option or "").startswith("--no-")
        if off and values is not None:
            raise argparse.ArgumentError(self, f"{option} takes no value, not {values!r}")
        setattr(namespace, self.dest, not off if values is None else values)


def json_object(text: str) -> str:
    """A JSON object as text in one normal form, as an argparse type. Raises ArgumentTypeError for other text."""
    try:
        value = parse_json(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be a JSON object ({error}), not {text!r}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"must be a JSON object, not {text!r}")
    return json.dumps(value)


def _compose(path: Path) -> yaml.MappingNode | None:
    """The YAML nodes of a file, None for an empty file. Raises ValueError unless it is a mapping of plain YAML."""
    text = read_limited(path)
    try:
        # Each alias repeats what it names, so nested aliases of a few lines could expand to gigabytes.
        if "&" in text and any(
            isinstance(token, yaml.AliasToken) for token in yaml.scan(text, yaml.SafeLoader)
        ):
            raise ValueError(f"{path} has aliases (*name); write the values out")
        node = yaml.compose(text, yaml.SafeLoader)
        for inner in _all_nodes(node):
            if inner.tag not in _TAGS:
                raise ValueError(f"{path} is not valid YAML: the tag {inner.tag.removeprefix(_PREFIX)!r}")
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{path} is not valid YAML: {str(error) or 'nested too deeply'}") from error
    if node is None or _is_null(node):
        return None
    if not isinstance(node, yaml.MappingNode):
        raise ValueError(f"{path} must hold a mapping of options to values")
    return node


def _all_nodes(node: yaml.Node | None) -> Iterator[yaml.Node]:
    if node is None:
        return
    yield node
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _all_nodes(item)
    elif isinstance(node, yaml.MappingNode):
        for pair in node.value:
            for item in pair:
                yield from _all_nodes(item)


def _switch(action: argparse.Action, flag: str, node: yaml.Node) -> Iterator[list[str]]:
    on = _boolean(node)
    if on is None:
        shown = repr(node.value) if isinstance(node, yaml.ScalarNode) else "a list or a mapping"
        raise ValueError(f"argument {flag}: must be true or false, not {shown}")
    if isinstance(action, argparse.BooleanOptionalAction):
        yield [flag if on else f"--no-{flag.removeprefix('--')}"]
    elif on == action.const:
        yield [flag]


def _boolean(node: yaml.Node) -> bool | None:
    word = node.value.lower() if isinstance(node, yaml.ScalarNode) else None
    return word in TRUE if word in (*TRUE, *FALSE) else None


def _text(flag: str, node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode) or _is_null(node):
        raise ValueError(f"argument {flag}: each value of a list must be text or a number")
    return str(node.value)


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == _PREFIX + "null"


def _plain(node: yaml.Node) -> Any:
    """A YAML node as a value for JSON.

    Text without quotes becomes a number, true, false or null where JSON writes it the same way; else it stays text.
    """
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): _plain(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item) for item in node.value]
    if _is_null(node):
        return None
    text = str(node.value)
    if (
        not isinstance(node, yaml.ScalarNode)
        or node.style is not None
        or (node.tag == _PREFIX + "str" and not _NUMBER.fullmatch(text))
    ):
        return text
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if not _NUMBER.fullmatch(text):
        return text
    return float(text) if set(text) & set(".eE") else int(text)
