"""The Transition tab: what a translator makes of a visible picture, beside the true infrared view."""

from __future__ import annotations

import gradio as gr
from PIL import Image

from mtrl.config import Modality
from mtrl.demo import cards, endpoints
from mtrl.demo.models import Models
from mtrl.demo.parts import PRIVATE, Tab, answer_uploads, ask, html, picture_input, publish, spread
from mtrl.demo.service import DemoService

EXAMPLES = 12


def build(models: Models, chosen: gr.State) -> Tab:
    """The tab's components and events, inside the current `gr.Tab`. `chosen` holds the visitor's model."""
    service = models.home.service
    visible = [p for p in service.pictures if p.modality is Modality.VISIBLE]
    with_truth = [p for p in visible if p.truth is not None]
    examples = spread(with_truth or visible, EXAMPLES)
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

    def respond(image: str | None, translator: str, source: str) -> str:
        return _trio(ask(lambda: models.service(source)), image, translator)

    def picked(translator: str, source: str, event: gr.EventData) -> tuple[str, str]:
        service = ask(lambda: models.service(source))
        picture = ask(lambda: service.open(service.picture(str(event.picture))))
        return publish(picture, image), _trio(service, picture, translator)

    inputs = [image, translator, chosen]
    answer_uploads(image, respond, inputs, trio)
    gr.on([translator.input, chosen.change], respond, inputs, trio, **PRIVATE)
    picks.click(picked, [translator, chosen], [image, trio], **PRIVATE)
    endpoints.add_translate(service, [image, translator])
    return Tab(picks=picks, endpoints=("translate",))


def _trio(service: DemoService, image: Image.Image | str | None, translator: str) -> str:
    if image is None:
        return cards.empty("Choose an example or add a visible picture of a person.")
    try:
        return cards.translation(service.translate(image, translator), translator)
    except (ValueError, OSError) as problem:
        return cards.error(str(problem))
