"""The page as a Hugging Face Space: the files that it needs, and nothing else of the folder it runs in."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from mtrl.hub import CARD, CONFIG, WEIGHTS

ROOT = Path(__file__).resolve().parent.parent
MODEL = "mtrl/assets/model"
PARTS = ("app.py", "LICENSE", "README.md", "mtrl")
# What the page imports, by its names in requirements.txt; training and tests are not part of it.
PAGE_PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "safetensors",
    "huggingface-hub",
    "pillow",
    "numpy",
    "tqdm",
    "pyyaml",
)
_SDK = re.compile(r"^sdk_version: *[\"']?([0-9.]+)[\"']? *$", re.MULTILINE)


def space_files(checkpoint: Path | None = None, root: Path = ROOT) -> dict[str, Path | bytes]:
    """Name in the Space -> file here, or content: app.py, mtrl/, README.md, LICENSE and the page's requirements.

    checkpoint: a folder whose model takes the shipped one's place, so that the Space needs no other repository.
    In a Git checkout the files are those that are committed; elsewhere all but hidden and compiled ones. Raises
    FileNotFoundError where the page's files are not, ValueError for changes that are not committed.
    """
    missing = [name for name in (*PARTS, "requirements.txt") if not (root / name).exists()]
    if missing:
        raise FileNotFoundError(
            f"{root} lacks {', '.join(missing)}: an installed package is not enough for a Space; run this command "
            "in a clone of the repository"
        )
    files: dict[str, Path | bytes] = {name: root / name for name in _names(root)}
    files["requirements.txt"] = page_requirements(root).encode()
    if checkpoint is not None:
        files = {name: source for name, source in files.items() if not name.startswith(f"{MODEL}/")}
        for name in (CONFIG, WEIGHTS, CARD):
            if (checkpoint / name).is_file():
                files[f"{MODEL}/{name}"] = checkpoint / name
    return files


def page_requirements(root: Path = ROOT) -> str:
    """requirements.txt of the page: its packages out of the repository's, and Gradio as pinned in README.md."""
    text = (root / "requirements.txt").read_text(encoding="utf-8")
    lines = {re.split(r"[<>=!~ ]", line)[0]: line for line in text.splitlines()}
    pinned = _SDK.search((root / "README.md").read_text(encoding="utf-8").split("\n---", 1)[0])
    if pinned is None:
        raise ValueError(f"{root / 'README.md'} opens without sdk_version; a Space needs its front matter")
    return "\n".join([*(lines[name] for name in PAGE_PACKAGES), f"gradio=={pinned[1]}"]) + "\n"


def git_commit(root: Path = ROOT) -> str:
    """The commit of a Git checkout, "" for any other folder."""
    return (_git(root, "rev-parse", "HEAD") or "").strip() if _is_checkout(root) else ""


def _names(root: Path) -> list[str]:
    if not _is_checkout(root):
        paths = [root / name for name in PARTS if name != "mtrl"] + sorted((root / "mtrl").rglob("*"))
        return [path.relative_to(root).as_posix() for path in paths if path.is_file() and _wanted(path, root)]
    changed = (_git(root, "status", "--porcelain", "--", *PARTS) or "").splitlines()
    if changed:
        raise ValueError(
            f"{len(changed)} files of the page differ from the last commit, first {changed[0][3:]}: commit them, so "
            "that the Space shows a state that can be found again"
        )
    names = (_git(root, "ls-files", "-z", "--", *PARTS) or "").split("\0")
    return [name for name in names if name and _wanted(root / name, root)]


def _wanted(path: Path, root: Path) -> bool:
    """No hidden file or folder, no cache, no link to elsewhere."""
    parts = path.relative_to(root).parts
    hidden = any(part.startswith(".") or part == "__pycache__" for part in parts)
    return not hidden and path.suffix != ".pyc" and not path.is_symlink()


def _is_checkout(root: Path) -> bool:
    """Whether this folder itself is under version control, not only one above it."""
    top = _git(root, "rev-parse", "--show-toplevel")
    return top is not None and Path(top.strip()) == root


def _git(root: Path, *arguments: str) -> str | None:
    """What git prints, or None where it cannot (no Git, no checkout)."""
    try:
        done = subprocess.run(
            ["git", "-c", "core.quotePath=false", *arguments],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
