"""The page: Gradio components around `DemoService`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported

import gradio as gr
from PIL import Image

from mtrl.config import Modality
from mtrl.demo import cards, endpoints
from mtrl.demo.about import about_html, card_text
from mtrl.demo.folder import Picture
from mtrl.demo.parts import PRIVATE, ask, html, picture_input, publish
from mtrl.demo.pictures import WORKING_PIXELS, fit
from mtrl.demo.service import AUTO, DIRECTIONS, DemoService
from mtrl.demo.style import CSS
from mtrl.images import read_image

EXAMPLES = 6
SHOWN = 12
MAX_UPLOAD = "20mb"
HEADER = """<header class="m-scope m-head"><div><h1>Find the same person by day and by night</h1>
<p>MTRL compares visible and infrared pictures of people with one small network. It was trained with transition
images, which stand between the two.</p></div>
<div class="m-chain" role="img" aria-label="visible, then transition, then infrared"><span class="m-v">Visible</span>
<i></i><span class="m-t">Transition</span><i></i><span class="m-i">Infrared</span></div></header>"""


def build_page(service: DemoService, checkpoint: Path | None = None) -> gr.Blocks:
    """The page over a service. `checkpoint` is the model's folder, for its card."""
    with gr.Blocks(
        title="MTRL: visible-infrared person re-identification",
        delete_cache=(300, 1800),
        analytics_enabled=False,
    ) as page:
        html(HEADER)
        with gr.Tabs():
            with gr.Tab("Retrieve", id="retrieve"):
                _retrieve_tab(service)
            with gr.Tab("Transition", id="transition"):
                _transition_tab(service)
            with gr.Tab("About", id="about"):
                html(about_html(service), elem_id="about")
                with gr.Accordion("Model card", open=False, elem_classes="m-about"):
                    gr.Markdown(card_text(checkpoint))
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


def _retrieve_tab(service: DemoService) -> None:
    examples = {m: _examples(service, m) for m in Modality}
    first = examples[Modality.VISIBLE][0]
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=290):
            image = picture_input("query", service.open(first), webcam=True)
            picks = html(
                cards.thumbnails([(f"{m.name.capitalize()} examples", m, examples[m]) for m in Modality]),
                clicks=True,
                elem_id="examples",
            )
            direction = gr.Radio(
                [AUTO, *DIRECTIONS],
                value=AUTO,
                label="Direction",
                info="auto: a picture without colour is taken as infrared",
                elem_id="direction",
            )
            k = gr.Slider(1, 30, value=SHOWN, step=1, label="Results to show", elem_id="k")
            search = gr.Button("Search the gallery", variant="primary", elem_id="search")
        with gr.Column(scale=8, min_width=290):
            answer = html(
                _answer(service, service.open(first), AUTO, SHOWN), clicks=True, follow=True, elem_id="answer"
            )

    def respond(image: str | None, direction: str, k: float) -> str:
        return _answer(service, image, direction, int(k))

    def picked(k: float, event: gr.EventData) -> tuple[str, str, str]:
        picture = ask(lambda: service.open(service.picture(str(event.picture))))
        # A click on a result continues in the other direction, whatever was chosen for the picture before it.
        return publish(picture, image), AUTO, _answer(service, picture, AUTO, int(k))

    inputs = [image, direction, k]
    _on_upload(image, respond, inputs, answer)
    gr.on([search.click, direction.input, k.release], respond, inputs, answer, **PRIVATE)
    for source in (picks, answer):
        source.click(picked, k, [image, direction, answer], **PRIVATE)
    endpoints.add_retrieve(service, inputs)


def _transition_tab(service: DemoService) -> None:
    visible = [p for p in service.pictures if p.modality is Modality.VISIBLE]
    with_truth = [p for p in visible if p.truth is not None]
    examples = _spread(with_truth or visible, 2 * EXAMPLES)
    first = service.open(examples[0])
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=290):
            image = picture_input("visible", first)
            picks = html(
                cards.thumbnails([("Visible examples", Modality.VISIBLE, examples)]),
                clicks=True,
                elem_id="transition-examples",
            )
            translator = gr.Radio(
                list(service.translators), value=service.translator, label="Translator", elem_id="translator"
            )
        with gr.Column(scale=8, min_width=290):
            trio = html(_trio(service, first, service.translator), follow=True, elem_id="trio")

    def respond(image: str | None, translator: str) -> str:
        return _trio(service, image, translator)

    def picked(translator: str, event: gr.EventData) -> tuple[str, str]:
        picture = ask(lambda: service.open(service.picture(str(event.picture))))
        return publish(picture, image), _trio(service, picture, translator)

    inputs = [image, translator]
    _on_upload(image, respond, inputs, trio)
    translator.input(respond, inputs, trio, **PRIVATE)
    picks.click(picked, translator, [image, trio], **PRIVATE)
    endpoints.add_translate(service, inputs)


def _on_upload(image: gr.Image, respond: Any, inputs: list[Any], output: gr.HTML) -> None:
    """Answers a new picture at once; one that cannot be shown or read is replaced or cleared with a message."""

    def arrived(path: str | None, *rest: Any) -> tuple[Any, str]:
        if path is None:
            return gr.skip(), respond(None, *rest)
        try:
            picture = read_image(path, what="The file")
        except (ValueError, OSError) as problem:
            return None, cards.error(str(problem))
        return publish(fit(picture, WORKING_PIXELS), image), respond(path, *rest)

    image.input(arrived, inputs, [image, output], **PRIVATE)


def _answer(service: DemoService, image: Image.Image | str | None, direction: str, k: int) -> str:
    if image is None:
        return cards.empty("Choose an example or add a picture of a person.")
    try:
        return cards.answer(service.retrieve(image, direction, k), service.threshold)
    except (ValueError, OSError) as problem:
        return cards.error(str(problem))


def _trio(service: DemoService, image: Image.Image | str | None, translator: str) -> str:
    if image is None:
        return cards.empty("Choose an example or add a visible picture of a person.")
    try:
        return cards.translation(service.translate(image, translator), translator)
    except (ValueError, OSError) as problem:
        return cards.error(str(problem))


def _examples(service: DemoService, modality: Modality) -> list[Picture]:
    return _spread([p for p in service.pictures if p.modality is modality], EXAMPLES)


def _spread(pictures: list[Picture], count: int) -> list[Picture]:
    """`count` pictures spread over the list (people and cameras change), not chosen by how well they do."""
    count = min(count, len(pictures))
    return [pictures[i * len(pictures) // count + i % (len(pictures) // count)] for i in range(count)]
