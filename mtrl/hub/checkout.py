"""Reads a Git checkout: its commit, its tracked files, and which of them differ from that commit.

A failure of git on a checkout is an error. Otherwise the checkout could be mistaken for one without changes.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

# Environment variables that would point Git to another repository or to other files than the folder's.
_REDIRECTING = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_CEILING_DIRECTORIES",
)
_PATIENCE = 60  # seconds that git may take


class NoAnswerError(OSError):
    """Git failed on a checkout; the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Checkout:
    """The state of a Git checkout.

    commit   full hash of the commit that is checked out
    files    tracked files, relative to the folder
    changed  one line of `git status` for each file that differs, and one line for each file whose changes Git is told
             to ignore (assume-unchanged, skip-worktree)
    """

    commit: str
    files: tuple[str, ...]
    changed: tuple[str, ...]


def read_checkout(root: Path, paths: Sequence[str] = (".",), untracked: bool = False) -> Checkout | None:
    """The Git state of some paths of a folder; None if the folder is no Git checkout (an unpacked archive).

    untracked  True counts files that Git neither tracks nor ignores as changed
    A folder inside another project's checkout belongs to that checkout only if files of it are tracked there.
    Raises NoAnswerError.
    """
    top = next((folder for folder in (root, *root.parents) if os.path.lexists(folder / ".git")), None)
    if top is None:
        redirected = [name for name in ("GIT_DIR", "GIT_WORK_TREE") if os.environ.get(name)]
        if redirected:
            raise NoAnswerError(
                f"{redirected[0]} is set, but {root} has no .git: unset it, or run this in an ordinary clone"
            )
        return None
    # Each entry is a letter that gives the file's status, a space, and the file's name.
    listed = [entry for entry in _git(root, "ls-files", "-v", "-z", "--", *paths).split("\0") if entry]
    if not listed and top != root:
        return None
    if not Path(_git(root, "rev-parse", "--show-toplevel").rstrip("\n")).samefile(top):
        raise NoAnswerError(
            f"Git takes another folder than {top} for the work tree of {top / '.git'}: unset core.worktree there"
        )
    commit = _git(root, "rev-parse", "--verify", "HEAD").strip()
    seen = "normal" if untracked else "no"
    changed = _git(root, "status", "--porcelain", f"--untracked-files={seen}", "--", *paths).splitlines()
    # Git reports no change of files marked assume-unchanged (a small letter) or skip-worktree (S).
    changed += [f"-- {name[2:]} (not compared)" for name in listed if name[0].islower() or name[0] == "S"]
    return Checkout(commit, tuple(name[2:] for name in listed), tuple(changed))


def _git(root: Path, *arguments: str) -> str:
    """Runs git in `root` and returns its output. Ignores a repository set by the environment. Raises NoAnswerError."""
    environment = {name: value for name, value in os.environ.items() if name not in _REDIRECTING}
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-c", "core.quotePath=false", *arguments],
            cwd=root,
            env={**environment, "LC_ALL": "C"},
            capture_output=True,
            timeout=_PATIENCE,
        )
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise NoAnswerError(
            f"{root} is a Git checkout, but git cannot be run ({reason}): install git"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise NoAnswerError(f"git did not answer about {root} within {_PATIENCE} seconds") from error
    if done.returncode == 0:
        return os.fsdecode(done.stdout)
    said = os.fsdecode(done.stderr).strip() or f"exit {done.returncode}"
    if "dubious ownership" in said or "unsafe repository" in said:
        advice = f"if you trust it, run: git config --global --add safe.directory {_owned(said, root)}"
        raise NoAnswerError(f"{root} is a Git checkout of another user, so Git does not answer; {advice}")
    if arguments[:2] == ("rev-parse", "--verify"):
        raise NoAnswerError(f"{root} is a Git checkout without a commit: commit its files first")
    line = said.splitlines()[0].removeprefix("fatal: ")
    raise NoAnswerError(
        f"{root} is a Git checkout, but git does not answer ({line}); `git status` there must work"
    )


def _owned(said: str, root: Path) -> str:
    """The folder that Git's message asks to trust, or `root` if it names none."""
    last = said.splitlines()[-1].split()
    return last[-1] if "safe.directory" in said.splitlines()[-1] else str(root)
