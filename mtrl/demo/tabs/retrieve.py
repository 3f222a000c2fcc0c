"""The Retrieve tab: an image of a person, and the gallery ranked by likeness to it."""

from __future__ import annotations

import dataclasses
from typing import Any

import gradio as gr

from mtrl.demo.html import cards
from mtrl.demo.html.about import BESIDE_UPLOAD
from mtrl.demo.service.galleries import Galleries
from mtrl.demo.service.gallery_folder import SPECTRUM_NAMES, GalleryImage
from mtrl.demo.service.models import Models
from mtrl.demo.service.service import AUTO, DIRECTIONS, MAX_RESULTS, DemoService
from mtrl.demo.service.thresholds import RATES, USUAL_RATE
from mtrl.demo.tabs import endpoints
from mtrl.demo.tabs.address import SHOWN, Settings
from mtrl.demo.tabs.image_input import image_input
from mtrl.demo.tabs.parts import PRIVATE, PageParts, answer_uploads, examples_of, html
from mtrl.demo.tabs.search import Search
from mtrl.files.filenames import as_text
from mtrl.models.config import Modality

EXAMPLES = 6


def build(page: PageParts, tab: gr.Tab) -> None:
    """The tab's components and events. A click on an image of the map searches with it too."""
    models, galleries, chosen = page.models, page.galleries, page.chosen
    service = models.home.service
    examples = _examples(service)
    first = examples[0][2][0]
    others = gr.State([])  # paths of the images that are one query together with the shown one
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=290):
            image = image_input("query", service.open(first), webcam=True)
            html(BESIDE_UPLOAD, scripts=["refuse"])
            together = html(cards.together(0), "together", ["together"])
            picks = html(cards.thumbnails(examples), "examples", ["pick"])
            direction = _direction_choice()
            with gr.Accordion("More options", open=False, elem_id="options"):
                k = gr.Slider(1, MAX_RESULTS, value=SHOWN, step=1, label="Results to show", elem_id="k")
                rate = _rate_choice()
                gallery = _gallery_choice(galleries)
                second = _second_choice(models)
        with gr.Column(scale=8, min_width=440):
            search = Search(models, galleries, image, first, page.tabs, page.people)
            start = search.respond(service.open(first), (), *_usual(galleries))
            answer = html(start, "answer", ["pick", "crop", "follow", "address"])
            beside = html("", "beside", ["dialog", "places", "pick"])
    settings = [direction, k, rate, gallery, chosen, second]
    inputs = [image, others, *settings]
    answer_uploads(image, search.respond, inputs, answer, search.searched)
    changes = [
        direction.input,
        k.input,
        rate.input,
        gallery.input,
        chosen.change,
        second.input,
        others.change,
    ]
    gr.on(changes, search.respond, inputs, answer, trigger_mode="always_last", **PRIVATE)
    answer.edit(search.cut, inputs, [image, answer], **PRIVATE)
    for source, take in ((picks, search.picked), (page.map, search.picked), (beside, search.continued)):
        source.click(take, inputs[1:], [image, direction, answer], **PRIVATE)
    answer.select(search.compared, inputs, beside, **PRIVATE)
    together.submit(search.keep, [image, others], [others, together], **PRIVATE)
    together.delete(lambda: ([], cards.together(0)), None, [others, together], **PRIVATE)
    restored = [page.tabs, image, others, together, answer, *settings]
    # Every one is sent at once: of one that Gradio puts off, the address would be lost.
    answer.undo(search.restored, None, restored, trigger_mode="multiple", **PRIVATE)
    endpoints.add_retrieve(service, galleries)


def _usual(galleries: Galleries) -> tuple[Any, ...]:
    return dataclasses.astuple(Settings(gallery=galleries.names[0]))


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
        info="of how many comparisons of two different people one may pass",
        elem_id="rate",
    )


def _gallery_choice(galleries: Galleries) -> gr.Dropdown:
    local = not galleries.public
    return gr.Dropdown(
        galleries.names,
        value=galleries.names[0],
        label="Gallery",
        info="or type the path of a folder of pictures, or of an index" if local else None,
        allow_custom_value=local,
        visible=local or len(galleries.names) > 1,
        elem_id="gallery",
    )


def _second_choice(models: Models) -> gr.Dropdown:
    typed = "user/repo on the Hugging Face Hub" if models.public else "the path of a checkpoint, or user/repo"
    return gr.Dropdown(
        [("none", ""), *models.listed, models.home.name],
        value="",
        label="Second model",
        info=f"answers the same search below; choose one, or type {typed}",
        allow_custom_value=True,
        elem_id="beside-model",
    )


def _examples(service: DemoService) -> list[tuple[str, Modality, list[GalleryImage]]]:
    """Title, modality and images of each row of examples: visible, then infrared by what the gallery says of it."""
    rows = []
    for modality in Modality:
        own = [p for p in service.images if p.modality is modality]
        for spectrum in dict.fromkeys(p.spectrum for p in own):
            name = SPECTRUM_NAMES[spectrum] if spectrum else modality.name.lower()
            images = examples_of(service, [p for p in own if p.spectrum == spectrum], EXAMPLES)
            if images:
                rows.append((f"{name.capitalize()} examples", modality, images))
    if not rows:
        raise ValueError(f"no picture of the gallery {as_text(service.folder)} can be read")
    return rows
