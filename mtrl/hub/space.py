"""The demo page as a Hugging Face Space: lists the files to upload."""

from __future__ import annotations

import re
from pathlib import Path

from mtrl.hub.checkout import read_checkout
from mtrl.hub.client import CARD, CONFIG, WEIGHTS

ROOT = Path(__file__).resolve().parents[2]
MODEL = "mtrl/assets/accurate"  # the default checkpoint, which the page opens
OTHERS = ("mtrl/assets/fast",)
PARTS = ("app.py", "LICENSE", "README.md", "requirements.txt", "mtrl")
# What may be uploaded from a folder that is no Git checkout. A test compares it with the committed files.
WITHOUT_GIT = (
    "app.py",
    "LICENSE",
    "README.md",
    "mtrl/**/*.py",
    "mtrl/demo/html/static/*.css",
    "mtrl/demo/html/static/*.js",
    "mtrl/assets/gallery/manifest.json",
    "mtrl/assets/gallery/*.jpg",
    "mtrl/assets/gallery/truth/*.jpg",
    "mtrl/assets/m3svd/*",
    *(
        f"mtrl/assets/{folder}/{name}"
        for folder in ("accurate", "fast", "translator", "translator-thermal")
        for name in (CARD, CONFIG, WEIGHTS, "reference.safetensors")
    ),
)
# Packages that the page needs, by their names in requirements.txt, without those of training and tests.
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
    "markdown-it-py",
    "scikit-learn",
)
_SDK = re.compile(r"^sdk_version: *[\"']?([0-9.]+)[\"']? *$", re.MULTILINE)


def space_files(checkpoint: Path | None = None, root: Path = ROOT) -> dict[str, Path | bytes]:
    """The files of a Space: {name in the Space: local file, or content}.

    They are app.py, mtrl/, README.md, LICENSE and the page's requirements. In a Git checkout, only committed files are
    taken, in another folder those of `WITHOUT_GIT`.
    checkpoint  folder of a model that replaces the shipped ones, so that the Space needs no other repository
    Raises FileNotFoundError if the page's files are missing, ValueError for changes that are not committed, and
    NoAnswerError if Git cannot tell whether there are any.
    """
    missing = [name for name in PARTS if not (root / name).exists()]
    if missing:
        raise FileNotFoundError(
            f"{root} lacks {', '.join(missing)}: an installed package is not enough for a Space; run this command "
            "in a clone of the repository"
        )
    files: dict[str, Path | bytes] = {name: root / name for name in _names(root)}
    files["requirements.txt"] = page_requirements(root).encode()
    if checkpoint is not None:
        shipped = tuple(f"{folder}/" for folder in (MODEL, *OTHERS))
        files = {name: source for name, source in files.items() if not name.startswith(shipped)}
        for name in (CONFIG, WEIGHTS, CARD):
            if (checkpoint / name).is_file():
                files[f"{MODEL}/{name}"] = checkpoint / name
    return files


def page_requirements(root: Path = ROOT) -> str:
    """Text of the page's requirements.txt: the page's packages, and Gradio in the version given in README.md."""
    text = (root / "requirements.txt").read_text(encoding="utf-8")
    lines = {re.split(r"[<>=!~ ]", line)[0]: line for line in text.splitlines()}
    pinned = _SDK.search((root / "README.md").read_text(encoding="utf-8").split("\n---", 1)[0])
    if pinned is None:
        raise ValueError(f"{root / 'README.md'} opens without sdk_version; a Space needs its front matter")
    return "\n".join([*(lines[name] for name in PAGE_PACKAGES), f"gradio=={pinned[1]}"]) + "\n"


def page_commit(root: Path = ROOT) -> str:
    """The commit of a Git checkout, "" for another folder. Raises NoAnswerError if Git fails."""
    checkout = read_checkout(root, PARTS)
    return "" if checkout is None else checkout.commit


def _names(root: Path) -> list[str]:
    checkout = read_checkout(root, PARTS, untracked=True)
    if checkout is None:
        found = {path for pattern in WITHOUT_GIT for path in root.glob(pattern)}
        return [path.relative_to(root).as_posix() for path in sorted(found) if _wanted(path, root)]
    if checkout.changed:
        raise ValueError(
            f"{len(checkout.changed)} files of the page differ from the last commit, first "
            f"{checkout.changed[0][3:]}: commit them, so that the Space shows a state that can be found again"
        )
    missing = [
        name for name in PARTS if not any(f"{file}/".startswith(f"{name}/") for file in checkout.files)
    ]
    if missing:
        raise ValueError(f"{root} has {', '.join(missing)} that Git does not track: commit them first")
    return [name for name in checkout.files if _wanted(root / name, root)]


def _wanted(path: Path, root: Path) -> bool:
    """Whether a file belongs in the Space. Hidden files, caches and links out of the folder do not."""
    parts = path.relative_to(root).parts
    hidden = any(part.startswith(".") or part == "__pycache__" for part in parts)
    here = not path.is_symlink() and path.resolve().is_relative_to(root.resolve())
    return not hidden and path.suffix != ".pyc" and path.is_file() and here
