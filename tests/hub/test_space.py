"""The Space holds what the page needs and nothing else, and what it holds runs by itself."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from mtrl import MTRL
from mtrl.__main__ import main
from mtrl.commands import push
from mtrl.hub.checkout import NoAnswerError, read_checkout
from mtrl.hub.space import (
    MODEL,
    OTHERS,
    PAGE_PACKAGES,
    ROOT,
    WITHOUT_GIT,
    page_commit,
    page_requirements,
    space_files,
)  # fmt: skip
from mtrl.models.config import ModelConfig
from mtrl.models.load import DEFAULT, SHIPPED
from tests.helpers.hub_stub import TOKEN, Hub
from train.run.log import git_state


@pytest.fixture
def hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The stand-in of the Hub with its owner signed in."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return hub


def small_clone(root: Path) -> Path:
    """A tree with the parts of a Space, and with what must never get into one."""
    for name, text in {
        "app.py": "app\n",
        "LICENSE": "MIT\n",
        "README.md": "---\nsdk: gradio\nsdk_version: 6.31.0\n---\n# Page\n",
        "mtrl/__init__.py": "",
        "mtrl/assets/accurate/config.json": "{}",
        "mtrl/assets/accurate/model.safetensors": "w",
        "mtrl/assets/accurate/reference.safetensors": "r",
        "mtrl/assets/fast/config.json": "{}",
        "mtrl/assets/fast/model.safetensors": "w",
        "mtrl/assets/gallery/1.jpg": "j",
        "mtrl/demo/html/static/page.css": ".m {}",
        "mtrl/demo/html/static/map.js": "read();",
        "mtrl/__pycache__/x.cpython-311.pyc": "c",
        "mtrl/.cache/token": "t",
        "mtrl/.env": "t",
        ".env": "HF_TOKEN=x",
        ".gitignore": "__pycache__/\nruns/\n.env\n.cache/\n",
        "requirements.txt": "\n".join([*(f"{name}>=1" for name in PAGE_PACKAGES), "pytest>=8", "gradio>=6"]),
        "runs/x/model.safetensors": "run",
        "train/__main__.py": "train\n",
        "tests/test_x.py": "test\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "mtrl" / "link.json").symlink_to("/etc/passwd")
    return root


WANTED = {
    "app.py",
    "LICENSE",
    "README.md",
    "requirements.txt",
    "mtrl/__init__.py",
    "mtrl/assets/accurate/config.json",
    "mtrl/assets/accurate/model.safetensors",
    "mtrl/assets/accurate/reference.safetensors",
    "mtrl/assets/fast/config.json",
    "mtrl/assets/fast/model.safetensors",
    "mtrl/assets/gallery/1.jpg",
    "mtrl/demo/html/static/page.css",
    "mtrl/demo/html/static/map.js",
}


def git(root: Path, *arguments: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *who, *arguments], cwd=root, check=True, capture_output=True)


def test_only_what_the_page_needs_is_listed(tmp_path: Path) -> None:
    root = small_clone(tmp_path / "clone")
    assert set(space_files(root=root)) == WANTED  # an unpacked archive, no checkout
    git(root, "init")
    git(root, "add", "--all")
    git(root, "commit", "-m", "all")
    assert set(space_files(root=root)) == WANTED
    (root / "mtrl" / "new.py").write_text("")
    with pytest.raises(ValueError, match=r"1 files of the page differ .*mtrl/new\.py: commit them"):
        space_files(root=root)
    git(root, "add", "mtrl/new.py")
    git(root, "commit", "-m", "new")
    (root / "tests" / "test_x.py").write_text("changed\n")  # no part of the page
    assert set(space_files(root=root)) == WANTED | {"mtrl/new.py"}


def committed_clone(root: Path) -> Path:
    small_clone(root)
    for arguments in (["init"], ["add", "--all"], ["commit", "-m", "all"]):
        git(root, *arguments)
    return root


def no_git(root: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("PATH", str(root / "nothing"))


def broken_git(root: Path, patch: pytest.MonkeyPatch) -> None:
    (root / ".git" / "HEAD").unlink()


def gone_worktree(root: Path, patch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(root / ".git")
    (root / ".git").write_text("gitdir: /nowhere/.git/worktrees/x\n")


def broken_index(root: Path, patch: pytest.MonkeyPatch) -> None:
    (root / ".git" / "index").write_bytes(b"nothing")


def no_commit(root: Path, patch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(root / ".git")
    git(root, "init")


def other_work_tree(root: Path, patch: pytest.MonkeyPatch) -> None:
    (root.parent / "elsewhere").mkdir()
    git(root, "config", "core.worktree", str(root.parent / "elsewhere"))


def bare(root: Path, patch: pytest.MonkeyPatch) -> None:
    git(root, "config", "core.bare", "true")


def other_owner(root: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")


def only_in_the_environment(root: Path, patch: pytest.MonkeyPatch) -> None:
    (root / ".git").rename(root.parent / "elsewhere.git")
    patch.setenv("GIT_DIR", str(root.parent / "elsewhere.git"))
    patch.setenv("GIT_WORK_TREE", str(root))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (no_git, "git cannot be run .*install git"),
        (broken_git, "git does not answer"),
        (gone_worktree, "git does not answer"),
        (broken_index, "git does not answer"),
        (no_commit, "without a commit"),
        (other_work_tree, "work tree"),
        (bare, "work tree"),
        (other_owner, "another user.*git config --global --add safe.directory {root}"),
        (only_in_the_environment, "GIT_DIR is set.*unset it"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_no_answer_of_git_is_not_a_clean_tree(
    spoil: Callable[[Path, pytest.MonkeyPatch], None],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = committed_clone(tmp_path / "clone")
    (root / "app.py").write_text("changed\n")
    (root / "mtrl" / "notes.py").write_text("private\n")
    spoil(root, monkeypatch)
    with pytest.raises(NoAnswerError, match=says.format(root=re.escape(str(root)))):
        space_files(root=root)
    with pytest.raises(NoAnswerError):
        page_commit(root)
    commit, changed = git_state(root)
    assert commit.startswith("unknown (") and changed is None


@pytest.mark.parametrize("way", ["--assume-unchanged", "--skip-worktree"])
def test_a_file_that_git_does_not_compare_counts_as_changed(way: str, tmp_path: Path) -> None:
    root = committed_clone(tmp_path / "clone")
    (root / "app.py").write_text("changed\n")
    git(root, "update-index", way, "app.py")
    with pytest.raises(ValueError, match=r"differ .*app\.py \(not compared\)"):
        space_files(root=root)
    assert git_state(root)[1] == ["-- app.py (not compared)"]


@pytest.mark.parametrize("name", ["app.py", "requirements.txt"])
def test_another_repository_in_the_environment_does_not_answer_for_this_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, other = committed_clone(tmp_path / "clone"), committed_clone(tmp_path / "other")
    with (root / name).open("a") as file:
        file.write("changed\n")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    with pytest.raises(ValueError, match=f"differ .*{name}"):
        space_files(root=root)


def test_a_worktree_and_a_folder_of_another_project(tmp_path: Path) -> None:
    root = committed_clone(tmp_path / "clone")
    git(root, "worktree", "add", str(tmp_path / "tree"))
    shutil.copy(root / "LICENSE", tmp_path / "tree" / "mtrl" / "notes.txt")
    with pytest.raises(ValueError, match=r"notes\.txt"):
        space_files(root=tmp_path / "tree")
    (tmp_path / "tree" / "mtrl" / "notes.txt").unlink()
    assert set(space_files(root=tmp_path / "tree")) == WANTED
    inside = small_clone(root / "vendor")  # not tracked there: an unpacked archive
    assert (
        read_checkout(inside) is None
        and page_commit(inside) == ""
        and set(space_files(root=inside)) == WANTED
    )
    git(root, "add", "vendor")
    git(root, "commit", "-m", "vendor")
    assert page_commit(inside) == page_commit(root) != "" and set(space_files(root=inside)) == WANTED
    (inside / "app.py").write_text("changed\n")
    with pytest.raises(ValueError, match=r"app\.py"):
        space_files(root=inside)


def test_without_git_an_explicit_list_says_what_may_leave(tmp_path: Path) -> None:
    root = small_clone(tmp_path / "archive")
    for name in (
        "mtrl/people.csv",
        "mtrl/assets/gallery/ann.png",
        "mtrl/assets/accurate/optimizer.safetensors",
        "a.py",
    ):
        (root / name).write_text("private")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "ann.py").write_text("private")
    (root / "mtrl" / "linked").symlink_to(tmp_path / "photos")
    assert set(space_files(root=root)) == WANTED


def test_the_explicit_list_has_all_committed_files_of_the_page() -> None:
    checkout = read_checkout(ROOT, ("app.py", "LICENSE", "README.md", "mtrl"))
    if checkout is None:
        pytest.skip("no Git checkout")
    listed = {path.relative_to(ROOT).as_posix() for pattern in WITHOUT_GIT for path in ROOT.glob(pattern)}
    assert set(checkout.files) <= listed


def test_another_model_takes_the_place_of_the_shipped_ones(tmp_path: Path) -> None:
    root, folder = small_clone(tmp_path / "clone"), tmp_path / "run"
    torch.manual_seed(0)
    MTRL(ModelConfig("test_resnet", (64, 32))).save_pretrained(folder, card="# Mine\n")
    (folder / "settings.yaml").write_text("data_root: /photos/ann\n")
    files = space_files(folder, root)
    model = {name: path for name, path in files.items() if name.startswith("mtrl/assets/accurate/")}
    assert model == {
        f"mtrl/assets/accurate/{n}": folder / n for n in ("config.json", "model.safetensors", "README.md")
    }
    assert not [name for name in files if name.startswith("mtrl/assets/fast/")]


def test_the_page_opens_the_default_model() -> None:
    assert [ROOT / folder for folder in (MODEL, *OTHERS)] == [
        SHIPPED[DEFAULT],
        *(folder for name, folder in SHIPPED.items() if name != DEFAULT),
    ]


def test_an_installed_package_is_told_to_clone(tmp_path: Path) -> None:
    (tmp_path / "mtrl").mkdir()
    with pytest.raises(FileNotFoundError, match=r"lacks app\.py.*in a clone of the repository"):
        space_files(root=tmp_path)


def test_the_front_matter_and_the_requirements_agree_with_the_project() -> None:
    front = yaml.safe_load((ROOT / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    assert front["sdk"] == "gradio" and (ROOT / front["app_file"]).is_file() and front["license"] == "mit"
    lines = page_requirements().splitlines()
    assert lines[-1] == f"gradio=={front['sdk_version']}"
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    library = re.search(r"^dependencies = \[\n(.*?)^\]", project, re.MULTILINE | re.DOTALL)
    page = re.search(r"^demo = \[(.*)\]$", project, re.MULTILINE)
    assert library is not None and page is not None
    needed = re.findall(r'"([^"]+)"', library[1] + page[1])
    assert {line for line in needed if not line.startswith("gradio")} == set(lines[:-1])
    assert not {line for line in lines if line.startswith(("pytest", "hypothesis", "tensorboard", "scipy"))}


def test_a_space_mirrors_the_clone(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = small_clone(tmp_path / "clone")
    shutil.copytree(ROOT / "mtrl" / "assets" / "accurate", root / "mtrl/assets/accurate", dirs_exist_ok=True)
    monkeypatch.setattr(push, "space_files", lambda checkpoint: space_files(checkpoint, root))
    assert main(["push", "--space", "ann/page", "--private"]) == 0
    space = hub.repos["spaces/ann/page"]
    assert space.private and space.sdk == "gradio" and "ann/page" not in hub.repos
    assert set(space.commits[space.branches["main"]]) == WANTED | {"mtrl/assets/accurate/README.md"}
    (root / "mtrl" / "assets" / "gallery" / "1.jpg").unlink()
    assert main(["push", "--space", "ann/page"]) == 0
    files = space.commits[space.branches["main"]]
    assert "mtrl/assets/gallery/1.jpg" not in files
    assert files["app.py"] == b"app\n" and b"pytest" not in files["requirements.txt"]


# Runs a script while only the closure of a requirements file can be imported: a clean environment without the
# minutes that installing one takes. A module of any other installed distribution is as good as absent.
ONLY = """
import importlib.metadata as md, re, runpy, sys
from packaging.requirements import InvalidRequirement, Requirement
todo, kept = [Requirement(line.strip()) for line in open("requirements.txt") if line.strip()], set()
norm = lambda name: re.sub(r"[-_.]+", "-", name).lower()
while todo:
    wanted = todo.pop()
    key = (norm(wanted.name), *sorted(wanted.extras))
    if key in kept:
        continue
    kept.add(key)
    try:
        found = md.distribution(wanted.name)
    except md.PackageNotFoundError:
        continue
    assert wanted.specifier.contains(found.version), (wanted, found.version)
    for line in found.requires or []:
        try:
            part = Requirement(line)
        except InvalidRequirement:
            continue
        if any(part.marker is None or part.marker.evaluate({"extra": e}) for e in ("", *wanted.extras)):
            todo.append(part)
names = {key[0] for key in kept}
hidden = {m for m, owners in md.packages_distributions().items() if not names & {norm(o) for o in owners}}
assert "pytest" in hidden and "torch" not in hidden
class Visible:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in hidden else self.finder.find_spec(name, path, target)
sys.meta_path = [Visible(finder) for finder in sys.meta_path]
sys.path.insert(0, "")
import mtrl
import sklearn.manifold  # what the Explore tab imports when it is opened
print("PACKAGE", mtrl.__file__, flush=True)
sys.argv = ["app.py"]
runpy.run_path("app.py", run_name="__main__")
"""


@pytest.mark.slow
def test_the_uploaded_tree_serves_the_page(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of the stub's commit, alone in a folder and offline, until /retrieve has answered.

    With MTRL_SPACE_PYTHON, a Python into which the Space's requirements.txt was installed, it runs in that one.
    """
    gradio_client = pytest.importorskip("gradio_client")
    source = tmp_path / "source"
    for name in ("app.py", "LICENSE", "README.md", "requirements.txt"):
        source.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    shutil.copytree(ROOT / "mtrl", source / "mtrl", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(push, "space_files", lambda checkpoint: space_files(checkpoint, source))
    assert main(["push", "--space", "ann/page"]) == 0
    space, tree = hub.repos["spaces/ann/page"], tmp_path / "space"
    for name, content in space.commits[space.branches["main"]].items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content)
    (tree / "requirements.txt").write_text(_installed_gradio((tree / "requirements.txt").read_text()))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    clean = os.environ.get("MTRL_SPACE_PYTHON")
    command = [clean, "app.py"] if clean else [sys.executable, "-I", "-c", ONLY]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "GRADIO_SERVER_PORT": str(port),
        "HF_HUB_OFFLINE": "1",
        "NO_PROXY": "127.0.0.1,localhost",
    }
    log = tmp_path / "log.txt"
    with log.open("w") as output:
        server = subprocess.Popen(command, cwd=tree, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait_for(port, server, log)
        client = gradio_client.Client(f"http://127.0.0.1:{port}/", verbose=False, analytics_enabled=False)
        person = ROOT / "mtrl" / "assets" / "gallery" / "0001_cam1.jpg"
        _, answer = client.predict(gradio_client.handle_file(str(person)), api_name="/retrieve")
        assert answer["modality"] == "visible" and answer["matches"][0]["correct"] in (True, False)
        if not clean:
            assert f"PACKAGE {tree / 'mtrl'}" in log.read_text()
    finally:
        server.terminate()
        server.wait(timeout=30)


def _installed_gradio(requirements: str) -> str:
    """The pin widened to the Gradio of this environment, when that is another within the project's range."""
    return re.sub(r"gradio==.*", f"gradio=={importlib.metadata.version('gradio')}", requirements)


def _wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        assert server.poll() is None, log.read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.5)
    raise AssertionError(log.read_text())
