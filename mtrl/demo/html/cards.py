"""Answers of the service as HTML. Everything that comes from outside is escaped."""

from __future__ import annotations

import base64
import csv
import dataclasses
import io
from collections.abc import Sequence
from html import escape

from mtrl.demo.html import verdict
from mtrl.demo.html.charts import bar, histogram, image_tag, number
from mtrl.demo.service.gallery_folder import SPECTRUM_NAMES, GalleryImage
from mtrl.demo.service.images import fit
from mtrl.demo.service.results import Hit, Retrieval
from mtrl.demo.service.thresholds import PairScores
from mtrl.models.config import Modality

SMALL = 96
TALLEST = 352  # twice what is shown, for sharp screens
COLOURS = {Modality.VISIBLE: "m-v", Modality.INFRARED: "m-i"}


def name_of(image: GalleryImage) -> str:
    """ "person 12, camera 3, thermal", as far as it is known."""
    parts = [f"person {image.identity}"] if image.identity is not None else ["unknown person"]
    if image.camera is not None:
        parts.append(f"camera {image.camera}")
    if image.spectrum is not None:
        parts.append(SPECTRUM_NAMES[image.spectrum])
    return ", ".join(parts)


def thumbnails(groups: Sequence[tuple[str, Modality, Sequence[GalleryImage]]]) -> str:
    """Examples to click: one row of buttons per group."""
    html = []
    for title, modality, images in groups:
        kind = modality.name.lower()
        buttons = "".join(
            f'<button type="button" data-image="{escape(p.name, quote=True)}" '
            f'title="{escape(name_of(p), quote=True)}">{image_tag(p, f"{kind} example: {name_of(p)}")}</button>'
            for p in images
        )
        html.append(
            f'<h3 class="{COLOURS[modality]}">{escape(title)}</h3><div class="m-thumbs">{buttons}</div>'
        )
    return f'<div class="m-scope m-examples">{"".join(html)}</div>'


def error(message: str, title: str = "That picture cannot be used") -> str:
    """An inline message in place of an answer."""
    return f'<div class="m-scope m-error" role="alert"><h2>{escape(title)}</h2><p>{escape(message)}</p></div>'


def empty(message: str) -> str:
    """What stands in place of an answer before there is an image."""
    return f'<div class="m-scope m-empty">{escape(message)}</div>'


@dataclasses.dataclass(frozen=True)
class Second:
    """What another model answers to the same search: its name, the ranking, and the gallery's pairs as it sees them."""

    name: str
    result: Retrieval
    pairs: PairScores


def answer(
    result: Retrieval,
    pairs: PairScores | None = None,
    rate: float = 0.01,
    address: str = "",
    second: Second | None = None,
    people: str = "",
) -> str:
    """The whole answer to a query: the pair on top, the sentence, the scores, the ranked images.

    `pairs` are the gallery's, for the threshold that a share `rate` of wrong pairs passes. `address` restores
    this answer; the page's script puts it into the browser's address bar. The ranking of a `second` model stands below.
    `people` is HTML about those who were found in the query.
    """
    value = pairs.decision(rate, result.modality, result.known is not None) if pairs else None
    hits = "".join(_hit(hit, value, _settled(result, hit)) for hit in result.hits)
    same = pairs.same if pairs else None
    legend = '<span><i class="k-all"></i>all scores</span><span><i class="k-top"></i>shown below</span>'
    if same is not None and len(same):
        legend += '<span><i class="k-same"></i>pairs of one person in this gallery</span>'
    return (
        f'<div class="m-scope m-answer" aria-live="polite" data-address="{escape(address, quote=True)}">'
        f'<div class="m-top">{_pair(result)}<div class="m-say">'
        f'<h2 id="summary">{escape(verdict.summary(result, value))}</h2>'
        f"{_facts(result)}{people}{verdict.not_among(result)}{hints_html(result.hints)}"
        f'<p class="m-mute" id="threshold">{escape(verdict.explained(result, pairs, rate))}</p>'
        f'<div class="m-spread">{histogram(result.scores, len(result.hits), value, same)}'
        f'<p class="m-scale">{legend}</p></div></div></div>'
        f'<ol class="m-hits" id="hits">{hits}</ol>{_beside(second, rate)}'
        f'<p class="m-mute m-note">Choose a result to see it beside the query. {verdict.greyed(result)}'
        f'<a download="mtrl-results.csv" href="{table(result)}">Download the table (CSV)</a></p></div>'
    )


def _beside(second: Second | None, rate: float) -> str:
    """The same search by another model."""
    if second is None:
        return ""
    result = second.result
    needed = second.pairs.decision(rate, result.modality, result.known is not None)
    hits = "".join(_hit(hit, needed, _settled(result, hit)) for hit in result.hits)
    precision = f" Average precision {result.precision:.0%}." if result.precision is not None else ""
    return (
        f'<section class="m-second" id="second"><h2>The same search by {escape(second.name)}</h2>'
        f"<p>{escape(verdict.summary(result, needed))}{precision}</p>"
        f'<ol class="m-hits">{hits}</ol></section>'
    )


def together(count: int, full: bool = False) -> str:
    """The choice to search with several images of one person; `count` images are kept so far, no more if `full`."""
    if not count:
        button = '<button type="button" data-keep>Add more pictures of this person</button>'
        return f'<p class="m-scope m-together">{button}</p>'
    keep = "" if full else '<button type="button" data-keep>Keep this one too</button> '
    kept = "1 picture is" if count == 1 else f"{count} pictures are"
    return (
        f'<div class="m-scope m-together" role="status"><p>{kept} kept. Choose or upload another picture of the same '
        "person: the search then uses the mean of all.</p>"
        f"{keep}"
        '<button type="button" data-forget>Search with one picture again</button></div>'
    )


def table(result: Retrieval) -> str:
    """The ranked images as a CSV file in a link: rank, score, name, identity, camera, correct.

    A text that a spreadsheet would run as a formula gets an apostrophe in front.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["rank", "score", "name", "identity", "camera", "correct"])
    for hit in result.hits:
        image = hit.image
        writer.writerow(
            [
                hit.rank,
                f"{hit.score:.6f}",
                _plain(image.name),
                _plain(image.identity),
                image.camera,
                hit.correct,
            ]
        )
    return "data:text/csv;base64," + base64.b64encode(buffer.getvalue().encode()).decode("ascii")


def _plain(value: object) -> object:
    return (
        f"'{value}"
        if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
        else value
    )


def _facts(result: Retrieval) -> str:
    """What is known of this search, in a few words each."""
    facts = []
    if result.known is not None:
        facts.append(name_of(result.known))
    else:
        facts.append(f"your picture, read as {result.modality.name.lower()}")
    if result.others:
        facts.append(f"mean of {len(result.others) + 1} pictures")
    if result.precision is not None:
        facts.append(f"average precision {result.precision:.0%}")
    if result.skipped:
        facts.append("pictures from its own room left out")
    facts.append(f"{1000 * result.seconds:.0f} ms")
    return '<p class="m-chips">' + "".join(f"<span>{escape(fact)}</span>" for fact in facts) + "</p>"


def hints_html(hints: list[str]) -> str:
    return "".join(f'<p class="m-hint">{escape(hint)}</p>' for hint in hints)


def _pair(result: Retrieval) -> str:
    kind = result.modality.name.lower()
    more = "".join(image_tag(fit(image, SMALL), "another picture of the query") for image in result.others)
    more = f'<div class="m-more">{more}</div>' if more else ""
    query = (
        f'<figure><div class="m-crop">{image_tag(fit(result.query, TALLEST), f"query, {kind}")}'
        f'<div class="m-box" role="application" tabindex="0" hidden></div></div>'
        f'<figcaption class="{COLOURS[result.modality]}">Query<small>{kind}</small></figcaption>'
        '<button type="button" class="m-quiet" data-crop>Cut out a person</button>'
        f'<button type="button" class="m-quiet" data-uncrop hidden>Leave it whole</button>{more}</figure>'
    )
    if result.transition is None:
        return f'<div class="m-pair">{query}</div>'
    whose, arrow = ("the query", "→") if result.modality is Modality.VISIBLE else ("the best match", "←")
    image = image_tag(fit(result.transition, TALLEST), f"{whose} as a transition image")
    return (
        f'<div class="m-pair">{query}<span class="m-arrow" aria-hidden="true">{arrow}</span><figure>{image}'
        f'<figcaption class="m-t">Transition<small>of {whose}</small></figcaption></figure></div>'
    )


def _settled(result: Retrieval, hit: Hit) -> bool:
    """Whether nothing was left to find at this rank: every image of the person stands before it."""
    return result.last_right is not None and hit.rank > result.last_right


def _hit(hit: Hit, threshold: float | None, settled: bool) -> str:
    css, mark, said = {
        True: ("right", "✓ right", "same person"),
        False: ("wrong", "✗ wrong", "another person"),
        None: ("", "", ""),
    }[hit.correct]
    if settled:
        css, mark = "rest", ""
    label = f"rank {hit.rank}, score {number(hit.score)}, {name_of(hit.image)}" + (
        f", {said}" if said else ""
    )
    small = (
        escape(name_of(hit.image)).replace(", ", "<br>")
        if hit.image.identity is not None
        else escape(hit.image.name)
    )
    return (
        f'<li class="m-hit {css}"><button type="button" data-compare="{escape(hit.image.name, quote=True)}" '
        f'title="{escape(label, quote=True)}">{image_tag(hit.image, label)}</button>'
        f'<span class="m-rank">{hit.rank}</span>'
        f'<div class="m-score"><span>{number(hit.score)}</span>'
        f'<span class="m-mark" aria-hidden="true">{mark}</span></div>'
        f"{bar(hit.score, threshold)}<small>{small}</small></li>"
    )
