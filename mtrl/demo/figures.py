"""Small drawings as HTML and SVG: they follow the page's width and colours and load nothing."""

from __future__ import annotations

import base64
import io
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mtrl.demo.folder import Picture
from mtrl.images import read_image

SMALL_FILE = 40_000
THUMBNAIL = (160, 320)


def data_uri(source: Image.Image | Picture) -> str:
    """A picture for the `src` of an <img>: a small web file as it is, anything else as a JPEG no larger than needed."""
    if isinstance(source, Picture):
        if source.path.suffix.lower() in (".jpg", ".jpeg") and source.path.stat().st_size <= SMALL_FILE:
            return _uri(source.path.read_bytes())
        source = read_image(source.path, what=source.name)
        source.thumbnail(THUMBNAIL)
    buffer = io.BytesIO()
    source.save(buffer, "JPEG", quality=90)
    return _uri(buffer.getvalue())


def _uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def image_tag(source: Image.Image | Picture, alt: str, attributes: str = "") -> str:
    """<img> with its alternative text. `attributes` are HTML of our own, never from outside."""
    return f'<img src="{data_uri(source)}" alt="{escape(alt, quote=True)}" {attributes}>'


def bar(score: float, mark: float | None = None, colour: str = "var(--tra)") -> str:
    """A cosine as a bar from 0 to 1, with a tick at `mark`."""
    tick = f'<u style="left:{_percent(mark):.1f}%"></u>' if mark is not None else ""
    return f'<div class="m-bar"><b style="width:{_percent(score):.1f}%;background:{colour}"></b>{tick}</div>'


def _percent(value: float) -> float:
    return 100 * min(1.0, max(0.0, value))


def histogram(scores: NDArray[np.float32], shown: int, threshold: float | None) -> str:
    """The scores [N] of all searched pictures; the `shown` best are in colour, the threshold is a line."""
    low = float(scores.min())
    high = max(float(scores.max()), threshold or 0.0) + 0.02
    counts, edges = np.histogram(scores, bins=40, range=(low, high))
    top, _ = np.histogram(scores[:shown], bins=40, range=(low, high))
    width, height, base, head = 640, 100, 78, 22
    step = width / 40
    parts = []
    for index, (count, best) in enumerate(zip(counts, top, strict=True)):
        for value, colour in ((count, "var(--line)"), (best, "var(--tra)")):
            if value:
                tall = (base - head) * float(np.sqrt(value / counts.max()))
                parts.append(
                    f'<rect x="{index * step + 1:.1f}" y="{base - tall:.1f}" width="{step - 2:.1f}" '
                    f'height="{tall:.1f}" rx="2" fill="{colour}"/>'
                )
    text_x, text_anchor = 0, "start"
    if threshold is not None:
        x = (threshold - low) / (high - low) * width
        anchor = "end" if x > width * 0.7 else "start"
        offset = -6 if anchor == "end" else 6
        if x < width / 2:
            text_x, text_anchor = width, "end"
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{base}" stroke="var(--ink)" stroke-width="2"/>'
        )
        parts.append(
            f'<text x="{x + offset:.1f}" y="14" text-anchor="{anchor}" font-size="13" fill="var(--ink)">'
            f"threshold {threshold:.2f}</text>"
        )
    for value in np.linspace(edges[0], edges[-1], 6):
        x = min(max((value - low) / (high - low) * width, 14), width - 14)
        parts.append(
            f'<text x="{x:.1f}" y="{height - 6}" text-anchor="middle" font-size="12" '
            f'fill="var(--mute)">{value:.2f}</text>'
        )
    parts.append(
        f'<text x="{text_x}" y="14" text-anchor="{text_anchor}" font-size="12" fill="var(--mute)">'
        f"{len(scores)} scores, those shown below coloured</text>"
    )
    label = f"Histogram of {len(scores)} scores from {scores.min():.2f} to {scores.max():.2f}"
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _arrow(colour_from: str, colour_to: str, name: str) -> str:
    return (
        f'<svg viewBox="0 0 54 20" aria-hidden="true"><defs><linearGradient id="{name}">'
        f'<stop stop-color="{colour_from}"/><stop offset="1" stop-color="{colour_to}"/></linearGradient></defs>'
        f'<path d="M2 9.9 L44 10.1" stroke="url(#{name})" stroke-width="4" stroke-linecap="round"/>'
        f'<path d="M40 3 L51 10 L40 17 Z" fill="{colour_to}"/></svg>'
    )


def method_figure(
    visible: list[Image.Image], transition: list[Image.Image], infrared: list[Image.Image], person: str
) -> str:
    """visible -> transition -> infrared, with pictures of one person, as the method's training sees them."""

    def column(images: list[Image.Image], name: str, css: str, text: str) -> str:
        tags = "".join(image_tag(image, f"{person}, {name}") for image in images)
        return (
            f'<figure><div class="m-imgs">{tags}</div>'
            f'<figcaption class="{css}">{name}<small>{text}</small></figcaption></figure>'
        )

    return (
        '<div class="m-figure" id="method-figure">'
        + column(visible, "Visible", "m-v", "what a day camera sees")
        + f'<div class="m-hop">{_arrow("var(--vis)", "var(--tra)", "hop1")}hop 1: to its own transition</div>'
        + column(transition, "Transition", "m-t", "translated, pixel-aligned, training only")
        + f'<div class="m-hop">{_arrow("var(--tra)", "var(--inf)", "hop2")}hop 2: to the same person</div>'
        + column(infrared, "Infrared", "m-i", "what a night camera sees")
        + "</div>"
    )
