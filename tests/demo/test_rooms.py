"""Folders of the page import downward, a tab is a file and an entry, every static file is used."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from mtrl.demo.html import static_files
from mtrl.demo.service.service import DemoService

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "mtrl" / "demo"
MAY_IMPORT = {
    "service": {"service"},
    "html": {"html", "service"},
    "server": {"server"},
    "tabs": {"tabs", "html", "service", "server"},
}
WITHOUT_GRADIO = ("service", "html")
TAB = """
from mtrl.demo.tabs.parts import PageParts, html

def build(page: PageParts, tab: object) -> None:
    html(f"<p>{len(page.galleries.names)} galleries</p>", "hello-words")
"""


def imported(path: Path) -> set[str]:
    """Names that a file imports, also inside functions and for types alone."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path} has a relative import"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_folders_of_the_page_import_downward(folder: str) -> None:
    rooms = {path.name for path in DEMO.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms == set(MAY_IMPORT)
    for path in sorted((DEMO / folder).rglob("*.py")):
        found = {name.split(".")[2] for name in imported(path) if name.startswith("mtrl.demo.")}
        assert found <= MAY_IMPORT[folder], path
        if folder in WITHOUT_GRADIO:
            assert "gradio" not in {name.split(".")[0] for name in imported(path)}, path


def test_service_and_html_work_without_gradio() -> None:
    names = [f"mtrl.demo.{f}.{path.stem}" for f in WITHOUT_GRADIO for path in sorted((DEMO / f).glob("*.py"))]
    code = (
        "import importlib, sys; sys.modules['gradio'] = None; "
        f"[importlib.import_module(name.removesuffix('.__init__')) for name in {names}]"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_tab_is_a_file_and_an_entry(
    service: DemoService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradio = pytest.importorskip("gradio")
    from mtrl.demo import page
    from mtrl.demo.tabs.parts import Tab, open_tab

    (tmp_path / "hello_tab.py").write_text(TAB)
    monkeypatch.syspath_prepend(str(tmp_path))
    added = importlib.import_module("hello_tab")
    monkeypatch.setattr(page, "TABS", (*page.TABS, Tab("hello", "Say hello", added.build)))
    built = page.build_page(service)
    config = built.get_config_file()
    tabs = [c["props"] for c in config["components"] if c["type"] == "tabitem"]
    assert [(tab["id"], tab["label"]) for tab in tabs][-2:] == [("about", "About"), ("hello", "Say hello")]
    assert [tab["id"] for tab in tabs] == [tab.name for tab in page.TABS]
    (words,) = [c["props"] for c in config["components"] if c["props"].get("elem_id") == "hello-words"]
    assert words["value"] == "<p>1 galleries</p>"

    tabs = next(block for block in built.blocks.values() if isinstance(block, gradio.Tabs))
    assert open_tab(tabs, "hello").selected == "hello" and open_tab(tabs, "other").selected == "retrieve"


def test_every_static_file_is_used() -> None:
    files = {path.name for path in static_files.FOLDER.iterdir()}
    styles = {f"{name}.css" for name in (*static_files.STYLESHEETS, static_files.IN_HEAD)}
    sources = "".join(path.read_text(encoding="utf-8") for path in DEMO.rglob("*.py"))
    assert styles == {name for name in files if name.endswith(".css")}
    for name in files - styles:
        assert name.endswith(".js") and f'"{name.removesuffix(".js")}"' in sources, name
    sent = static_files.css() + static_files.head()
    assert all(sent.count((static_files.FOLDER / name).read_text()) == 1 for name in styles)
