"""How the tests are laid out: no test file needs another one, and paths are found in one place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

FILES = sorted((ROOT / "tests").rglob("*.py"))
# As code, and as text that a child process runs.
TEST_IMPORT = re.compile(
    r"\b(?:from|import) +tests\.(?:\w+\.)*(?:test_|conftest)|\bfrom +tests[\w.]* +import +test_"
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_imports_a_test(path: Path) -> None:
    assert not TEST_IMPORT.findall(path.read_text(encoding="utf-8"))
