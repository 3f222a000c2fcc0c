"""The Retrieve tab: a picture of a person, and the gallery ranked by likeness to it."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

import gradio as gr
from PIL import Image

from mtrl.config import Modality
from mtrl.demo import cards, endpoints
from mtrl.demo.about import BESIDE_UPLOAD
from mtrl.demo.comparison import comparison_html
from mtrl.demo.folder import Picture
from mtrl.demo.galleries import Galleries
from mtrl.demo.models import Models
from mtrl.demo.pairs import RATES, USUAL_RATE
from mtrl.demo.parts import PRIVATE, Tab, answer_uploads, ask, html, picture_input, publish, spread
from mtrl.demo.service import AUTO, DIRECTIONS, DemoService
from mtrl.demo.style import DIALOG

EXAMPLES = 6
SHOWN = 12


def build(models: Models, galleries: Galleries, chosen: gr.State, sources: Sequence[gr.HTML] = ()) -> Tab:
    """The tab's components and events, inside the current `gr.Tab`. `chosen` holds the visitor's model; a click on
    a picture in one of the `sources`, which lie on other tabs, searches with it too."""
    service = models.home.service
    examples = {m: _examples(service, m) for m in Modality}
    first = (examples[Modality.VISIBLE] or examples[Modality.INFRARED])[0]
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=290):
            image = picture_input("query", service.open(first), webcam=True)
            html(BESIDE_UPLOAD)
            picks = html(
                cards.thumbnails(
                    [(f"{m.name.capitalize()} examples", m, examples[m]) for m in Modality if examples[m]]
                ),
                clicks=True,
                elem_id="examples",
                tab="retrieve",
            )
            direction = gr.Radio(
                [AUTO, *DIRECTIONS],
                value=AUTO,
                label="Direction",
                info="auto: a picture without colour is taken as infrared",
                elem_id="direction",
            )
            with gr.Accordion("More options", open=False, elem_id="options"):
                k = gr.Slider(1, 30, value=SHOWN, step=1, label="Results to show", elem_id="k")
                rate = gr.Radio(
                    list(RATES),
                    value=USUAL_RATE,
                    label="Threshold",
                    info="how many pairs of different people may pass it",
                    elem_id="rate",
                )
                gallery = _gallery_choice(galleries)
        with gr.Column(scale=8, min_width=290):
            answer = html(
                _answer(service, service.open(first), AUTO, SHOWN), clicks=True, follow=True, elem_id="answer"
            )
            beside = html("", clicks=True, elem_id="beside", script=DIALOG)

    def chosen_service(source: str, gallery: str | None) -> DemoService:
        return ask(lambda: galleries.service(models.service(source), gallery))

    def respond(
        image: str | None, direction: str, k: float, rate: str, gallery: str | None, source: str
    ) -> str:
        try:
            service = galleries.service(models.service(source), gallery)
        except (ValueError, OSError) as problem:
            return cards.error(str(problem), "That gallery cannot be searched")
        return _answer(service, image, direction, int(k), rate)

    def picked(
        k: float, rate: str, gallery: str | None, source: str, request: gr.Request, event: gr.EventData
    ) -> tuple[str, str, str]:
        # An example lies in the page's own gallery, a result in the one that was searched.
        searched = chosen_service(source, gallery)
        picture = ask(lambda: _picture(str(event.picture), searched, service))
        # A click on a result continues in the other direction, whatever was chosen for the picture before it.
        answered = _answer(searched, picture, AUTO, int(k), rate)
        return publish(picture, image, request.session_hash), AUTO, answered

    def compared(
        image: str | None, direction: str, rate: str, gallery: str | None, source: str, event: gr.EventData
    ) -> str:
        if image is None:
            return ""
        searched = chosen_service(source, gallery)
        result = ask(lambda: searched.compare(image, str(event.picture), direction))
        threshold = searched.pairs.threshold(RATES[rate])
        return comparison_html(result, result.score > threshold.value if threshold else None)

    inputs = [image, direction, k, rate, gallery, chosen]
    answer_uploads(image, respond, inputs, answer)
    gr.on(
        [direction.input, k.release, rate.input, gallery.input, chosen.change],
        respond,
        inputs,
        answer,
        **PRIVATE,
    )
    for source in (picks, beside, *sources):
        source.click(picked, [k, rate, gallery, chosen], [image, direction, answer], **PRIVATE)
    answer.select(compared, [image, direction, rate, gallery, chosen], beside, **PRIVATE)
    endpoints.add_retrieve(service, galleries, [image, direction, k, gallery])
    return Tab(picks=picks, endpoints=("retrieve",))


def _gallery_choice(galleries: Galleries) -> gr.Dropdown:
    local = not galleries.public
    return gr.Dropdown(
        galleries.names,
        value=galleries.names[0],
        label="Gallery",
        info="or type a folder of pictures, or an index of one" if local else None,
        allow_custom_value=local,
        visible=local or len(galleries.names) > 1,
        elem_id="gallery",
    )


def _picture(name: str, searched: DemoService, home: DemoService) -> Image.Image:
    for service in (searched, home):
        if name in service.names():
            return service.open(service.picture(name))
    raise ValueError(f"the gallery has no picture {name!r}")


def _answer(
    service: DemoService,
    image: Image.Image | str | None,
    direction: str,
    k: int,
    rate: str = USUAL_RATE,
) -> str:
    if image is None:
        return cards.empty("Choose an example or add a picture of a person.")
    try:
        result = service.retrieve(image, direction, k)
    except (ValueError, OSError) as problem:
        return cards.error(str(problem))
    address = {"tab": "retrieve"} | ({"example": result.known.name} if result.known else {})
    return cards.answer(result, service.pairs, RATES[rate], urlencode(address))


def _examples(service: DemoService, modality: Modality) -> list[Picture]:
    return spread([p for p in service.pictures if p.modality is modality], EXAMPLES)
