"""A stranger's model card: its facts, and its Markdown as HTML that can neither run nor load anything."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from html import escape
from typing import Any

MAX_FRONT = 50_000
MAX_RESULTS = 20
MAX_VALUE = 1e9  # of a figure; also leaves out what is no number or too long for one


@dataclasses.dataclass(frozen=True)
class Result:
    """Figures of a card on one data set, in per cent as the card states them."""

    dataset: str
    metrics: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Card:
    """What a card says. `license` and `data` are "" where it does not say."""

    body: str
    license: str
    data: str
    results: tuple[Result, ...]

    @property
    def drawn(self) -> bool:
        """Whether the card says that the model has learned from drawn people only."""
        named = [self.data] if self.data else [result.dataset for result in self.results]
        return bool(named) and all(name.lower().startswith("synthetic") for name in named)


def parse_card(text: str) -> Card:
    """A card's front matter and Markdown. Anything malformed there counts as not said."""
    match = re.match(r"---\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", text, flags=re.DOTALL)
    body = text[match.end() :] if match else text
    front = _front(match.group(1)) if match else {}
    data = re.search(r"^- Data: (.{1,200})$", body, flags=re.MULTILINE)
    license_ = front.get("license")
    return Card(
        body.strip(),
        license_ if isinstance(license_, str) else "",
        data.group(1).strip() if data else "",
        tuple(_results(front.get("model-index"))),
    )


def _front(text: str) -> dict[str, Any]:
    import yaml

    if len(text) > MAX_FRONT:
        return {}
    try:
        # A few aliases of aliases would unfold to more than any memory holds; no card needs one.
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, yaml.SafeLoader)):
            return {}
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _results(index: Any) -> Iterator[Result]:
    entries = [entry for entry in index if isinstance(entry, dict)] if isinstance(index, list) else []
    found = [one for entry in entries[:1] for one in _items(entry.get("results"))]
    for one in found[:MAX_RESULTS]:
        dataset, metrics = one.get("dataset"), _items(one.get("metrics"))
        name = dataset.get("name") if isinstance(dataset, dict) else None
        figures = {
            str(metric.get("name") or metric.get("type")): float(metric["value"])
            for metric in metrics[:8]
            if type(metric.get("value")) in (int, float) and abs(metric["value"]) <= MAX_VALUE
        }
        if isinstance(name, str) and figures:
            yield Result(name, figures)


def _items(values: Any) -> list[dict[str, Any]]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def markdown_html(text: str) -> str:
    """Headings, lists, tables, code, bold and links of Markdown as HTML. Everything else, HTML above all, is shown
    as the text that it is; pictures become their descriptions; links lead to http(s) addresses only."""
    lines = iter(text.splitlines())
    html: list[str] = []
    block: list[str] = []
    for line in lines:
        if line.startswith("```"):
            html += _blocks(block)
            block = []
            code = []
            for inner in lines:
                if inner.startswith("```"):
                    break
                code.append(inner)
            html.append(f"<pre><code>{escape(chr(10).join(code))}</code></pre>")
        elif not line.strip() or line.startswith("#"):
            html += _blocks(block)
            block = []
            if line.startswith("#"):
                level = min(4, max(3, len(line) - len(line.lstrip("#")) + 1))
                html.append(f"<h{level}>{_inline(line.lstrip('#').strip())}</h{level}>")
        else:
            block.append(line)
    return "".join(html + _blocks(block))


def _blocks(lines: list[str]) -> list[str]:
    """A paragraph, list or table of adjacent lines; a list may follow a paragraph directly."""
    if not lines:
        return []
    if all(line.lstrip().startswith("|") for line in lines):
        return [_table(lines)]
    first = next((n for n, line in enumerate(lines) if _item(line)), len(lines))
    html = [f"<p>{_inline(' '.join(line.strip() for line in lines[:first]))}</p>"] if first else []
    items: list[str] = []
    for line in lines[first:]:
        match = _item(line)
        if match:
            items.append(match.group(1))
        else:
            items[-1] += " " + line.strip()
    if items:
        html.append("<ul>" + "".join(f"<li>{_inline(item)}</li>" for item in items) + "</ul>")
    return html


def _item(line: str) -> re.Match[str] | None:
    return re.match(r"\s*(?:[-*+]|\d{1,3}\.)\s+(.*)", line)


def _table(lines: list[str]) -> str:
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))] for line in lines]
    if len(rows) > 1 and all(re.fullmatch(r":?-+:?", cell) for cell in rows[1]):
        del rows[1]
    head = "".join(f"<th>{_inline(cell)}</th>" for cell in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{_inline(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:]
    )
    return f'<div class="m-wide"><table class="m-table"><tr>{head}</tr>{body}</table></div>'


def _inline(text: str) -> str:
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(
        f"<code>{escape(part[1:-1])}</code>" if n % 2 else _emphasis(part) for n, part in enumerate(parts)
    )


def _emphasis(text: str) -> str:
    text = escape(text.replace("\\|", "|"))
    text = re.sub(r"!\[([^\[\]]*)\]\([^()]*\)", r"\1", text)  # "[" and "(" end a try: quick on any text
    text = re.sub(
        r"\[([^\[\]]+)\]\((https?://[^\s()]+)\)",
        r'<a href="\2" rel="noopener noreferrer nofollow" target="_blank">\1</a>',
        text,
    )
    return re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", text)
