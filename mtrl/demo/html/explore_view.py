"""The map of the Explore tab as HTML and SVG; static/map.js makes it react to mouse, finger and keyboard."""

from __future__ import annotations

import math
from html import escape

from mtrl.demo.html.cards import name_of
from mtrl.demo.html.charts import data_uri, number
from mtrl.demo.service.embedding_map import COLUMNS, KINDS, TILE, EmbeddingMap, Gap, MapPoint

SIDE = 640
MARGIN = 14
SHAPES = {
    "visible": '<circle r="6.8"/>',
    "transition": '<path d="M0-5.6 5.6 0 0 5.6-5.6 0Z"/>',
    "infrared": '<path d="M0-6.6 6.2 4.6H-6.2Z"/>',
}
GOLDEN = 137.508


def map_html(data: EmbeddingMap) -> str:
    """The whole map: keys, filter, points, the image under the pointer, and the gaps."""
    people: dict[str | None, int | str | None] = {}
    for point in data.points:
        people.setdefault(point.image.person, point.image.identity)
    hues = {person: hue(n) for n, person in enumerate(people)}
    points = "".join(_point(n, point, hues[point.image.person]) for n, point in enumerate(data.points))
    counts = {kind: sum(point.kind == kind for point in data.points) for kind in KINDS}
    keys = "".join(
        f'<button type="button" class="m-key" data-kind="{kind}" aria-pressed="true"><svg viewBox="-8 -8 16 16" '
        f'aria-hidden="true">{SHAPES[kind]}</svg>{kind} <small>{count}</small></button>'
        for kind, count in counts.items()
        if count
    )
    named = {person: identity for person, identity in people.items() if person is not None}
    options = "".join(
        f'<option value="{escape(person, quote=True)}">person {escape(str(identity))}</option>'
        for person, identity in named.items()
    )
    label = (
        f"Map of {len(data.points)} embeddings of {len(named)} people. Arrow keys move from point to point, Enter "
        "searches with the picture."
    )
    return (
        f'<div class="m-scope m-answer m-map"><div class="m-keys">{keys}<label>Show <select>'
        f'<option value="">everybody</option>{options}</select></label></div>'
        f'<div class="m-plane"><svg viewBox="0 0 {SIDE} {SIDE}" role="group" aria-label="{label}">'
        f'<g class="m-links"></g>{points}'
        f'<circle class="m-ring" r="10" transform="translate(-99 -99)"/></svg>{_side(data)}</div></div>'
    )


def position(point: MapPoint) -> tuple[float, float]:
    """(x, y) of a point in the SVG, y downward."""
    half = SIDE / 2 - MARGIN
    return SIDE / 2 + half * point.x, SIDE / 2 - half * point.y


def hue(n: int) -> int:
    """A hue in degrees; neighbours in the order of people are far apart on the wheel."""
    return math.floor(n * GOLDEN) % 360


def _point(n: int, point: MapPoint, angle: int) -> str:
    x, y = position(point)
    what = f"{point.kind}, {name_of(point.image)}"
    person = point.image.person or ""
    return (
        f'<g class="m-point" role="button" tabindex="-1" data-n="{n}" data-kind="{point.kind}" data-x="{x:.1f}" '
        f'data-y="{y:.1f}" data-origin="{point.origin}" data-person="{escape(person, quote=True)}" '
        f'data-image="{escape(point.image.name, quote=True)}" aria-label="{escape(what, quote=True)}" '
        f'style="--h:{angle}" transform="translate({x:.1f} {y:.1f})">{SHAPES[point.kind]}</g>'
    )


def _side(data: EmbeddingMap) -> str:
    width, height = TILE
    peek = (
        f'<div class="m-peek" hidden data-width="{width}" data-height="{height}" data-columns="{COLUMNS}" '
        f'style="width:{width}px;height:{height}px"><img src="{data_uri(data.sheet)}" '
        'alt="the picture under the pointer"></div>'
    )
    left_out = (
        f"<p class='m-mute'>{data.left_out} pictures of this large gallery are left out.</p>"
        if data.left_out
        else ""
    )
    return (
        f'<div class="m-aside"><div class="m-look"><div class="m-frame">{peek}</div><div aria-live="polite">'
        '<b class="m-what"></b><p class="m-idle m-mute">Point at the map, or tap it, to see the picture. On a '
        "keyboard: Tab into it, then the arrow keys; Enter searches.</p>"
        '<div class="m-chosen" hidden><button type="button" class="m-go">Search with this picture</button> '
        '<button type="button" class="m-only">Show only this person, or all</button></div></div></div>'
        f"{gaps_html(data)}{left_out}"
        '<p class="m-mute">A colour is a person, though two people may have similar ones. A shape is a kind of '
        "picture. Points that lie close together are alike to the model. How far groups lie apart, and how large they "
        "are, means nothing in such a map (t-SNE).</p></div>"
    )


def gaps_html(data: EmbeddingMap) -> str:
    """The gaps as a table, and the count of transitions that lead nearer to infrared."""
    if not data.gaps:
        return '<p class="m-mute">The people of this gallery are not known, so no gap can be measured.</p>'
    rows = "".join(_gap(gap) for gap in data.gaps)
    said = ""
    if data.nearer is not None:
        before, after = (1 - gap.same for gap in data.gaps[:2])
        said = (
            f'<p id="nearer">Visible pictures have a mean cosine of {number(before)} to the infrared pictures of '
            f"the same person, and their {escape(data.translator)} transitions one of {number(after)}. "
            f"{data.nearer[0]} of {data.nearer[1]} transitions are nearer to them than their visible picture is.</p>"
        )
    return (
        "<h3>Modality gap</h3><table class='m-table'><thead><tr><th>between</th><th>same person</th>"
        f"<th>others</th><th>gap</th></tr></thead><tbody>{rows}</tbody></table>"
        '<p class="m-mute">Mean cosine distances. The gap is the first divided by the second: 0 would be perfect, '
        f"and at 1 the model could not tell people apart.</p>{said}"
    )


def _gap(gap: Gap) -> str:
    return (
        f"<tr><th>{gap.first} – {gap.second}</th><td>{gap.same:.2f}</td><td>{gap.different:.2f}</td>"
        f"<td><b>{gap.ratio:.2f}</b></td></tr>"
    )
