"""A query and a result side by side, with the regions that make them alike."""

from __future__ import annotations

import base64
import itertools
from html import escape

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mtrl.demo.html.cards import COLOURS, name_of
from mtrl.demo.html.charts import image_tag, number
from mtrl.demo.service.images import fit
from mtrl.demo.service.results import Comparison

SHOWN = 384
LIGHT = np.array([255.0, 196.0, 0.0], dtype=np.float32)
SIDES = 0.22  # of the width, on the left and on the right
MUCH = 0.5  # of the light
POINTED = ' tabindex="0" role="application" aria-label="Query: the arrow keys point at a place of it"'
_count = itertools.count()


def comparison_html(result: Comparison, accepted: bool | None) -> str:
    """A dialog with both images, plain and lit by evidence. `accepted`: whether the score passes the threshold.

    Every value is new, so that a result that is chosen twice opens twice.
    """
    said = {
        True: "The same person.",
        False: "Another person.",
        None: "Whether it is the same person is not known.",
    }
    passed = {
        True: " The score reaches the threshold.",
        False: " The score is below the threshold.",
        None: "",
    }
    sides = (
        ("Query", result.modality.name.lower(), result.query, result.evidence[0], COLOURS[result.modality]),
        (
            "Result",
            name_of(result.image) if result.image.identity is not None else result.image.name,
            result.match,
            result.evidence[1],
            COLOURS[result.image.modality],
        ),
    )
    figures = "".join(
        f'<figure><div class="m-layers"{POINTED if title == "Query" else ""}>'
        f"{image_tag(fit(image, SHOWN), f'{title}, as it is')}"
        f"{image_tag(overlay(fit(image, SHOWN), evidence), f'{title}, lit where it is like the other')}"
        '<canvas aria-hidden="true"></canvas></div>'
        f'<figcaption class="{css}">{title}<small>{escape(small)}</small></figcaption></figure>'
        for title, small, image, evidence, css in sides
    )
    name = escape(result.image.name, quote=True)
    grid = " ".join(str(side) for side in result.places.shape)
    return (
        f'<dialog class="m-scope m-dialog" aria-labelledby="compare-title" data-number="{next(_count)}" '
        f'data-grid="{grid}" data-places="{_packed(result.places)}">'
        f'<form method="dialog"><button class="m-close" aria-label="Close">✕</button></form>'
        f'<h2 id="compare-title">Score {number(result.score)}</h2>'
        f'<p class="m-mute">{said[result.correct]}{passed[accepted]}</p>'
        f'<div class="m-sides">{figures}</div>'
        f'<label class="m-switch"><input type="checkbox" checked> Light the regions that make them alike</label>'
        '<p class="m-mute m-point-here">Point at a place of the query, or tap it, to see what it resembles '
        "in the result. On a keyboard: Tab to the query, then the arrow keys.</p>"
        '<p class="m-said" aria-live="polite"></p>'
        f"{_background(result)}"
        f'<p class="m-actions"><button type="button" class="m-main" data-image="{name}">Search with this result'
        f"</button></p></dialog>"
    )


def beside_the_person(evidence: Tensor) -> float:
    """The share of the light of a map [H,W] that falls on its left and right sides, where the background is."""
    side = round(SIDES * evidence.shape[1])
    total = float(evidence.sum())
    return float(evidence[:, :side].sum() + evidence[:, -side:].sum()) / total if total > 0 and side else 0.0


def _background(result: Comparison) -> str:
    """A remark where much of the light falls beside the people."""
    shares = [beside_the_person(evidence) for evidence in result.evidence]
    if max(shares) <= MUCH:
        return ""
    which = ("query", "result")[shares[1] > shares[0]]
    return (
        f'<p class="m-hint">{max(shares):.0%} of the light in the {which} falls on its sides, where the background is. '
        "The score may speak of the place more than of the person.</p>"
    )


def _packed(places: Tensor) -> str:
    """Cosines as a byte each (0 for -1, 255 for 1), in base 64."""
    return base64.b64encode(((places + 1) * 127.5).round().to(torch.uint8).numpy().tobytes()).decode("ascii")


def overlay(image: Image.Image, evidence: Tensor) -> Image.Image:
    """The image, lit where the evidence [H,W] in [0,1] is high and darkened where it is low."""
    grid = Image.fromarray((evidence.numpy() * 255).astype(np.uint8)).resize(
        image.size, Image.Resampling.BILINEAR
    )
    weight = np.asarray(grid, dtype=np.float32)[..., None] / 255
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    mixed = pixels * (0.45 + 0.55 * weight) * (1 - 0.35 * weight) + 0.35 * weight * LIGHT
    return Image.fromarray(mixed.clip(0, 255).astype(np.uint8))
