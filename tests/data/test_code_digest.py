"""The digest of code: what must change it, and what must not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mtrl.data import code_digest as source
from mtrl.data.code_digest import code_digest

FILES = {
    "__init__.py": "from . import top\n",
    "top.py": '"""What it is."""\nfrom .low import VALUE\nimport json\n\ndef f():\n    return VALUE\n',
    "low.py": "VALUE = 1  # one\n",
    "aside.py": "OTHER = 1\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose `top` imports `low`, but not `aside`."""
    folder = tmp_path / "digested"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "digested"]:
        del sys.modules[name]


def digest(*modules: str) -> str:
    code_digest.cache_clear()
    return code_digest(*modules)


def test_code_counts_wherever_it_is_imported_from(package: Path) -> None:
    before = digest("digested.top")
    (package / "low.py").write_text("VALUE = 2\n")
    assert digest("digested.top") != before
    (package / "low.py").write_text(FILES["low.py"])
    (package / "top.py").write_text(FILES["top.py"].replace("return VALUE", "return -VALUE"))
    assert digest("digested.top") != before
    assert digest("digested.top", "digested.aside") != digest("digested.top")
    assert digest("digested") != digest("digested.low")


def test_comments_layout_and_other_modules_do_not_count(package: Path) -> None:
    before = digest("digested.top")
    (package / "low.py").write_text("# nothing new\nVALUE = (1)\n")
    (package / "top.py").write_text(FILES["top.py"].replace("What it is", "In other words"))
    (package / "aside.py").write_text("OTHER = 2\n")
    assert digest("digested.top") == before


def test_imports_of_the_base_package_count(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `eval` measures with is written in `mtrl`."""
    (package / "top.py").write_text("from aside_base import values\n")
    (package.parent / "aside_base").mkdir()
    (package.parent / "aside_base" / "__init__.py").write_text("")
    (package.parent / "aside_base" / "values.py").write_text("VALUE = 1\n")
    apart = digest("digested.top")
    monkeypatch.setattr("mtrl.data.code_digest._BASE", "aside_base")
    before = digest("digested.top")
    (package.parent / "aside_base" / "values.py").write_text("VALUE = 2\n")
    assert len({apart, before, digest("digested.top")}) == 3
    monkeypatch.undo()
    code_digest.cache_clear()
    followed: list[str] = []
    monkeypatch.setattr(
        source, "_parsed", lambda name, real=source._parsed: followed.append(name) or real(name)
    )
    code_digest("eval.evaluate", "mtrl.models.reid")
    assert {"mtrl.retrieval.metrics.ranking", "mtrl.retrieval.metrics.labels", "eval.protocols"} <= set(
        followed
    )


def test_a_module_that_is_not_there(package: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"digested\.none"):
        digest("digested.none")
