"""The Model tab's text: a model's facts, figures, curves, card, and what it may not be used for."""

from __future__ import annotations

from html import escape
from pathlib import Path

from mtrl.demo.html.about import USE_LIMITS
from mtrl.demo.html.curves import curves_html
from mtrl.demo.html.model_card import Card, markdown_html, parse_card
from mtrl.demo.service.model_files import read_backbone, read_card
from mtrl.demo.service.models import Loaded, Models


def model_html(loaded: Loaded) -> str:
    """HTML of the Model tab: a model's facts, its card's figures, training curves, limits of use, and its card."""
    card = parse_card(loaded.card)
    return (
        f'<div class="m-scope m-answer m-model" aria-live="polite"><h2 id="model-name">{escape(loaded.name)}</h2>'
        f"{_facts(loaded, card)}"
        f"<section><h3>Figures that its card states</h3>{results_html(card)}</section>"
        f"<section><h3>Training</h3>{curves_html(loaded.records)}</section>"
        f"<section><h3>What it may not be used for</h3>{USE_LIMITS}</section>{_card(card)}</div>"
    )


def list_html(models: Models) -> str:
    """The models to try: name, network, training data and translator, with a button each. "" where there are none."""
    rows = "".join(_entry(name, folder) for name, folder in models.listed.items())
    if not rows:
        return ""
    return (
        '<div class="m-scope m-wide"><table class="m-table" id="listed"><thead><tr><th>models to try</th>'
        f"<th>network</th><th>trained on</th><th>transition images by</th><th></th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _entry(name: str, folder: Path) -> str:
    card = parse_card(read_card(folder))
    cells = (read_backbone(folder), card.data, card.translator)
    return (
        f"<tr><th>{escape(name)}</th>"
        + "".join(f"<td>{escape(cell or 'not stated')}</td>" for cell in cells)
        + f'<td><button type="button" class="m-quiet" data-image="{escape(name, quote=True)}">Use</button></td></tr>'
    )


def _facts(loaded: Loaded, card: Card) -> str:
    model = loaded.service.model
    height, width = model.config.image_size
    parameters = sum(p.numel() for p in model.parameters())
    facts = [
        (escape(model.config.backbone), "network"),
        (f"{parameters / 1e6:.2f} million", "parameters, none of them for the transition"),
        (f"{height} × {width}", "pixels, height × width"),
        (f"{model.dim}", "numbers per embedding"),
        (escape(card.license.upper() or "not stated"), "licence, as its card says"),
        (escape(card.data or "not stated"), "training data, as its card says"),
        (escape(card.translator or "not stated"), "translator of its transition images, as its card says"),
    ]
    return (
        '<div class="m-facts">'
        + "".join(f"<div><b>{v}</b><span>{t}</span></div>" for v, t in facts)
        + "</div>"
    )


def results_html(card: Card) -> str:
    """The figures of a card as a table."""
    if not card.results:
        return '<p class="m-mute">Its card states no figures. Explore measures it on the gallery of this page.</p>'
    names = list(dict.fromkeys(name for result in card.results for name in result.metrics))
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    rows = "".join(
        f"<tr><th>{escape(result.dataset)}</th>"
        + "".join(f"<td>{result.metrics[n]:.1f}</td>" if n in result.metrics else "<td>–</td>" for n in names)
        + "</tr>"
        for result in card.results
    )
    return (
        f'<div class="m-wide"><table class="m-table"><thead><tr><th>data and setting</th>{head}</tr></thead>'
        f'<tbody>{rows}</tbody></table></div><p class="m-mute">In per cent, as stated by whoever wrote the card; '
        "this page has not checked them.</p>"
    )


def _card(card: Card) -> str:
    if not card.body:
        return '<p class="m-mute">This model comes without a card.</p>'
    return (
        '<details class="m-card"><summary>The whole model card</summary>'
        f"<div>{markdown_html(card.body)}</div></details>"
    )
