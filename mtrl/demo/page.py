"""The page: Gradio components around `DemoService`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported

import gradio as gr

from mtrl.demo import about_tab, endpoints, retrieve_tab, transition_tab
from mtrl.demo.models import Models
from mtrl.demo.parts import html
from mtrl.demo.service import DemoService
from mtrl.demo.style import CSS

MAX_UPLOAD = "20mb"
HEADER = """<header class="m-scope m-head"><div><h1>Find the same person by day and by night</h1>
<p>MTRL compares visible and infrared pictures of people with one small network. It was trained with transition
images, which stand between the two.</p></div>
<div class="m-chain" role="img" aria-label="visible, then transition, then infrared"><span class="m-v">Visible</span>
<i></i><span class="m-t">Transition</span><i></i><span class="m-i">Infrared</span></div></header>"""


def build_page(service: DemoService, checkpoint: Path | None = None, public: bool = False) -> gr.Blocks:
    """The page over a service. `checkpoint` is the model's folder, for its card. A `public` page, one that
    strangers can reach, takes other models from the Hub only."""
    models = Models(service, checkpoint, public)
    with gr.Blocks(
        title="MTRL: visible-infrared person re-identification",
        delete_cache=(300, 1800),
        analytics_enabled=False,
    ) as page:
        chosen = gr.State("")  # the source of the model that this visitor works with
        html(HEADER)
        with gr.Tabs():
            with gr.Tab("Retrieve", id="retrieve"):
                retrieve_tab.build(models, chosen)
            with gr.Tab("Transition", id="transition"):
                transition_tab.build(models, chosen)
            with gr.Tab("About", id="about"):
                about_tab.build(service, checkpoint)
        endpoints.add_encode(service)
    page.queue(default_concurrency_limit=2, max_size=64)
    return page


def launch(page: gr.Blocks, **options: Any) -> tuple[Any, str, str]:
    """Starts the server with the page's look, without traffic to anywhere else. `options` go to gradio's launch."""
    # The semi-bold of Gradio's default font lacks most letters, so bold text would fall back to another font.
    font = (gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700)), "system-ui", "sans-serif")
    theme = gr.themes.Default(
        primary_hue=gr.themes.colors.violet,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_lg,
        font=font,
    )
    return page.launch(
        theme=theme,
        css=CSS,
        footer_links=["api"],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        max_file_size=MAX_UPLOAD,
        **options,
    )
