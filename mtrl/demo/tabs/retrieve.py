"""The Retrieve tab: an image of a person, and the gallery ranked by likeness to it."""

from __future__ import annotations

import dataclasses
from urllib.parse import urlencode

import gradio as gr
from PIL import Image

from mtrl.demo.html import cards
from mtrl.demo.html.about import BESIDE_UPLOAD
from mtrl.demo.html.comparison import comparison_html
from mtrl.demo.service.galleries import Galleries
from mtrl.demo.service.gallery_folder import GalleryImage
from mtrl.demo.service.models import Models
from mtrl.demo.service.service import AUTO, DIRECTIONS, DemoService
from mtrl.demo.service.thresholds import RATES, USUAL_RATE
from mtrl.demo.tabs import endpoints
from mtrl.demo.tabs.parts import PRIVATE, PageParts, answer_uploads, ask, html, image_input, publish, spread
from mtrl.models.config import Modality

EXAMPLES = 6
SHOWN = 12


def build(page: PageParts, tab: gr.Tab) -> None:
    """The tab's components and events. A click on an image of the map searches with it too."""
    models, galleries, chosen = page.models, page.galleries, page.chosen
    service = models.home.service
    examples = {m: _examples(service, m) for m in Modality}
    first = service.open((examples[Modality.VISIBLE] or examples[Modality.INFRARED])[0])
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=290):
            image = image_input("query", first, webcam=True)
            html(BESIDE_UPLOAD)
            shown = [(f"{m.name.capitalize()} examples", m, examples[m]) for m in Modality if examples[m]]
            picks = html(cards.thumbnails(shown), "examples", ["pick"], tab="retrieve")
            direction = _direction_choice()
            with gr.Accordion("More options", open=False, elem_id="options"):
                k = gr.Slider(1, 30, value=SHOWN, step=1, label="Results to show", elem_id="k")
                rate = _rate_choice()
                gallery = _gallery_choice(galleries)
        with gr.Column(scale=8, min_width=440):
            answer = html(_answer(service, first, AUTO, SHOWN), "answer", ["pick", "follow", "address"])
            beside = html("", "beside", ["dialog", "pick"])
    search = _Search(models, galleries, image)
    inputs = [image, direction, k, rate, gallery, chosen]
    answer_uploads(image, search.respond, inputs, answer, search.searched)
    changes = [direction.input, k.release, rate.input, gallery.input, chosen.change]
    gr.on(changes, search.respond, inputs, answer, **PRIVATE)
    for source in (picks, beside, page.map):
        source.click(search.picked, [k, rate, gallery, chosen], [image, direction, answer], **PRIVATE)
    answer.select(search.compared, [image, direction, rate, gallery, chosen], beside, **PRIVATE)
    endpoints.add_retrieve(service, galleries, [image, direction, k, gallery])


@dataclasses.dataclass(frozen=True)
class _Search:
    """What the tab's events call. `source` names the visitor's model, `gallery` what is searched."""

    models: Models
    galleries: Galleries
    image: gr.Image

    def respond(
        self, image: str | None, direction: str, k: float, rate: str, gallery: str | None, source: str
    ) -> str:
        try:
            service = self._service(source, gallery)
        except (ValueError, OSError) as problem:
            return cards.error(str(problem), "That gallery cannot be searched")
        return _answer(service, image, direction, int(k), rate)

    def searched(self, direction: str, k: float, rate: str, gallery: str | None, source: str) -> DemoService:
        return self._service(source, gallery)

    def picked(
        self,
        k: float,
        rate: str,
        gallery: str | None,
        source: str,
        request: gr.Request,
        event: gr.EventData,
    ) -> tuple[str, str, str]:
        # An example lies in the page's own gallery, a result in the one that was searched.
        searched = ask(lambda: self._service(source, gallery))
        image = ask(lambda: _image(str(event.image), searched, self.models.home.service))
        # A click on a result continues in the other direction, whatever was chosen for the image before it.
        answered = _answer(searched, image, AUTO, int(k), rate)
        return publish(image, self.image, request.session_hash), AUTO, answered

    def compared(
        self,
        image: str | None,
        direction: str,
        rate: str,
        gallery: str | None,
        source: str,
        event: gr.EventData,
    ) -> str:
        if image is None:
            return ""
        searched = ask(lambda: self._service(source, gallery))
        result = ask(lambda: searched.compare(image, str(event.image), direction))
        needed = searched.pairs.decision(RATES[rate], result.modality, result.correct is not None)
        return comparison_html(result, result.score >= needed if needed is not None else None)

    def _service(self, source: str, gallery: str | None) -> DemoService:
        return self.galleries.service(self.models.service(source), gallery)


def _direction_choice() -> gr.Radio:
    return gr.Radio(
        [AUTO, *DIRECTIONS],
        value=AUTO,
        label="Direction",
        info="auto: a picture without colour is taken as infrared",
        elem_id="direction",
    )


def _rate_choice() -> gr.Radio:
    return gr.Radio(
        list(RATES),
        value=USUAL_RATE,
        label="Threshold",
        info="how many pairs of different people may pass it",
        elem_id="rate",
    )


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


def _image(name: str, searched: DemoService, home: DemoService) -> Image.Image:
    for service in (searched, home):
        if name in service.names():
            return service.open(service.image(name))
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


def _examples(service: DemoService, modality: Modality) -> list[GalleryImage]:
    return spread([p for p in service.images if p.modality is modality], EXAMPLES)
