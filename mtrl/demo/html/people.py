"""People who were found in a picture: a sentence, and a button for each that searches with that person alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TypeAlias

from PIL import Image

from mtrl.demo.html.cards import SMALL, hints_html
from mtrl.demo.html.charts import image_tag
from mtrl.demo.service.images import fit, mark

PixelBox: TypeAlias = tuple[int, int, int, int]  # left, top, right, bottom
MOST = 8  # buttons
FILLING = 0.5  # share of both sides that one person fills who need not be cut out


def people_html(picture: Image.Image, boxes: Sequence[PixelBox]) -> str:
    """What is said of the people in these boxes of a picture, from left to right; nothing of one who fills it."""
    if not boxes:
        return hints_html(
            ["The detector found no person in this picture. The whole picture was searched with."]
        )
    of = mark(picture)
    if len(boxes) == 1:
        left, top, right, bottom = boxes[0]
        if right - left >= FILLING * picture.width and bottom - top >= FILLING * picture.height:
            return ""
        words = "Search with the person alone"
        return _group("One person was found, who fills only a part of this picture.",
                      [_button(picture, of, boxes[0], words, words)])  # fmt: skip
    largest = sorted(boxes, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]), reverse=True)[:MOST]
    shown = [box for box in boxes if box in largest]
    which = f"the {MOST} largest" if len(boxes) > MOST else "them"
    buttons = [
        _button(picture, of, box, f"Search with person {number} of {len(shown)}, from the left")
        for number, box in enumerate(shown, start=1)
    ]
    return _group(f"{len(boxes)} people were found in this picture. Search with one of {which}:", buttons)


def _group(sentence: str, buttons: Sequence[str]) -> str:
    return (
        f'<div class="m-hint m-people" role="group" aria-label="People in this picture"><p>{sentence}</p>'
        f"<div>{''.join(buttons)}</div></div>"
    )


def _button(picture: Image.Image, of: str, box: PixelBox, label: str, text: str = "") -> str:
    """A button whose box, as shares of the picture's sides, the page's script sends as a part to cut out of it."""
    shares = [edge / side for edge, side in zip(box, picture.size * 2, strict=True)]
    thumbnail = image_tag(fit(picture.crop(box), SMALL), "")
    return (
        f'<button type="button" data-box="{json.dumps(shares)}" data-of="{of}" aria-label="{label}" '
        f'title="{label}">{thumbnail}<span>{text}</span></button>'
    )
