"""The Transition tab's answer: a slider between visible and transition, every translator, the modality distance."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from PIL import Image

from mtrl.demo.html.cards import hints_html
from mtrl.demo.html.charts import data_uri
from mtrl.demo.html.distance_figure import distance_figure, sentence
from mtrl.demo.service.distances import ModalityDistance
from mtrl.demo.service.results import Translation

TALLEST = 430
NOTES = {
    "luminance": "Brightness alone, without any colour. The simplest transition.",
    "spectral": "Another mixture of red, green and blue, other contrasts, and the blur and noise of an infrared "
    "camera. Nothing is learned.",
    "learned": "A small network that has learned from visible and near-infrared pictures of the training people, "
    "without being shown which belong together.",
    "learned-thermal": "A small network that has learned from visible and thermal pictures of the training people, "
    "without being shown which belong together. It guesses how warm skin, cloth and ground are.",
}
TRUTH = "true infrared"
TRUTH_NOTE = (
    "What an infrared camera saw at that moment. Only a drawn gallery has such a picture; no model sees it."
)


def comparison(
    results: Mapping[str, Translation],
    distance: ModalityDistance,
    shown: str,
    untrained: ModalityDistance | None = None,
) -> str:
    """The tab's answer for one image: `results` by translator, of which `shown` comes first. `untrained` are the
    distances with random weights."""
    result = results[shown]
    ratio = result.query.width / result.query.height
    tiles = "".join(
        _tile(name, one.transition, f"the {name} transition image", "m-t", name == shown)
        for name, one in results.items()
    )
    notes = "".join(_note(name, NOTES.get(name, "")) for name in results)
    said = "".join(_note(name, sentence(distance, untrained, name)) for name in results)
    if result.truth is not None:
        tiles += _tile(TRUTH, result.truth, "the true infrared view of the same moment", "m-i", False)
        notes += _note(TRUTH, TRUTH_NOTE)
    else:
        tiles += f'<div class="m-tile m-none" style="aspect-ratio:{ratio:.4f}">no infrared camera saw this moment</div>'
    return (
        f'<div class="m-scope m-answer" aria-live="polite"><div class="m-compare">{_slider(result, shown, ratio)}'
        f'<div class="m-beside"><h2>Every translator on this picture</h2>'
        f'<p class="m-mute">Choose one to lay it over the visible picture.</p>'
        f'<div class="m-tiles">{tiles}</div>{notes}{hints_html(result.hints)}</div></div>'
        f'<section class="m-distance"><h2>How near to infrared</h2>{said}'
        f"{distance_figure(distance, untrained)}</section></div>"
    )


def _slider(result: Translation, shown: str, ratio: float) -> str:
    width = min(TALLEST * ratio, 420)
    return (
        f'<div class="m-slide" style="--cut:50%;aspect-ratio:{ratio:.4f};width:{width:.0f}px">'
        f'<img class="m-before" src="{data_uri(result.query)}" alt="the visible picture">'
        f'<img class="m-after" src="{data_uri(result.transition)}" alt="the {escape(shown)} transition image">'
        '<span class="m-tag m-tag-before" aria-hidden="true">visible</span>'
        f'<span class="m-tag m-tag-after" aria-hidden="true">{escape(shown)}</span>'
        '<span class="m-handle" aria-hidden="true">⇔</span>'
        '<input class="m-cut" type="range" min="0" max="100" value="50" '
        'aria-label="How much of the visible picture is shown, in per cent"></div>'
    )


def _tile(name: str, image: Image.Image, alt: str, css: str, pressed: bool) -> str:
    return (
        f'<button type="button" class="m-tile" data-tile="{escape(name, quote=True)}"{" data-first" * pressed} '
        f'aria-pressed="{str(pressed).lower()}"><img src="{data_uri(image)}" alt="{escape(alt, quote=True)}">'
        f'<span class="{css}">{escape(name)}</span></button>'
    )


def _note(name: str, text: str) -> str:
    """A sentence that is shown while the tile of that name is chosen."""
    return f'<p data-note="{escape(name, quote=True)}">{escape(text)}</p>'
