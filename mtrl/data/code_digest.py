"""A checksum of source code. It is kept with stored results, so that results of older code are not reused."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
from collections.abc import Iterator

_BASE = "mtrl"  # imported by every other package of the project, and importing none of them


@functools.cache
def code_digest(*modules: str) -> str:
    """Twenty hex digits that change with the code of these modules (dotted names) and of all modules that they import.

    Imports inside the same top-level package are followed, and those of `mtrl`, on which all others stand. Comments,
    docstrings and layout do not count. The digest may differ between versions of Python. A module without source, as in
    a frozen program, counts as empty.
    Raises ModuleNotFoundError for a module that does not exist.
    """
    codes: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in codes:
            tree, package = _parsed(name)
            waiting += _imported(tree, package)
            codes[name] = ast.dump(tree)
    text = "\n".join(f"{name}\n{code}" for name, code in sorted(codes.items()))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:20]


def _parsed(name: str) -> tuple[ast.Module, str]:
    """(syntax tree of a module without docstrings, name of its package)."""
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"there is no module {name}")
    tree = ast.parse(getattr(spec.loader, "get_source", lambda _: None)(name) or "")
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_text(part)]  # type: ignore[attr-defined]
    return tree, spec.parent or ""


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str)


def _imported(tree: ast.Module, package: str) -> Iterator[str]:
    """The modules that a module imports, of the same top-level package and of `mtrl`, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            names |= {source, *(f"{source}.{alias.name}" for alias in node.names)}
    followed = {package.partition(".")[0], _BASE}
    return (name for name in names if name.partition(".")[0] in followed and _is_module(name))


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the part before the last dot is a module, not a package
        return False
