"""The repository as a whole: no test file needs another one, and the files that the documentation names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.helpers import draw_rooms, rooms
from tests.helpers.paths import ROOT

FILES = sorted((ROOT / "tests").rglob("*.py"))
# As code, and as text that a child process runs.
TEST_IMPORT = re.compile(
    r"\b(?:from|import) +tests\.(?:\w+\.)*(?:test_|conftest)|\bfrom +tests[\w.]* +import +test_"
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_imports_a_test(path: Path) -> None:
    assert not TEST_IMPORT.findall(path.read_text(encoding="utf-8"))


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / ".github").glob("*.md"))]
NAMED = re.compile(r"\b(?:(?:mtrl|train|eval|tests|docs)/[\w/.*-]*[\w/*]|app\.py)(?=[`:, )])")
EXAMPLES = ("NAME", "train/visible", "train/infrared", "train/thermal")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_the_documentation_names_exist(page: Path) -> None:
    named = set(NAMED.findall(page.read_text(encoding="utf-8")))
    missing = {name for name in named if not any(ROOT.glob(name.rstrip("/")))}
    assert not {name for name in missing if not any(example in name for example in EXAMPLES)}


def test_the_map_shows_every_room() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("## Rooms")[1].split("##")[0]
    drawn = set(draw_rooms.BOXES) - {draw_rooms.BASE} | rooms.BASE
    assert drawn == set(rooms.MAY_IMPORT)
    names = {"mtrl": "mtrl/*.py", "app": "app.py"}
    for room in rooms.MAY_IMPORT:
        assert f"`{names.get(room, room.replace('.', '/'))}`" in text, room
