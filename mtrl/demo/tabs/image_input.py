"""The page's image input: an image to upload, paste or take, handed on as a path to the file as it came."""

from __future__ import annotations

import base64
import binascii
import io
import json
from abc import ABCMeta
from typing import Any

import gradio as gr
from PIL import Image, ImageDraw

from mtrl.demo.server.limits import Limits
from mtrl.demo.server.request_origin import CURRENT
from mtrl.demo.server.uploads import UPLOADS

MOST = Limits().image  # bytes, as of an upload
_WORDS = {
    "A local filepath or publicly available URL.": "An uploaded file, or an object with its content as url.",
    "Publicly available url or base64 encoded image": "data:image/jpeg;base64,...",
}


class _WithoutStub(type(gr.Image)):  # type: ignore[misc]
    """The type of components without Gradio's stub file, which it would write beside this source."""

    def __new__(mcs, name: str, bases: tuple[type, ...], attributes: dict[str, Any]) -> Any:
        return ABCMeta.__new__(mcs, name, bases, attributes)


class ImageInput(gr.Image, metaclass=_WithoutStub):
    """Hands on the path of an image's file, whether it was uploaded or came as a data: address.

    Nothing is decoded here: Gradio's own reader knows no limits, clips 16-bit images and fails without words. Gradio
    makes such a component anew, from its class, for every visit in which it is updated.
    """

    def get_block_name(self) -> str:
        return "image"

    get_block_class = get_block_name

    def api_info(self) -> dict[str, Any]:
        """The schema of Gradio's image, which speaks of addresses that this page does not fetch."""
        text = json.dumps(super().api_info())
        for theirs, ours in _WORDS.items():
            text = text.replace(theirs, ours)
        return dict(json.loads(text))

    def example_payload(self) -> dict[str, str]:
        """What a call may hold as it stands, in any language: the samples on the page show it."""
        return {"url": f"data:image/png;base64,{base64.b64encode(_drawn_person()).decode()}"}

    def example_value(self) -> dict[str, str]:
        return self.example_payload()

    def preprocess(self, payload: Any) -> str | None:
        if payload is None:
            return None
        if payload.path is not None:
            return str(payload.path)
        content = _content(payload.url or "")
        path = str(UPLOADS.keep(self.GRADIO_CACHE, "picture", content))
        UPLOADS.add(CURRENT.get().session, path)
        return path


def _drawn_person() -> bytes:
    """A tiny PNG of a figure in a red shirt."""
    image = Image.new("P", (16, 32), 0)
    image.putpalette([225, 228, 232, 232, 190, 165, 170, 40, 45, 45, 50, 90])
    pen = ImageDraw.Draw(image)
    pen.ellipse((6, 2, 10, 7), fill=1)
    pen.rectangle((4, 8, 12, 18), fill=2)
    pen.rectangle((5, 19, 11, 30), fill=3)
    content = io.BytesIO()
    image.save(content, "PNG", optimize=True)
    return content.getvalue()


def _content(address: str) -> bytes:
    """The bytes in a data: address. Raises ValueError for any other text and for more than `MOST` bytes."""
    head, comma, text = address.partition(",")
    if not (head.startswith("data:image/") and head.endswith(";base64") and comma):
        raise ValueError(
            'an image is an uploaded file, or an object with its content: {"url": "data:image/jpeg;base64,..."}'
        )
    if len(text) // 4 * 3 - 2 > MOST:  # before memory is taken
        raise ValueError(f"the image is larger than {MOST >> 20} MB")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("the data: address of the image is not valid base64") from None


def image_input(
    elem_id: str, value: Image.Image | None, webcam: bool = False, visible: bool = True
) -> ImageInput:
    """An `ImageInput` as the tabs show it."""
    return ImageInput(
        value,
        type="filepath",
        image_mode=None,
        format="png",
        sources=["upload", "webcam", "clipboard"] if webcam else ["upload", "clipboard"],
        label="Picture of a person",
        placeholder="# Drop a picture here\nor click to choose one",
        alt_text="the chosen picture",
        buttons=["fullscreen"],
        height=300,
        elem_id=elem_id,
        visible=visible,
    )
