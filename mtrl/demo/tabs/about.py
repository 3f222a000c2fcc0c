"""The About tab: the method, the model's facts, limits, use and storage."""

from __future__ import annotations

import gradio as gr

from mtrl.demo.html.about import about_html
from mtrl.demo.html.model_card import parse_card
from mtrl.demo.tabs.parts import PRIVATE, PageParts, ask, html


def build(page: PageParts, tab: gr.Tab) -> None:
    """The tab's components and events."""

    def text(source: str) -> str:
        loaded = ask(lambda: page.models.get(source))
        return about_html(loaded.service, parse_card(loaded.card))

    about = html(text(""), elem_id="about")
    page.chosen.change(text, page.chosen, about, **PRIVATE)
