"""Visible-to-infrared translators. They make the transition images for training; retrieval needs none.

To add a translator: write its file and one entry of `TRANSLATORS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from mtrl.console.own_part import find_own, is_own
from mtrl.files.filenames import expanded

from .interface import Translator, check_images
from .learned import Learned
from .luminance import Luminance
from .spectral import Spectral

__all__ = [
    "TRANSLATORS",
    "Learned",
    "Luminance",
    "Spectral",
    "Translator",
    "check_images",
    "load_translator",
    "quoted",
]


def _shipped(name: str) -> Translator:
    """A learned translator that is shipped in the package. Raises FileNotFoundError if it is missing."""
    from .files import SHIPPED, read_translator

    if not (folder := SHIPPED[name]).is_dir():
        others = quoted(other for other in TRANSLATORS if other not in SHIPPED)
        raise FileNotFoundError(f"no translator {name} is shipped in {folder}: use {others}")
    return read_translator(folder)


# {name: function that makes the translator}. The choices of all commands and of the page follow from this table.
TRANSLATORS: dict[str, Callable[[], Translator]] = {
    "luminance": Luminance,
    "spectral": Spectral,
    "learned": partial(_shipped, "learned"),
    "learned-thermal": partial(_shipped, "learned-thermal"),
}


def load_translator(
    source: str | Path, *, revision: str | None = None, token: str | bool | None = None
) -> Translator:
    """Loads a translator, float32, on the CPU, in evaluation mode. Its weights require no gradient.

    source    a name of `TRANSLATORS` ("learned" and "learned-thermal" are shipped in the package), unless a folder of
              that name exists; or a folder written by `python -m train translator`; or a Hugging Face Hub id
              "user/repo", of which only configuration and weights are downloaded; or "module:Class", a `Translator` of
              your own, built without arguments: its module is imported, which runs it
    revision  branch, tag or commit on the Hub
    token     access token for private repositories
    Raises FileNotFoundError for a translator that does not exist, ValueError for a damaged one or an unknown name, and
    OSError if the Hub cannot be reached.
    """
    from mtrl.hub.client import REPO_ID
    from mtrl.models.load import find_checkpoint

    from .files import read_translator

    if isinstance(source, str) and not expanded(source).is_dir():
        if source in TRANSLATORS and revision is not None:
            raise ValueError(f"{source} is a name; a revision belongs to a Hub id")
        if source in TRANSLATORS:
            return TRANSLATORS[source]().eval().requires_grad_(False)
        if is_own(source):
            return _own(source).eval().requires_grad_(False)
        if not REPO_ID.fullmatch(source):
            raise ValueError(
                f"unknown translator {source!r}: use {quoted(TRANSLATORS)}, a folder, a Hub id user/repo, "
                "or module:Class"
            )
    return read_translator(find_checkpoint(source, revision=revision, token=token))


def _own(name: str) -> Translator:
    """A translator of one's own. Raises ValueError for anything that is none, or that cannot be built."""
    kind = find_own(name, "translator")
    if not (isinstance(kind, type) and issubclass(kind, Translator)):
        raise ValueError(f"translator {name} must be a class derived from mtrl.translate.Translator")
    try:
        return kind()
    except Exception as error:  # whatever its constructor does
        raise ValueError(
            f"translator {name}: building it ends with {type(error).__name__}: {error}"
        ) from error


def quoted(names: Iterable[str]) -> str:
    """The names in quotes, for help texts and messages: `"luminance", "spectral"`."""
    return ", ".join(f'"{name}"' for name in names)
