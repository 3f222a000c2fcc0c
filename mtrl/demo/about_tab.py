"""The About tab: the method, the model's facts, limits and the model card."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from mtrl.demo.about import about_html, card_text
from mtrl.demo.parts import Tab, html
from mtrl.demo.service import DemoService


def build(service: DemoService, checkpoint: Path | None) -> Tab:
    """The tab's components, inside the current `gr.Tab`. `checkpoint` is the model's folder, for its card."""
    html(about_html(service), elem_id="about")
    with gr.Accordion("Model card", open=False, elem_classes="m-about"):
        gr.Markdown(card_text(checkpoint))
    return Tab()
