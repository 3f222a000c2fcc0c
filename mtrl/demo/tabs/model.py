"""The Model tab: which model the page works with for this visitor, and what is known about it."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from mtrl.demo.html import cards
from mtrl.demo.html.model_view import list_html, model_html
from mtrl.demo.service.models import Loaded
from mtrl.demo.tabs.parts import PRIVATE, WAIT, PageParts, ask, html, telling

INTRO = """<div class="m-scope"><h2>The model in use</h2><p class="m-mute">Choose another one, and every tab works with
it, for you alone, until you close this page. Only safetensors files are read and nothing in them is executed. Files
that are too large for this page are refused before they are loaded.</p></div>"""

FAILED = "That model cannot be used"


def chip(loaded: Loaded) -> str:
    """A line under the page's head while another model than the page's own is in use."""
    if not loaded.source:
        return ""
    return f'<p class="m-scope m-chip">Model in use: <b>{escape(loaded.name)}</b>, chosen by you on the Model tab</p>'


def build(page: PageParts, tab: gr.Tab) -> None:
    """The tab's components and events."""
    models, chosen = page.models, page.chosen
    html(INTRO)
    with gr.Row(equal_height=True, elem_classes="m-form"):
        source = gr.Textbox(
            label="Model on the Hugging Face Hub"
            if models.public
            else "Folder of a checkpoint, or Hugging Face Hub id",
            placeholder="user/repo or user/repo@revision"
            if models.public
            else "runs/x, user/repo or user/repo@revision",
            elem_id="model-source",
            max_lines=1,
            scale=4,
        )
        use = gr.Button("Use this model", variant="primary", elem_id="use-model", scale=1)
        back = gr.Button("Page's own model", elem_id="home-model", scale=1)
    listed = html(list_html(models), "models", ["pick"])
    status = html("", elem_id="model-status")
    about = html(model_html(models.home), elem_id="model")

    def switch(wanted: str, current: str, progress: gr.Progress = gr.Progress()) -> tuple[str, str]:  # noqa: B008
        if not wanted.strip():
            return current, cards.error(
                "Write a name first, or go back to this page's model.", "No model was named"
            )
        try:
            loaded = models.get(wanted, telling(progress))
        except (ValueError, OSError) as problem:
            return current, cards.error(
                f"{problem}. The page still works with the model from before.", FAILED
            )
        done = f"{escape(loaded.name)} is in use, and every picture of the gallery was encoded with it."
        return loaded.source, f'<p class="m-scope m-done">{done}</p>'

    def shown(current: str) -> tuple[str, Any]:
        loaded = ask(lambda: models.get(current))
        return model_html(loaded), gr.update(value=chip(loaded), visible=bool(loaded.source))

    def take(current: str, event: gr.EventData, progress: gr.Progress = gr.Progress()) -> tuple[str, str]:  # noqa: B008
        return switch(str(event.image), current, progress)

    gr.on([use.click, source.submit], switch, [source, chosen], [chosen, status], **WAIT)
    listed.click(take, chosen, [chosen, status], **WAIT)
    back.click(lambda: ("", "", ""), None, [chosen, status, source], **PRIVATE)
    chosen.change(shown, chosen, [about, page.chip], **PRIVATE)
