"""Small drawings as HTML and SVG: they follow the page's width and colours and load nothing."""

from __future__ import annotations

import base64
import io
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mtrl.demo.service import thumbnails
from mtrl.demo.service.gallery_folder import GalleryImage
from mtrl.files.images import read_image


def data_uri(source: Image.Image | GalleryImage) -> str:
    """An image for the `src` of an <img>, as a JPEG; a gallery's image no larger than it is shown."""
    if isinstance(source, GalleryImage):
        source = read_image(source.path, what=source.name)
        source.thumbnail(thumbnails.SIZE)
    buffer = io.BytesIO()
    source.save(buffer, "JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def image_tag(source: Image.Image | GalleryImage, alt: str, attributes: str = "") -> str:
    """<img> with its alternative text. `attributes` are HTML of our own, never from outside.

    A gallery's image is an address, which a browser keeps; another image stands in the page itself.
    """
    address = thumbnails.address(source) if isinstance(source, GalleryImage) else data_uri(source)
    text = escape(alt, quote=True)
    if not address:
        return f'<span class="m-gone" role="img" aria-label="{text}, file not found">file not found</span>'
    return f'<img src="{address}" alt="{text}" decoding="async" {attributes}>'


def number(value: float, digits: int = 2) -> str:
    """A rounded number with a proper minus sign, and no sign before zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def bar(score: float, mark: float | None = None, colour: str = "var(--tra)") -> str:
    """A cosine as a bar from 0 to 1, with a tick at `mark`."""
    tick = f'<u style="left:{_percent(mark):.1f}%"></u>' if mark is not None else ""
    return f'<div class="m-bar"><b style="width:{_percent(score):.1f}%;background:{colour}"></b>{tick}</div>'


def _percent(value: float) -> float:
    return 100 * min(1.0, max(0.0, value))


def histogram(
    scores: NDArray[np.float32],
    shown: int,
    threshold: float | None,
    same: NDArray[np.float32] | None = None,
) -> str:
    """The scores [N] of all searched images; the `shown` best are in colour, the threshold is a line.

    Under them, where the gallery's people are known, the scores of its same-person pairs `same` as an outline.
    """
    low = float(scores.min())
    high = max(float(scores.max()), threshold or 0.0) + 0.02
    if same is not None and len(same):
        low, high = min(low, float(np.quantile(same, 0.01))), max(high, float(np.quantile(same, 0.99)))
    bins = 40
    counts, edges = np.histogram(scores, bins=bins, range=(low, high))
    top, _ = np.histogram(scores[:shown], bins=bins, range=(low, high))
    width, base, head = 640, 76, 24
    step = width / bins
    parts = []
    if same is not None and len(same):
        outline, _ = np.histogram(same, bins=bins // 2, range=(low, high))
        tall = (base - head) * outline / outline.max()
        points = " ".join(f"{(i + 0.5) * 2 * step:.1f},{base - y:.1f}" for i, y in enumerate(tall))
        parts.append(f'<polygon points="0,{base} {points} {width},{base}" fill="var(--ok)" opacity=".16"/>')
        parts.append(f'<polyline points="{points}" fill="none" stroke="var(--ok)" stroke-width="1.5"/>')
    for index, (count, best) in enumerate(zip(counts, top, strict=True)):
        for value, colour in ((count, "var(--bar)"), (best, "var(--tra)")):
            if value:
                height = (base - head) * float(np.sqrt(value / counts.max()))
                parts.append(
                    f'<rect x="{index * step + 1:.1f}" y="{base - height:.1f}" width="{step - 2:.1f}" '
                    f'height="{height:.1f}" rx="2" fill="{colour}"/>'
                )
    if threshold is not None:
        x = (threshold - low) / (high - low) * width
        anchor, offset = ("end", -6) if x > width * 0.7 else ("start", 6)
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{base}" stroke="var(--ink)" stroke-width="2"/>'
            f'<text x="{x + offset:.1f}" y="15" text-anchor="{anchor}" font-size="14" font-weight="700" '
            f'fill="var(--ink)">threshold {number(threshold)}</text>'
        )
    for value in np.linspace(edges[0], edges[-1], 5):
        x = min(max((value - low) / (high - low) * width, 30), width - 30)
        parts.append(
            f'<text x="{x:.1f}" y="{base + 20}" text-anchor="middle" font-size="13" '
            f'fill="var(--mute)">{number(value)}</text>'
        )
    label = f"Histogram of {len(scores)} scores from {number(float(scores.min()))} to {number(float(scores.max()))}"
    if threshold is not None:
        label += f", with the threshold at {number(threshold)}"
    return f'<svg viewBox="0 0 {width} {base + 28}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


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
    """visible -> transition -> infrared, with images of one person, as the method's training sees them."""

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
