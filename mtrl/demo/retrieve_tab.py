"""The Retrieve tab: a picture of a person, and the gallery ranked by likeness to it."""

from __future__ import annotations

import gradio as gr
from PIL import Image

from mtrl.config import Modality
from mtrl.demo import cards, endpoints
from mtrl.demo.folder import Picture
from mtrl.demo.models import Models
from mtrl.demo.parts import PRIVATE, Tab, answer_uploads, ask, html, picture_input, publish, spread
from mtrl.demo.service import AUTO, DIRECTIONS, DemoService

EXAMPLES = 6
SHOWN = 12


def build(models: Models, chosen: gr.State) -> Tab:
    """The tab's components and events, inside the current `gr.Tab`. `chosen` holds the visitor's model."""
    service = models.home.service
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

    def respond(image: str | None, direction: str, k: float, source: str) -> str:
        return _answer(ask(lambda: models.service(source)), image, direction, int(k))

    def picked(k: float, source: str, event: gr.EventData) -> tuple[str, str, str]:
        service = ask(lambda: models.service(source))
        picture = ask(lambda: service.open(service.picture(str(event.picture))))
        # A click on a result continues in the other direction, whatever was chosen for the picture before it.
        return publish(picture, image), AUTO, _answer(service, picture, AUTO, int(k))

    inputs = [image, direction, k, chosen]
    answer_uploads(image, respond, inputs, answer)
    gr.on([search.click, direction.input, k.release, chosen.change], respond, inputs, answer, **PRIVATE)
    for source in (picks, answer):
        source.click(picked, [k, chosen], [image, direction, answer], **PRIVATE)
    endpoints.add_retrieve(service, [image, direction, k])
    return Tab(picks=picks, endpoints=("retrieve",))


def _answer(service: DemoService, image: Image.Image | str | None, direction: str, k: int) -> str:
    if image is None:
        return cards.empty("Choose an example or add a picture of a person.")
    try:
        return cards.answer(service.retrieve(image, direction, k), service.threshold)
    except (ValueError, OSError) as problem:
        return cards.error(str(problem))


def _examples(service: DemoService, modality: Modality) -> list[Picture]:
    return spread([p for p in service.pictures if p.modality is modality], EXAMPLES)
