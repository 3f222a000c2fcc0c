"""A benchmark as HTML: a table of its metrics, and the CMC curves of several models in one drawing."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from mtrl.demo.service.benchmark import DIRECTIONS, Score

SHOWN_RANKS = (1, 5, 10, 20)
COLOURS = ("var(--tra)", "var(--inf)", "var(--vis)")
DASHES = ("", "7 4", "2 4")
WIDTH, HEIGHT = 360, 250
LEFT, RIGHT, TOP, BOTTOM = 40, 10, 12, 34


def benchmark_html(runs: Sequence[Sequence[Score]]) -> str:
    """Table and curves of one or more models, each with both directions."""
    panels = "".join(
        f"<figure><figcaption>{direction}</figcaption>{curve([run[n] for run in runs])}</figure>"
        for n, direction in enumerate(DIRECTIONS)
    )
    keys = "".join(
        f'<span><svg viewBox="0 0 34 10" width="34" height="10" aria-hidden="true"><line x1="1" x2="33" y1="5" y2="5" '
        f'stroke="{COLOURS[n]}" stroke-width="3" stroke-dasharray="{DASHES[n]}"/></svg>{escape(run[0].name)}</span>'
        for n, run in enumerate(runs)
    )
    first = runs[0]
    counts = "; ".join(f"{s.direction}: {s.queries} queries against {s.gallery} pictures" for s in first)
    step = 100 / min(score.queries for score in first)
    return (
        f'<div class="m-scope m-answer" id="benchmark-result" aria-live="polite"><div class="m-panels">{panels}</div>'
        f'<p class="m-notes">{keys}</p>{table(runs)}'
        f'<p class="m-mute">In per cent, by the rules of SYSU-MM01 with all cameras: pictures from the room of the '
        f"query are left out (cameras 2 and 3 share one). {counts}. A small test: one query more or less moves "
        f"rank-1 by {step:.1f}, so small differences between models mean little.</p></div>"
    )


def table(runs: Sequence[Sequence[Score]]) -> str:
    """Rank-k, mAP and mINP in per cent, one row per model and direction."""
    head = "".join(f"<th>rank-{k}</th>" for k in SHOWN_RANKS) + "<th>mAP</th><th>mINP</th>"
    body = "".join(
        f"<tr><th>{escape(score.name)}<small>{score.direction}</small></th>"
        + "".join(f"<td>{100 * score.metrics.cmc[k - 1]:.1f}</td>" for k in SHOWN_RANKS)
        + f"<td><b>{100 * score.metrics.mean_ap:.1f}</b></td><td>{100 * score.metrics.mean_inp:.1f}</td></tr>"
        for run in runs
        for score in run
    )
    return (
        '<div class="m-wide"><table class="m-table"><thead><tr><th>model</th>'
        f"{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def point(rank: int, share: float) -> tuple[float, float]:
    """(x, y) in the drawing of a rank from 1 to 20 and a share in [0, 1]."""
    x = LEFT + (rank - 1) / (SHOWN_RANKS[-1] - 1) * (WIDTH - LEFT - RIGHT)
    return x, TOP + (1 - share) * (HEIGHT - TOP - BOTTOM)


def curve(scores: Sequence[Score]) -> str:
    """The CMC curves of several models in one direction, up to rank 20."""
    parts = []
    for percent in (0, 25, 50, 75, 100):
        y = point(1, percent / 100)[1]
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--line)"/>'
        )
        parts.append(_text(LEFT - 6, y + 4, f"{percent}", "end"))
    for rank in SHOWN_RANKS:
        parts.append(_text(point(rank, 0)[0], HEIGHT - BOTTOM + 16, str(rank), "middle"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 3, "right picture within rank", "middle"))
    for n, score in enumerate(scores):
        points = [point(k, float(score.metrics.cmc[k - 1])) for k in range(1, SHOWN_RANKS[-1] + 1)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{COLOURS[n]}" stroke-width="2.5" '
            f'stroke-dasharray="{DASHES[n]}" stroke-linejoin="round"/>'
        )
        x, y = points[0]
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{COLOURS[n]}"/>')
    said = "; ".join(
        f"{s.name}: rank-1 {100 * s.metrics.cmc[0]:.1f}, rank-20 {100 * s.metrics.cmc[19]:.1f} per cent"
        for s in scores
    )
    label = escape(f"Share of queries found within a rank, {scores[0].direction}. {said}", quote=True)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {where} font-size="12" fill="var(--mute)">{escape(text)}</text>'
