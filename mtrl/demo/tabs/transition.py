"""The Transition tab: what every translator makes of a visible image, and how near infrared that brings it."""

from __future__ import annotations

import gradio as gr
from PIL import Image

from mtrl.demo.html import cards
from mtrl.demo.html.about import BESIDE_UPLOAD
from mtrl.demo.html.transition_view import comparison
from mtrl.demo.service.distances import infrared_side, measure, untrained_side
from mtrl.demo.service.service import DemoService
from mtrl.demo.tabs import endpoints
from mtrl.demo.tabs.image_input import image_input
from mtrl.demo.tabs.parts import PRIVATE, PageParts, answer_uploads, ask, html, publish, spread
from mtrl.models.config import Modality

EXAMPLES = 12


def build(page: PageParts, tab: gr.Tab) -> None:
    """The tab's components and events."""
    models, chosen = page.models, page.chosen
    service = models.home.service
    visible = [p for p in service.images if p.modality is Modality.VISIBLE]
    with_truth = [p for p in visible if p.truth is not None]
    examples = spread(with_truth or visible, EXAMPLES)
    first = service.open(examples[0])
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=290):
            image = image_input("visible", first)
            html(BESIDE_UPLOAD)
            picks = html(
                cards.thumbnails([("Visible examples", Modality.VISIBLE, examples)]),
                "transition-examples",
                ["pick"],
            )
        with gr.Column(scale=8, min_width=440):
            answer = html(compare(service, first), "trio", ["translators", "follow"])

    def respond(image: str | None, source: str) -> str:
        return compare(ask(lambda: models.service(source)), image)

    def picked(source: str, request: gr.Request, event: gr.EventData) -> tuple[str, str]:
        service = ask(lambda: models.service(source))
        loaded = ask(lambda: service.open(service.image(str(event.image))))
        return publish(loaded, image, request.session_hash), compare(service, loaded)

    inputs = [image, chosen]
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
        before = untrained_side(service)
        untrained = measure(before, loaded, transitions, known) if before else None
        return comparison(results, distance, service.translator, untrained)
    except (ValueError, OSError) as problem:
        return cards.error(str(problem))
