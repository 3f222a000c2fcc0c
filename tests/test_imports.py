"""The rooms of the source: imports point downward, no circles, small folders and files, a light library."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from tests.helpers import rooms
from tests.helpers.paths import ROOT

MODULES = rooms.files()
GRAPH = rooms.graph()
ARROWS = rooms.arrows(GRAPH, MODULES)
HEAVY = ("gradio", "matplotlib", "scipy", "numba", "train", "eval", "tensorboard", "av")
MOST_ARROWS, MOST_FILES, MOST_LINES = 60, 15, 300
LARGE_FOLDERS = {"mtrl/data/synthetic"}  # one file for each thing that is drawn


def test_rooms_import_downward_only() -> None:
    assert set(rooms.MAY_IMPORT) == {rooms.room(module, MODULES) for module in MODULES}
    wrong = [lines for (upper, lower), lines in ARROWS.items() if lower not in rooms.MAY_IMPORT[upper]]
    assert not set().union(*wrong)


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert not rooms.circles(GRAPH)


def test_rooms_know_few_others() -> None:
    assert len(ARROWS) <= MOST_ARROWS, sorted(ARROWS)


def test_folders_are_small() -> None:
    count = Counter(path.relative_to(ROOT).parent.as_posix() for path in MODULES.values())
    assert {folder for folder, number in count.items() if number > MOST_FILES} <= LARGE_FOLDERS


def test_files_are_short() -> None:
    long = {
        path.relative_to(ROOT).as_posix()
        for path in MODULES.values()
        if len(path.read_text(encoding="utf-8").splitlines()) > MOST_LINES
    }
    assert not long


# The page: page -> tabs -> html -> service; the server knows no tab.
PAGE = ("mtrl.demo.service", "mtrl.demo.html", "mtrl.demo.tabs")


@pytest.mark.parametrize("part", [*PAGE, "mtrl.demo.server"])
def test_parts_of_the_page_import_downward_only(part: str) -> None:
    above = (
        {*PAGE[PAGE.index(part) + 1 :], "mtrl.demo.page", "mtrl.demo.launch"} if part in PAGE else {*PAGE[1:]}
    )
    wrong = {
        (module, target)
        for module, targets in GRAPH.items()
        for target in targets
        if f"{module}.".startswith(f"{part}.") and any(f"{target}.".startswith(f"{name}.") for name in above)
    }
    assert not wrong


def test_gradio_is_imported_by_the_page_alone() -> None:
    for module, path in MODULES.items():
        if any(name.split(".")[0] == "gradio" for name in rooms.names(path, module)):
            assert module.startswith("mtrl.demo.") and not module.startswith("mtrl.demo.service"), module


def test_nothing_reads_pickles() -> None:
    forbidden = ("pickle", "torch.load", "yaml.load(", "joblib", "shelve")
    for path in MODULES.values():
        text = path.read_text(encoding="utf-8").replace("allow_pickle=False", "")
        if (
            path == ROOT / "mtrl" / "models" / "pretrained.py"
        ):  # files of weights that a user names: tensors alone
            text = text.replace('torch.load(path, map_location="cpu", weights_only=True)', "")
        assert not [word for word in forbidden if word in text], path


def test_the_library_is_light() -> None:
    code = (
        "import sys; from mtrl import load_pretrained, MTRL, Gallery, Match; "
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# The rules themselves


def test_every_kind_of_import_counts(tmp_path) -> None:
    (tmp_path / "mtrl" / "files").mkdir(parents=True)
    (tmp_path / "mtrl" / "demo").mkdir()
    for package in ("mtrl", "mtrl/files", "mtrl/demo"):
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "app.py").write_text("import mtrl.demo.page\n")
    (tmp_path / "mtrl" / "demo" / "page.py").write_text("from ..files import lock\n")
    (tmp_path / "mtrl" / "files" / "lock.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from mtrl.demo.page import build\n"
    )
    (tmp_path / "mtrl" / "files" / "text.py").write_text("def f():\n    from . import lock\n")
    found = rooms.graph(tmp_path)
    assert found["app"] == {"mtrl.demo.page"}
    assert found["mtrl.demo.page"] == {"mtrl.files.lock"}
    assert found["mtrl.files.lock"] == {"mtrl.demo.page"}
    assert found["mtrl.files.text"] == {"mtrl.files.lock"}
    assert rooms.circles(found) == [frozenset({"mtrl.demo.page", "mtrl.files.lock"})]
    assert set(rooms.arrows(found, rooms.files(tmp_path))) == {
        ("app", "mtrl.demo"), ("mtrl.demo", "mtrl.files"), ("mtrl.files", "mtrl.demo")
    }  # fmt: skip
