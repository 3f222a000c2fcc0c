"""The stable endpoints for programs: /retrieve, /translate, /encode. Clients see typed inputs and plain data."""

from __future__ import annotations

from typing import Any

import gradio as gr

from mtrl.demo.parts import ask, given, picture_input, publish
from mtrl.demo.service import AUTO, DemoService


def add_retrieve(service: DemoService, inputs: list[Any]) -> None:
    """/retrieve over the inputs (image, direction, k)."""

    def retrieve(image: str | None, direction: str, k: float) -> tuple[list[tuple[str, str]], dict[str, Any]]:
        """Ranks the gallery's pictures of the other spectrum by similarity to a picture of a person."""
        result = ask(lambda: service.retrieve(given(image), direction, int(k)))
        pictures = [
            (publish(service.open(hit.picture), gallery), f"{hit.rank}: {hit.score:.3f}")
            for hit in result.hits
        ]
        matches = [
            {
                "rank": hit.rank,
                "score": round(hit.score, 6),
                "name": hit.picture.name,
                "identity": hit.picture.identity,
                "camera": hit.picture.camera,
                "correct": hit.correct,
            }
            for hit in result.hits
        ]
        return pictures, {
            "modality": result.modality.name.lower(),
            "searched": len(result.scores),
            "threshold": service.threshold.value if service.threshold else None,
            "matches": matches,
            "hints": result.hints,
        }

    gallery = gr.Gallery(visible=False, label="Ranked pictures", format="png")
    data = gr.JSON(visible=False, label="Ranked matches")
    gr.Button(visible=False).click(retrieve, inputs, [gallery, data], api_name="retrieve")


def add_translate(service: DemoService, inputs: list[Any]) -> None:
    """/translate over the inputs (image, translator)."""

    def translate(image: str | None, translator: str) -> str:
        """The transition image of a visible picture: the same size (at most 512 pixels), aligned with it."""
        result = ask(lambda: service.translate(given(image), translator))
        return publish(result.transition, output)

    output = gr.Image(visible=False, format="png", label="Transition image")
    gr.Button(visible=False).click(translate, inputs, output, api_name="translate")


def add_encode(service: DemoService) -> None:
    """/encode, which has no place on the page."""

    def encode(image: str | None, modality: str) -> list[float]:
        """The embedding of a picture of a person: a list of numbers with unit length."""
        return ask(lambda: service.encode(given(image), modality))

    image = picture_input("api-image", None, visible=False)
    modality = gr.Radio([AUTO, "visible", "infrared"], value=AUTO, visible=False, label="Modality")
    output = gr.JSON(visible=False, label="Embedding")
    gr.Button(visible=False).click(encode, [image, modality], output, api_name="encode")
