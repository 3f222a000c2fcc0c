"""Visible-to-infrared translators: they make the transition images of training; the model needs none."""

from __future__ import annotations

from pathlib import Path

from .interface import Translator, check_images
from .luminance import Luminance
from .spectral import Spectral

__all__ = ["TRANSLATORS", "Luminance", "Spectral", "Translator", "check_images", "load_translator"]

TRANSLATORS: dict[str, type[Translator]] = {
    "luminance": Luminance,
    "spectral": Spectral,
}


def load_translator(source: str | Path) -> Translator:
    """A translator by name ("luminance" | "spectral"), in eval() mode and without gradients of its own.

    Learned translators do not exist in this version. Raises FileNotFoundError for "learned", and ValueError
    for a folder, a Hub id, or any other name.
    """
    if str(source) in TRANSLATORS:
        return TRANSLATORS[str(source)]().eval().requires_grad_(False)
    names = " or ".join(f'"{name}"' for name in TRANSLATORS)
    if str(source) == "learned":
        raise FileNotFoundError(f"this version ships no learned translator: use {names}")
    if Path(source).exists() or str(source).count("/") == 1:
        raise ValueError(
            f"{source}: this version cannot load learned translators from a folder or the Hub: use {names}"
        )
    raise ValueError(f"unknown translator {str(source)!r}: use {names}")
