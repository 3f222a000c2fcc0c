"""The rooms of the source (its folders by concern) and the imports between them, read from the files."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.helpers.paths import ROOT

PACKAGES = ("mtrl", "train", "eval")
# A room imports rooms that stand before it.
FILES = frozenset({"mtrl.labels"})
CONSOLE = FILES | {"mtrl.files"}
BASE = CONSOLE | {"mtrl.console"}
MODELS = BASE | {"mtrl.hub"}
PARTS = MODELS | {"mtrl.models"}
DATA = PARTS | {"mtrl.losses", "mtrl.translate"}
RETRIEVAL = DATA | {"mtrl.data"}
LIBRARY = RETRIEVAL | {"mtrl.retrieval"}
MAY_IMPORT = {
    "mtrl.labels": frozenset(),
    "mtrl.files": FILES,
    "mtrl.console": CONSOLE,
    "mtrl.hub": BASE,
    "mtrl.models": MODELS,
    "mtrl.losses": PARTS,
    "mtrl.translate": PARTS,
    "mtrl.data": DATA,
    "mtrl.retrieval": RETRIEVAL,
    "mtrl": LIBRARY,  # the public names
    "mtrl.demo": LIBRARY | {"mtrl"},
    "mtrl.commands": LIBRARY | {"mtrl", "mtrl.demo"},
    "eval": LIBRARY | {"mtrl"},
    "train": LIBRARY | {"mtrl", "eval"},
    "app": frozenset({"mtrl.demo", "mtrl.console"}),
}


def files(root: Path = ROOT) -> dict[str, Path]:
    """Every module of the source by its dotted name."""
    paths = [root / "app.py", *(path for name in PACKAGES for path in sorted((root / name).rglob("*.py")))]
    return {_dotted(path.relative_to(root)): path for path in paths}


def imports(path: Path, modules: Mapping[str, Path], module: str) -> set[str]:
    """The modules of the source that a file imports: at its top, in functions and for the type checker alone."""
    found: set[str] = set()
    for name in names(path, module):
        while name and name not in modules:  # a name within a module
            name = name.rpartition(".")[0]
        found |= {name} - {"", module}
    return found


def names(path: Path, module: str) -> Iterator[str]:
    """Every imported name in full: `from mtrl.files import lock` is `mtrl.files.lock`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
                base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [base])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def graph(root: Path = ROOT) -> dict[str, set[str]]:
    """Module -> the modules that it imports."""
    modules = files(root)
    return {module: imports(path, modules, module) for module, path in modules.items()}


def room(module: str, modules: Mapping[str, Path]) -> str:
    """`mtrl/files/lock.py` is in "mtrl.files", `mtrl/__init__.py` in "mtrl", all of train in "train"."""
    parts = module.split(".")
    if parts[0] != "mtrl" or len(parts) == 1:
        return parts[0]
    folder = ".".join(parts[:2])
    return folder if modules[folder].name == "__init__.py" else "mtrl"


def arrows(found: Mapping[str, set[str]], modules: Mapping[str, Path]) -> dict[tuple[str, str], set[str]]:
    """(room, imported room) -> "module -> module" of every import between the two."""
    result: dict[tuple[str, str], set[str]] = {}
    for module, targets in found.items():
        for target in targets:
            pair = room(module, modules), room(target, modules)
            if pair[0] != pair[1]:
                result.setdefault(pair, set()).add(f"{module} -> {target}")
    return result


def circles(found: Mapping[str, set[str]]) -> list[frozenset[str]]:
    """Groups of modules that import each other, each as large as it can be."""
    reach = {module: reachable(module, found) for module in found}
    groups = {frozenset(m for m in reach[module] if module in reach[m]) for module in found}
    return sorted((group for group in groups if group), key=sorted)


def reachable(module: str, found: Mapping[str, set[str]]) -> set[str]:
    """All that a module imports, directly or by way of others."""
    seen: set[str] = set()
    todo = list(found[module])
    while todo:
        if (target := todo.pop()) not in seen:
            seen.add(target)
            todo += found[target]
    return seen


def _dotted(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")
