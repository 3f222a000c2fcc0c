"""The Transition tab: what every translator makes of a visible image, and how near infrared that brings it."""

from __future__ import annotations

from typing import Any

import gradio as gr
from PIL import Image

from mtrl.demo.html import cards
from mtrl.demo.html.about import BESIDE_UPLOAD
from mtrl.demo.html.transition_view import comparison
from mtrl.demo.service.distances import Side, infrared_side, measure, untrained_side
from mtrl.demo.service.service import DemoService
from mtrl.demo.tabs import endpoints
from mtrl.demo.tabs.image_input import image_input
from mtrl.demo.tabs.parts import (
    PRIVATE,
    WAIT,
    PageParts,
    PerService,
    answer_uploads,
    ask,
    examples_of,
    html,
    publish,
)
from mtrl.files.filenames import as_text
from mtrl.models.config import Modality

EXAMPLES = 12
_untrained: PerService[Side | None] = PerService()


def build(page: PageParts, tab: gr.Tab) -> None:
    """The tab's components and events."""
    models, chosen = page.models, page.chosen
    service = models.home.service
    visible = [p for p in service.images if p.modality is Modality.VISIBLE]
    with_truth = [p for p in visible if p.truth is not None]
    examples = examples_of(service, with_truth or visible, EXAMPLES)
    if not examples:
        raise ValueError(f"no visible picture of the gallery {as_text(service.folder)} can be read")
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=290):
            image = image_input("visible", service.open(examples[0]))
            html(BESIDE_UPLOAD, scripts=["refuse"])
            picks = html(
                cards.thumbnails([("Visible examples", Modality.VISIBLE, examples)]),
                "transition-examples",
                ["pick"],
            )
        with gr.Column(scale=8, min_width=440):
            wait = cards.empty("The transitions are made when this tab is opened.")
            answer = html(wait, "trio", ["translators", "follow"])
    answered = gr.State(False)

    def respond(image: str | None, source: str) -> str:
        return compare(ask(lambda: models.service(source)), image)

    def picked(source: str, request: gr.Request, event: gr.EventData) -> tuple[str, str]:
        service = ask(lambda: models.service(source))
        loaded = ask(lambda: service.open(service.image(str(event.image))))
        return publish(loaded, image, request.session_hash), compare(service, loaded)

    def arrived(image: str | None, source: str, answered: bool) -> tuple[Any, bool]:
        return gr.skip() if answered else respond(image, source), True

    inputs = [image, chosen]
    tab.select(arrived, [*inputs, answered], [answer, answered], **WAIT)
    answer_uploads(image, respond, inputs, answer, models.service)
    chosen.change(respond, inputs, answer, **PRIVATE)
    picks.click(picked, chosen, [image, answer], **PRIVATE)
    endpoints.add_translate(service)


def compare(service: DemoService, image: Image.Image | str | None) -> str:
    """The tab's answer: every translator on one image, or what is wrong with the image."""
    if image is None:
        return cards.empty("Choose an example or add a visible picture of a person.")
    try:
        loaded, _ = service.read(image)
        results = {name: service.translate(loaded, name) for name in service.translators}
        transitions = {name: result.transition for name, result in results.items()}
        known = results[service.translator].known
        distance = measure(infrared_side(service), loaded, transitions, known)
        before = _untrained.get(service, lambda: untrained_side(service))
        untrained = measure(before, loaded, transitions, known) if before else None
        return comparison(results, distance, service.translator, untrained)
    except (ValueError, OSError) as problem:
        return cards.error(str(problem))
