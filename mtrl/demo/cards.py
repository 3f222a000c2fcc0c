"""Answers of the service as HTML. Everything that comes from outside is escaped."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Sequence
from html import escape

from mtrl.config import Modality
from mtrl.demo.figures import bar, histogram, image_tag
from mtrl.demo.folder import Picture
from mtrl.demo.service import Hit, Retrieval, Threshold, Translation

TALLEST = 430
COLOURS = {Modality.VISIBLE: "m-v", Modality.INFRARED: "m-i"}
TRANSLATOR_NOTES = {
    "luminance": "Luminance: brightness alone, the hue dropped. The simplest transition and the reference.",
    "spectral": "Spectral: another mixture of the colour channels, a changed tone curve, and an infrared camera's "
    "blur and noise. Nothing is learned.",
    "learned": "Learned: a small network trained on unpaired visible and infrared pictures of the training people.",
}


def name_of(picture: Picture) -> str:
    """ "person 12, camera 3", as far as it is known."""
    parts = [f"person {picture.identity}"] if picture.identity is not None else ["unknown person"]
    if picture.camera is not None:
        parts.append(f"camera {picture.camera}")
    return ", ".join(parts)


def thumbnails(groups: Sequence[tuple[str, Modality, Sequence[Picture]]]) -> str:
    """Examples to click: one row of buttons per group."""
    html = []
    for title, modality, pictures in groups:
        kind = modality.name.lower()
        buttons = "".join(
            f'<button type="button" data-picture="{escape(p.name, quote=True)}" '
            f'title="{escape(name_of(p), quote=True)}">{image_tag(p, f"{kind} example: {name_of(p)}")}</button>'
            for p in pictures
        )
        html.append(
            f'<h3 class="{COLOURS[modality]}">{escape(title)}</h3><div class="m-thumbs">{buttons}</div>'
        )
    return f'<div class="m-scope m-examples">{"".join(html)}</div>'


def error(message: str) -> str:
    """An inline message in place of an answer."""
    return (
        f'<div class="m-scope m-error" role="alert"><h2>That picture cannot be used</h2>'
        f"<p>{escape(message)}</p></div>"
    )


def empty(message: str) -> str:
    """What stands in place of an answer before there is a picture."""
    return f'<div class="m-scope m-empty">{escape(message)}</div>'


def answer(result: Retrieval, threshold: Threshold | None) -> str:
    """The whole answer to a query: the pair on top, the sentence, the scores, the ranked pictures."""
    value = threshold.value if threshold else None
    hits = "".join(_hit(hit, value) for hit in result.hits)
    return (
        f'<div class="m-scope m-answer" aria-live="polite"><div class="m-top">{_pair(result)}'
        f'<div class="m-say"><h2 id="summary">{escape(summary(result))}</h2>'
        f'<p class="m-mute">{escape(_details(result, threshold))}</p>{_hints(result.hints)}'
        f'<div class="m-spread">{histogram(result.scores, len(result.hits), value)}</div></div></div>'
        f'<ol class="m-hits" id="hits">{hits}</ol>'
        f'<p class="m-mute m-note">Click a result to search on with it. '
        f'<a download="mtrl-results.csv" href="{table(result)}">Download these results (CSV)</a></p></div>'
    )


def table(result: Retrieval) -> str:
    """The ranked pictures as a CSV file in a link: rank, score, name, identity, camera, correct."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["rank", "score", "name", "identity", "camera", "correct"])
    for hit in result.hits:
        picture = hit.picture
        writer.writerow(
            [hit.rank, f"{hit.score:.6f}", picture.name, picture.identity, picture.camera, hit.correct]
        )
    return "data:text/csv;base64," + base64.b64encode(buffer.getvalue().encode()).decode("ascii")


def summary(result: Retrieval) -> str:
    """One sentence: what was searched, and how it went where the truth is known."""
    target = Modality(1 - result.modality).name.lower()
    searched = f"{len(result.scores)} {target} pictures searched"
    if result.known is None or result.known.identity is None:
        return f"{searched}; the best match scores {result.hits[0].score:.2f}."
    if result.first_right is None:
        return f"{searched}; none of them shows this person."
    shown = sum(hit.correct is True for hit in result.hits)
    where = (
        "The best match is right"
        if result.first_right == 1
        else f"First right match at rank {result.first_right}"
    )
    found = f"{shown} of this person's {result.relevant} {target} pictures"
    return f"{where}: {found} are among the first {len(result.hits)}."


def _details(result: Retrieval, threshold: Threshold | None) -> str:
    parts = []
    if result.known is not None:
        parts.append(f"Query: {name_of(result.known)}, from the gallery.")
    else:
        parts.append(f"Your picture, read as {result.modality.name.lower()}: right and wrong are not known.")
    if result.precision is not None:
        parts.append(f"Average precision {result.precision:.0%} over {len(result.scores)} pictures.")
    if result.skipped:
        parts.append(
            f"{result.skipped} pictures from the query's own room are left out, as in the benchmark."
        )
    if threshold is not None:
        above = int((result.scores > threshold.value).sum())
        parts.append(
            f"{above or 'None'} scored above the threshold {threshold.value:.2f}, which {threshold.false:.0%} of the "
            f"different-person and {threshold.true:.0%} of the same-person pairs of this gallery exceed."
        )
        if result.known is None and above == 0:
            parts.append("So nobody here is a confident match.")
    parts.append(f"{1000 * result.seconds:.0f} ms.")
    return " ".join(parts)


def _hints(hints: list[str]) -> str:
    return "".join(f'<p class="m-hint">{escape(hint)}</p>' for hint in hints)


def _pair(result: Retrieval) -> str:
    kind = result.modality.name.lower()
    query = (
        f"<figure>{image_tag(result.query, f'query, {kind}')}"
        f'<figcaption class="{COLOURS[result.modality]}">Query<small>{kind}</small></figcaption></figure>'
    )
    if result.modality is Modality.VISIBLE:
        return (
            f'<div class="m-pair">{query}<span class="m-arrow" aria-hidden="true">→</span>'
            f"<figure>{image_tag(result.transition, 'the query as a transition image')}"
            f'<figcaption class="m-t">Transition<small>of the query</small></figcaption></figure></div>'
        )
    return (
        f'<div class="m-pair">{query}<span class="m-arrow" aria-hidden="true">←</span>'
        f"<figure>{image_tag(result.transition, 'the best match as a transition image')}"
        f'<figcaption class="m-t">Transition<small>of the best match</small></figcaption></figure></div>'
    )


def _hit(hit: Hit, threshold: float | None) -> str:
    css, mark, said = {
        True: ("right", "✓ right", "same person"),
        False: ("wrong", "✗ wrong", "another person"),
        None: ("", "", ""),
    }[hit.correct]
    label = f"rank {hit.rank}, score {hit.score:.2f}, {name_of(hit.picture)}" + (f", {said}" if said else "")
    small = (
        name_of(hit.picture).replace(", ", "<br>")
        if hit.picture.identity is not None
        else escape(hit.picture.name)
    )
    return (
        f'<li class="m-hit {css}"><button type="button" data-picture="{escape(hit.picture.name, quote=True)}" '
        f'title="{escape(label, quote=True)}">{image_tag(hit.picture, label)}</button>'
        f'<span class="m-rank">{hit.rank}</span>'
        f'<div class="m-score"><span>{hit.score:.2f}</span><span class="m-mark" aria-hidden="true">{mark}</span></div>'
        f"{bar(hit.score, threshold)}<small>{small}</small></li>"
    )


def translation(result: Translation, translator: str) -> str:
    """visible | transition | true infrared, and what the transition does to the embedding."""
    ratio = result.query.width / result.query.height
    # As wide as its column allows, but no taller than fits a screen.
    box = f'style="aspect-ratio:{ratio:.4f};width:{TALLEST * ratio:.0f}px"'
    pictures = [
        image_tag(result.query, "the visible picture", box),
        image_tag(result.transition, "the transition image", box),
        image_tag(result.truth, "the true infrared view of the same moment", box)
        if result.truth is not None
        else f'<div class="m-none" {box}>No infrared camera saw this moment</div>',
    ]
    columns = (
        ("m-v", "var(--vis)", pictures[0], "Visible", "what goes in"),
        ("m-t", "var(--tra)", pictures[1], "Transition", escape(translator)),
        (
            "m-i",
            "var(--inf)",
            pictures[2],
            "True infrared",
            "for comparison only" if result.truth else "unknown",
        ),
    )
    trio = "".join(
        f'<figure style="border-color:{colour}">{picture}'
        f'<figcaption class="{css}">{title}<small>{small}</small></figcaption></figure>'
        for css, colour, picture, title, small in columns
    )
    return (
        f'<div class="m-scope m-answer" aria-live="polite"><div class="m-trio">{trio}</div>'
        f'<p class="m-note" id="translator-note">{escape(TRANSLATOR_NOTES.get(translator, translator))}</p>'
        f"{_hints(result.hints)}{_bridge(result)}</div>"
    )


def _bridge(result: Translation) -> str:
    bridge = result.bridge
    rows = [("visible ↔ transition", bridge.visible_transition, "var(--tra)")]
    if bridge.visible_infrared is not None and bridge.transition_infrared is not None:
        rows.append(("transition ↔ infrared", bridge.transition_infrared, "var(--inf)"))
        rows.append(("visible ↔ infrared", bridge.visible_infrared, "var(--vis)"))
    bars = "".join(
        f"<span>{name}</span>{bar(score, colour=colour)}<span>{score:.2f}</span>"
        for name, score, colour in rows
    )
    text = (
        "How alike the model finds them (cosine of the embeddings)."
        if len(rows) == 1
        else "How alike the model finds them (cosine of the embeddings). Infrared: the mean over this person's "
        "infrared pictures in the gallery, taken by other cameras at other moments."
    )
    return f'<h3 class="m-note">The bridge</h3><p class="m-mute">{text}</p><div class="m-cos">{bars}</div>'
