"""Visible-to-infrared translators: they make the transition images of training; the model needs none."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mtrl.console.os_errors import expanded

from .interface import Translator, check_images
from .learned import Learned
from .luminance import Luminance
from .spectral import Spectral

__all__ = [
    "NAMES",
    "TRANSLATORS",
    "Learned",
    "Luminance",
    "Spectral",
    "Translator",
    "check_images",
    "load_translator",
]

TRANSLATORS: dict[str, type[Translator]] = {
    "luminance": Luminance,
    "spectral": Spectral,
}
NAMES = (*TRANSLATORS, "learned")


def load_translator(
    source: str | Path, *, revision: str | None = None, token: str | bool | None = None
) -> Translator:
    """A translator in eval() mode and without gradients of its own, float32, on the CPU.

    source    "luminance" | "spectral" | "learned" (the one shipped in the package) | a folder written by
              `python -m train translator` | a Hugging Face Hub id "user/repo" (configuration and weights only)
    revision  branch, tag or commit on the Hub;  token: for private repositories
    Raises FileNotFoundError for a translator that is not there, ValueError for one that is damaged or an unknown
    name, OSError when the Hub cannot be reached.
    """
    from mtrl.hub.client import REPO_ID
    from mtrl.models.load import find_checkpoint

    from .files import SHIPPED, read_translator

    name = str(source)
    if name in NAMES and revision is not None:
        raise ValueError(f"{name} is a name; a revision belongs to a Hub id")
    if name in TRANSLATORS:
        return TRANSLATORS[name]().eval().requires_grad_(False)
    if name == "learned":
        if not SHIPPED.is_dir():
            raise FileNotFoundError(
                f"no learned translator is shipped in {SHIPPED}: use {_names(TRANSLATORS)}"
            )
        return read_translator(SHIPPED)
    if isinstance(source, str) and not expanded(name).is_dir() and not REPO_ID.fullmatch(name):
        raise ValueError(f"unknown translator {name!r}: use {_names(NAMES)}, a folder, or a Hub id user/repo")
    return read_translator(find_checkpoint(source, revision=revision, token=token))


def _names(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
