"""The stable endpoints for programs: /retrieve, /translate, /encode. Clients see typed inputs and plain data."""

from __future__ import annotations

from typing import Any

import gradio as gr

from mtrl.demo.service import thumbnails
from mtrl.demo.service.galleries import Galleries
from mtrl.demo.service.results import Retrieval
from mtrl.demo.service.service import AUTO, DIRECTIONS, MAX_RESULTS, DemoService
from mtrl.demo.tabs.image_input import image_input
from mtrl.demo.tabs.parts import ask, given, publish

RESULTS = 10  # of a call that does not say how many


def add_retrieve(service: DemoService, galleries: Galleries) -> None:
    """/retrieve, with inputs of its own: what the page shows is no default of a call."""

    def retrieve(
        image: str | None, direction: str, k: float, gallery: str | None
    ) -> tuple[list[dict[str, str]], dict[str, Any]]:
        """Ranks a gallery's images by similarity to an image of one person, across visible and infrared light.

        Args:
            image: image of one person, upright, from head to feet.
            direction: what the image is and what is searched; "auto" looks at the image's colours.
            k: number of results, 1 to 50.
            gallery: name of one of the page's galleries; empty for its first.

        Returns:
            Ranked images with addresses relative to the page's, and an object with the matches and their scores, the
            model's fingerprint and, where the query is an image of the gallery, its average precision and the rank
            of the first right match.
        """
        result, searched = ask(lambda: _search(image, direction, int(k), gallery))
        images = [
            {"image": thumbnails.address(hit.image), "caption": f"{hit.rank}: {hit.score:.3f}"}
            for hit in result.hits
        ]
        matches = [
            {
                "rank": hit.rank,
                "score": round(hit.score, 6),
                "name": hit.image.name,
                "identity": hit.image.identity,
                "camera": hit.image.camera,
                "correct": hit.correct,
                "picture": shown["image"],
            }
            for hit, shown in zip(result.hits, images, strict=True)
        ]
        return images, {
            "model": searched.fingerprint,
            "modality": result.modality.name.lower(),
            "first_right": result.first_right,
            "average_precision": result.precision,
            "searched": len(result.scores),
            "threshold": searched.threshold.value if searched.threshold else None,
            "matches": matches,
            "hints": result.hints,
        }

    def _search(
        image: str | None, direction: str, k: int, gallery: str | None
    ) -> tuple[Retrieval, DemoService]:
        searched = galleries.service(service, gallery)
        return searched.retrieve(given(image), direction, k, transition=False), searched

    image = image_input("retrieve-image", None, visible=False)
    direction = gr.Radio([AUTO, *DIRECTIONS], value=AUTO, visible=False, label="Direction")
    k = gr.Slider(1, MAX_RESULTS, value=RESULTS, step=1, visible=False, label="Results")
    gallery = gr.Dropdown(
        galleries.names,
        value=galleries.names[0],
        label="Gallery",
        allow_custom_value=True,  # a name that is none gets the page's own words
        visible=False,
    )
    inputs = [image, direction, k, gallery]
    images = gr.JSON(visible=False, label="Ranked pictures")
    data = gr.JSON(visible=False, label="Ranked matches")
    gr.Button(visible=False).click(retrieve, inputs, [images, data], api_name="retrieve")


def add_translate(service: DemoService) -> None:
    """/translate, with inputs of its own."""

    def translate(image: str | None, translator: str) -> str:
        """Translates a visible image into a transition image, which looks like infrared and is aligned with it.

        Args:
            image: visible (colour) image of a person.
            translator: name of the translator.

        Returns:
            A PNG of the image's size, at most 512 pixels on its longer side.
        """
        result = ask(lambda: service.translate(given(image), translator))
        return publish(result.transition, output)

    image = image_input("translate-image", None, visible=False)
    translator = gr.Radio(
        list(service.translators), value=service.translator, visible=False, label="Translator"
    )
    output = gr.Image(visible=False, format="png", label="Transition image")
    gr.Button(visible=False).click(translate, [image, translator], output, api_name="translate")


def add_encode(service: DemoService) -> None:
    """/encode, which has no place on the page."""

    def encode(image: str | None, modality: str) -> list[float]:
        """Embeds an image of a person: the cosine of two embeddings says how alike the model finds them.

        Args:
            image: image of one person, upright, from head to feet.
            modality: "visible", "infrared", or "auto": an image without colour is taken as infrared.

        Returns:
            The embedding, a list of numbers with unit length.
        """
        return ask(lambda: service.encode(given(image), modality))

    image = image_input("encode-image", None, visible=False)
    modality = gr.Radio([AUTO, "visible", "infrared"], value=AUTO, visible=False, label="Modality")
    output = gr.JSON(visible=False, label="Embedding")
    gr.Button(visible=False).click(encode, [image, modality], output, api_name="encode")
