"""A stranger's model card: its facts, and its Markdown as HTML that can neither run nor load anything."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

MAX_FRONT = 50_000
MAX_RESULTS = 20
MAX_MARKDOWN = 50_000  # characters
MAX_PARAGRAPH = 2000
_WEB = re.compile(r"https?://\S+", re.IGNORECASE)
_TRANSLATOR = re.compile(
    r"^- (?:method: .{1,80} with ([\w-]{1,40}) transition images|translator: (.{1,80}))$", re.MULTILINE
)
MAX_VALUE = 1e9  # of a figure; also leaves out what is no number or too long for one


@dataclasses.dataclass(frozen=True)
class Result:
    """Figures of a card on one data set, in per cent as the card states them."""

    dataset: str
    metrics: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Card:
    """What a card says. `license`, `data` and `translator` (of the transition images that the model was trained with)
    are "" where it does not say."""

    body: str
    license: str
    data: str
    translator: str
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
    translator = _TRANSLATOR.search(body)
    license_ = front.get("license")
    return Card(
        body.strip(),
        license_ if isinstance(license_, str) else "",
        data.group(1).strip() if data else "",
        translator.group(1) or translator.group(2) if translator else "",
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
    """CommonMark with tables as HTML that can neither run nor load anything.

    HTML in it is shown as the text that it is, images become their descriptions, and links lead to http(s) only:
    of others the words stay. Text that is longer than any card or paragraph stays as it is, since the parser's time
    grows with the square of some texts.
    """
    if len(text) > MAX_MARKDOWN:
        return f"<pre>{escape(text)}</pre>"
    return str(_parser().render(text))


class _CardRenderer(RendererHTML):
    """HTML without attributes that a card chooses, except the address of a link. A method renders one type of token."""

    def heading_open(self, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        return f"<{_heading(tokens[index])}>"

    def heading_close(self, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        return f"</{_heading(tokens[index])}>"

    def image(self, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        return escape(self.renderInlineAsText(tokens[index].children or [], options, env))

    def link_open(self, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        address = str(tokens[index].attrs["href"])
        if not _WEB.fullmatch(address):
            return ""
        return f'<a href="{escape(address, quote=True)}" rel="noopener noreferrer nofollow" target="_blank">'

    def link_close(self, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        opened = next(n for n in range(index, -1, -1) if tokens[n].type == "link_open")  # links do not nest
        return "</a>" if self.link_open(tokens, opened, options, env) else ""

    def fence(self, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        return f"<pre><code>{escape(tokens[index].content)}</code></pre>"

    def table_open(self, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        return '<div class="m-wide"><table class="m-table">'

    def table_close(self, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        return "</table></div>"


def _heading(token: Token) -> str:
    """The tag of a heading below those of the page."""
    return f"h{min(4, max(3, int(token.tag[1]) + 1))}"


@functools.cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}, renderer_cls=_CardRenderer).enable("table")
    parser.core.ruler.before("inline", "long_paragraphs", _leave_long_paragraphs)
    return parser


def _leave_long_paragraphs(state: StateCore) -> None:
    for token in state.tokens:
        if token.type == "inline" and len(token.content) > MAX_PARAGRAPH:
            token.type = "text"
