"""Packages import downward only, and the library stays light: no gradio, no training code behind `import mtrl`."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("app", "mtrl", "train", "eval")
MAY_IMPORT = {
    "app": {"mtrl.demo", "mtrl.cli"},
    "train": {"train", "eval", "mtrl"},
    "eval": {"eval", "mtrl"},
    "mtrl": {"mtrl"},
}
HEAVY = ("gradio", "matplotlib", "scipy", "numba", "train", "eval", "tensorboard")


def sources() -> list[Path]:
    return [ROOT / "app.py", *(p for room in ROOMS[1:] for p in sorted((ROOT / room).rglob("*.py")))]


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            bare = node.module in ROOMS  # `from mtrl import cli` asks for mtrl.cli
            names |= {f"{node.module}.{alias.name}" for alias in node.names} if bare else {node.module}
    return names


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downward(path: Path) -> None:
    allowed = MAY_IMPORT[room(path)]
    ours = {name for name in imported(path) if name.split(".")[0] in ROOMS}
    wrong = {name for name in ours if not any(name == a or name.startswith(a + ".") for a in allowed)}
    assert not wrong
    if room(path) in ("train", "eval"):
        assert not {name for name in ours if name.startswith("mtrl.demo")}


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_gradio_is_imported_by_the_page_alone(path: Path) -> None:
    if any(name.split(".")[0] == "gradio" for name in imported(path)):
        assert path.is_relative_to(ROOT / "mtrl" / "demo")


def test_nothing_reads_pickles() -> None:
    forbidden = ("pickle", "torch.load", "yaml.load(", "joblib", "shelve")
    for path in sources():
        text = path.read_text(encoding="utf-8").replace("allow_pickle=False", "")
        if path == ROOT / "mtrl" / "pretrained.py":  # files of weights that a user names: tensors alone
            text = text.replace('torch.load(path, map_location="cpu", weights_only=True)', "")
        assert not [word for word in forbidden if word in text], path


def test_the_library_is_light() -> None:
    code = (
        "import sys; from mtrl import load_pretrained, MTRL, Gallery, Match; "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
