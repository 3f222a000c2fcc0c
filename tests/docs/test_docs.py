"""Every command and program in README.md and docs/ works.

A block after `<!-- test: run -->` is run, block after block of a file in one folder; those after `<!-- test: slow -->`
too, but only with `-m slow`. Of every other block each `python -m ...` and `python app.py` line must be accepted by
its parser, and each Python block must compile and import names that exist.

What a block finds in its folder (all drawn people, nothing is downloaded):
    photos/{query,gallery}/{visible,infrared}/NAME/CAMERA.jpg   eve, fin, gus, hana, ivo; queries show the first two
    photos/train/{visible,infrared}/NAME/CAMERA.jpg             anna, bert, cem, dora
    day.jpg, night1.jpg, night2.jpg                             eve by day; eve and fin by night
    runs/x                                                      an untrained model that loads fast, with its card
A stand-in of the Hugging Face Hub answers for the real one, with a token in HF_TOKEN.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from mtrl import MTRL
from mtrl.models.card import CardFacts, model_card
from mtrl.models.config import ModelConfig
from tests.helpers.hub_stub import TOKEN, Hub, running_hub
from tests.helpers.paths import ROOT

GALLERY = ROOT / "mtrl" / "assets" / "gallery"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(
    r"(?:^<!-- test: (?P<mark>run|slow) -->\n)?^(?P<indent> *)```(?P<language>bash|python)\n(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
COMMAND = re.compile(r"python (?:-m (train|eval|mtrl)|(app)\.py)\b(.*)")
PEOPLE = ("anna", "bert", "cem", "dora", "eve", "fin", "gus", "hana", "ivo")


@dataclasses.dataclass(frozen=True)
class Block:
    page: str
    line: int
    mark: str
    language: str
    text: str

    def commands(self) -> Iterator[tuple[str, list[str]]]:
        """("train" | "eval" | "mtrl" | "app", words after it) of each of our commands in a bash block."""
        for line in self.text.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|\||&\s*$", line.split(" #")[0]):
                if found := COMMAND.fullmatch(part.strip()):
                    yield found[1] or found[2], shlex.split(found[3])


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(page.name, text[: m.start()].count("\n") + 1, m["mark"] or "", m["language"], textwrap.dedent(m["text"]))
        for m in FENCE.finditer(text)
    ]  # fmt: skip


ALL = [block for page in PAGES for block in blocks(page)]


class AcceptedError(BaseException):
    """Raised by a parser that accepted its command line, in place of what would follow."""


def call(program: str, words: list[str]) -> int:
    if program == "app":
        import app

        sys.argv = ["app.py", *words]
        return app.main()
    if words[:1] == ["bench"]:  # lives in train; mtrl passes it on to another process
        program = "train"
    return int(importlib.import_module(f"{program}.__main__").main(words) or 0)


@pytest.mark.parametrize(
    "block", [b for b in ALL if b.language == "bash"], ids=lambda b: f"{b.page}:{b.line}"
)
def test_commands_are_accepted_by_their_parsers(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    original = ArgumentParser.parse_args

    def parse_args(self: ArgumentParser, *arguments: Any) -> None:
        original(self, *arguments)
        raise AcceptedError

    monkeypatch.chdir(ROOT)  # recipes are named from here
    monkeypatch.setattr(sys, "argv", ["docs"])
    monkeypatch.setattr(ArgumentParser, "parse_args", parse_args)
    for program, words in block.commands():
        with pytest.raises(AcceptedError):
            call(program, words)


def test_a_wrong_command_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    block = Block("x.md", 1, "", "bash", "python -m eval --direction both \\\n  --no-such-flag  # and more\n")
    assert list(block.commands()) == [("eval", ["--direction", "both", "--no-such-flag"])]
    with pytest.raises(SystemExit):
        test_commands_are_accepted_by_their_parsers(block, monkeypatch)


@pytest.mark.parametrize(
    "block", [b for b in ALL if b.language == "python"], ids=lambda b: f"{b.page}:{b.line}"
)
def test_programs_import_what_exists(block: Block) -> None:
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in ("mtrl", "train", "eval"):
            module = importlib.import_module(str(node.module))
            for name in node.names:
                assert hasattr(module, name.name), f"{block.page}:{block.line}: {node.module}.{name.name}"


def copy(person: int, camera: int, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(GALLERY / f"{person:04d}_cam{camera}.jpg", target)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that blocks start from (see the head of this file)."""
    root = tmp_path_factory.mktemp("docs") / "template"
    for person, name in enumerate(PEOPLE, 1):
        for camera in range(1, 7):
            kind = "infrared" if camera in (3, 6) else "visible"
            splits = ["train"] if person <= 4 else ["gallery"]
            if person in (5, 6) and camera in (2, 3):
                splits = ["query"]
            for split in splits:
                copy(person, camera, root / "photos" / split / kind / name / f"{camera}.jpg")
    for camera, person, name in ((1, 5, "day"), (3, 5, "night1"), (6, 6, "night2")):
        copy(person, camera, root / f"{name}.jpg")
    torch.manual_seed(0)
    model = MTRL(ModelConfig("test_resnet", (64, 32)))
    model.save_pretrained(root / "runs" / "x", card=model_card(model.config, CardFacts(name="x")))
    return root


@pytest.fixture
def place(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    shutil.copytree(template, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    with running_hub(monkeypatch, str(tmp_path / "hub")) as hub:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("MTRL_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        yield hub


def run(page: Path, marks: tuple[str, ...]) -> None:
    names: dict[str, Any] = {"__name__": "docs"}
    for block in blocks(page):
        if block.mark not in marks:
            continue
        where = f"{page.name}:{block.line}"
        if block.language == "python":
            exec(compile(block.text, where, "exec"), names)
            continue
        commands = list(block.commands())
        plain = [line for line in block.text.replace("\\\n", " ").splitlines() if line.strip()]
        if len(commands) == len(
            plain
        ):  # only our own commands: no new process, which would import torch again
            for program, words in commands:
                assert call(program, words) == 0, where
        else:
            python = f'python() {{ "{sys.executable}" "$@"; }}\n'
            subprocess.run(["bash", "-euo", "pipefail", "-c", python + block.text], check=True)


def with_mark(*marks: str) -> list[Path]:
    return [page for page in PAGES if any(block.mark in marks for block in blocks(page))]


@pytest.mark.parametrize("document", with_mark("run"), ids=lambda document: document.name)
def test_marked_blocks_run(document: Path, place: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["docs"])
    run(document, ("run",))


@pytest.mark.slow
@pytest.mark.parametrize("document", with_mark("slow"), ids=lambda document: document.name)
def test_slow_blocks_run(document: Path, place: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["docs"])
    run(document, ("run", "slow"))


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if not target.startswith(("http://", "https://", "#")):
                assert (page.parent / target.split("#")[0]).exists(), f"{page.name}: {target}"


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index, page.name
