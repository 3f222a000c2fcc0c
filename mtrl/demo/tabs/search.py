"""What the events of the Retrieve tab call: searches, their comparison, parts of images, the page's address."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from html import escape
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr
from PIL import Image

from mtrl.demo.html import cards
from mtrl.demo.html.cards import Second
from mtrl.demo.html.comparison import comparison_html
from mtrl.demo.server.uploads import UPLOADS
from mtrl.demo.service.galleries import Galleries
from mtrl.demo.service.gallery_folder import GalleryImage
from mtrl.demo.service.images import WORKING_PIXELS, fit, in_turn, mark, part_of, read_query, working_copy
from mtrl.demo.service.models import Models
from mtrl.demo.service.service import AUTO, DemoService
from mtrl.demo.service.thresholds import RATES
from mtrl.demo.tabs.address import Settings, parse
from mtrl.demo.tabs.parts import ask, open_tab, publish
from mtrl.demo.tabs.people import People
from mtrl.files.images import read_image
from mtrl.files.levels import ValueRange

MOST_TOGETHER = 8  # images of one query


@dataclasses.dataclass(frozen=True)
class Search:
    """The tab's events. `first` is the example of a page that was just opened.

    Every event gets the image's path, the paths of the query's other images, and the values of `Settings` in its order.
    """

    models: Models
    galleries: Galleries
    image: gr.Image
    first: GalleryImage
    tabs: gr.Tabs
    people: People = dataclasses.field(default_factory=People)

    def respond(self, image: Image.Image | str | None, others: Sequence[str], *values: Any) -> str:
        settings = _settings(values)
        try:
            service = self._service(settings)
        except (ValueError, OSError) as problem:
            return cards.error(str(problem), "That gallery cannot be searched")
        beside = [path for path in others if path != image]
        return answer(service, image, settings, beside, self.galleries.names[0], self._second, self._told)

    def searched(self, others: Sequence[str], *values: Any) -> DemoService:
        """The service of these values."""
        return self._service(_settings(values))

    def picked(
        self, request: gr.Request, event: gr.EventData, others: Sequence[str], *values: Any
    ) -> tuple[str, str, str]:
        """An example, or a point of the map: an image of the page's own gallery."""
        return self._taken(self.models.home.service, request, event, others, values)

    def continued(
        self, request: gr.Request, event: gr.EventData, others: Sequence[str], *values: Any
    ) -> tuple[str, str, str]:
        """A result: an image of the gallery that was searched."""
        searched = ask(lambda: self._service(_settings(values)))
        return self._taken(searched, request, event, others, values)

    def _taken(
        self,
        service: DemoService,
        request: gr.Request,
        event: gr.EventData,
        others: Sequence[str],
        values: Sequence[Any],
    ) -> tuple[str, str, str]:
        # A click on a result continues in the other direction, whatever was chosen for the image before it.
        settings = dataclasses.replace(_settings(values), direction=AUTO)
        image = ask(lambda: service.open(service.image(str(event.image))))
        answered = self.respond(image, others, *dataclasses.astuple(settings))
        return publish(image, self.image, request.session_hash), AUTO, answered

    def compared(self, event: gr.EventData, image: str | None, others: Sequence[str], *values: Any) -> str:
        """The query beside the chosen result."""
        if image is None:
            return ""
        settings = _settings(values)
        searched = ask(lambda: self._service(settings))
        beside = [path for path in others if path != image]
        result = ask(lambda: searched.compare(image, str(event.image), settings.direction, beside))
        needed = searched.pairs.decision(RATES[settings.rate], result.modality, result.correct is not None)
        return comparison_html(result, result.score >= needed if needed is not None else None)

    def cut(
        self, request: gr.Request, event: gr.EventData, image: str | None, others: Sequence[str], *values: Any
    ) -> tuple[Any, Any]:
        """A part of the image in its place: `event.box` holds left, top, right and bottom as shares. With `event.of`,
        the `mark` of the picture that the box belongs to, nothing where another picture has come meanwhile."""
        if image is None:
            return gr.skip(), self.respond(None, others, *values)
        service = ask(lambda: self._service(_settings(values)))
        of = getattr(event, "of", None)
        if of is not None and of != ask(lambda: mark(working_copy(image, service.value_range))):
            return gr.skip(), gr.skip()
        whole = UPLOADS.original(image)  # of which the page shows a small copy

        def cut_out() -> Image.Image:
            with in_turn(whole):
                loaded = read_image(whole, "the picture", service.value_range)
                return fit(part_of(loaded, getattr(event, "box", None)), WORKING_PIXELS)

        part = ask(cut_out)
        self.people.chosen(part)
        return publish(part, self.image, request.session_hash), self.respond(part, others, *values)

    def keep(self, image: str | None, others: Sequence[str]) -> tuple[list[str], str]:
        """Adds the image to the query, which the next one joins."""
        kept = list(dict.fromkeys([*others, *([image] if image else [])]))[: MOST_TOGETHER - 1]
        return kept, cards.together(len(kept), full=len(kept) == MOST_TOGETHER - 1)

    def restored(self, request: gr.Request, event: gr.EventData) -> tuple[Any, ...]:
        """Tab, image, other images, the words on them, answer and settings of the address in `event.address`.

        Where the page shows them already (`event.shown`), only the tab. The answer names the address that it restores,
        for the page's script: it takes no step of its own.
        """
        address = str(getattr(event, "address", ""))
        settings, example, tab = parse(address, self.models, self.galleries)
        opened = open_tab(self.tabs, tab)
        if _without_tab(address) == _without_tab(str(getattr(event, "shown", ""))):
            return (opened, *[gr.skip()] * (4 + len(dataclasses.fields(Settings))))
        service = ask(lambda: self._service(settings))
        home = self.models.home.service
        try:
            image = _image(example or self.first.name, service, home)
        except (ValueError, OSError):
            image = home.open(self.first)
        answered = self.respond(image, (), *dataclasses.astuple(settings))
        answered = f'<div data-asked="{escape(address, quote=True)}">{answered}</div>'
        path = publish(image, self.image, request.session_hash)
        return (opened, path, [], cards.together(0), answered, *dataclasses.astuple(settings))

    def _second(self, settings: Settings, image: Image.Image | str, others: Sequence[str]) -> Second | None:
        """What the second model answers, if one is asked for."""
        source = "" if settings.second == self.models.home.name else settings.second
        if source is None or source == settings.source:
            return None
        loaded = self.models.get(source)
        service = self.galleries.service(loaded.service, settings.gallery)
        result = service.retrieve(image, settings.direction, settings.k, transition=False, others=others)
        return Second(loaded.name, result, service.pairs)

    def _told(self, image: Image.Image | str, value_range: ValueRange | None) -> str:
        """What is said of the people in a picture that no gallery holds."""
        try:
            if self.people.detector is None:
                return ""
            picture, _ = read_query(image, "it", value_range)
            return "" if self.galleries.hold(picture) else self.people.told(picture)
        except (ValueError, OSError):  # it went after it was searched with
            return ""

    def _service(self, settings: Settings) -> DemoService:
        return self.galleries.service(self.models.service(settings.source), settings.gallery)


def answer(
    service: DemoService,
    image: Image.Image | str | None,
    settings: Settings,
    others: Sequence[str] = (),
    first_gallery: str | None = None,
    second: Callable[..., Second | None] = lambda *asked: None,
    told: Callable[[Image.Image | str, ValueRange | None], str] = lambda *asked: "",
) -> str:
    """The answer to one search as HTML, or what is wrong with its input. `second` gives that of the second model; where
    it cannot, that stands below the first. `told` says who is in an image that is none of the gallery's."""
    if image is None:
        return cards.empty("Choose an example or add a picture of a person.")
    try:
        result = service.retrieve(image, settings.direction, settings.k, others=others)
    except (ValueError, OSError) as problem:
        return cards.error(str(problem))
    beside, failed = None, ""
    try:
        beside = second(settings, image, others)
    except (ValueError, OSError) as problem:
        failed = cards.error(str(problem), "The second model cannot answer")
    address = settings.address(result.known.name if result.known else None, first_gallery)
    people = told(image, service.value_range) if result.known is None else ""
    return cards.answer(result, service.pairs, RATES[settings.rate], address, beside, people) + failed


def _without_tab(address: str) -> list[tuple[str, str]]:
    return [pair for pair in parse_qsl(address.lstrip("?"), keep_blank_values=True) if pair[0] != "tab"]


def _settings(values: Sequence[Any]) -> Settings:
    direction, k, rate, gallery, source, second = values
    return Settings(direction, int(k), rate, gallery, source, (second or "").strip() or None)


def _image(name: str, searched: DemoService, home: DemoService) -> Image.Image:
    for service in (searched, home):
        if name in service.names():
            return service.open(service.image(name))
    raise ValueError(f"the gallery has no picture {name!r}")
