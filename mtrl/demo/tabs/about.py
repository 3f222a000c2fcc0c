"""The About tab: the method, the model's facts, limits, use and storage."""

from __future__ import annotations

import gradio as gr

from mtrl.demo.html.about import about_html
from mtrl.demo.html.model_card import parse_card
from mtrl.demo.service.models import Models
from mtrl.demo.tabs.parts import PRIVATE, Tab, ask, html


def build(models: Models, chosen: gr.State) -> Tab:
    """The tab's components and events, inside the current `gr.Tab`. `chosen` holds the visitor's model."""

    def text(source: str) -> str:
        loaded = ask(lambda: models.get(source))
        return about_html(loaded.service, parse_card(loaded.card))

    about = html(text(""), elem_id="about")
    chosen.change(text, chosen, about, **PRIVATE)
    return Tab()
