"""The page's CSS and JavaScript: files of the folder `static`, each read once."""

from __future__ import annotations

import functools
from pathlib import Path

FOLDER = Path(__file__).parent / "static"
STYLESHEETS = ("page", "transition", "explore", "model")  # later rules win
IN_HEAD = "narrow"


@functools.cache
def css() -> str:
    """All style sheets in their order."""
    return "".join((FOLDER / f"{name}.css").read_text(encoding="utf-8") for name in STYLESHEETS)


@functools.cache
def head() -> str:
    """What stands in the page's head: rules that Gradio's own style sheet cannot hold."""
    return f"<style>{(FOLDER / f'{IN_HEAD}.css').read_text(encoding='utf-8')}</style>"


@functools.cache
def script(name: str) -> str:
    """The code of static/NAME.js, which Gradio runs with the names `element`, `trigger` and `watch`."""
    return (FOLDER / f"{name}.js").read_text(encoding="utf-8")
