"""What the events of the Retrieve tab call: searches, their comparison, parts of images, the page's address."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
from PIL import Image

from mtrl.demo.html import cards
from mtrl.demo.html.cards import Second
from mtrl.demo.html.comparison import comparison_html
from mtrl.demo.service.galleries import Galleries
from mtrl.demo.service.gallery_folder import GalleryImage
from mtrl.demo.service.models import Models
from mtrl.demo.service.service import AUTO, DemoService
from mtrl.demo.service.thresholds import RATES
from mtrl.demo.tabs.address import Settings, parse
from mtrl.demo.tabs.parts import ask, publish

MOST_TOGETHER = 8  # images of one query
LEAST_PART = 16  # pixels of each side of a part that is cut out


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

    def respond(self, image: Image.Image | str | None, others: Sequence[str], *values: Any) -> str:
        settings = _settings(values)
        try:
            service = self._service(settings)
        except (ValueError, OSError) as problem:
            return cards.error(str(problem), "That gallery cannot be searched")
        beside = [path for path in others if path != image]
        return answer(service, image, settings, beside, self.galleries.names[0], self._second)

    def searched(self, others: Sequence[str], *values: Any) -> DemoService:
        """The service of these values."""
        return self._service(_settings(values))

    def picked(
        self, request: gr.Request, event: gr.EventData, others: Sequence[str], *values: Any
    ) -> tuple[str, str, str]:
        """An example lies in the page's own gallery, a result in the one that was searched."""
        # A click on a result continues in the other direction, whatever was chosen for the image before it.
        settings = dataclasses.replace(_settings(values), direction=AUTO)
        searched = ask(lambda: self._service(settings))
        image = ask(lambda: _image(str(event.image), searched, self.models.home.service))
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
    ) -> tuple[Any, str]:
        """A part of the image in its place: `event.box` holds left, top, right and bottom as shares."""
        if image is None:
            return gr.skip(), self.respond(None, others, *values)
        service = ask(lambda: self._service(_settings(values)))
        part = ask(lambda: part_of(service.read(image)[0], getattr(event, "box", None)))
        return publish(part, self.image, request.session_hash), self.respond(part, others, *values)

    def keep(self, image: str | None, others: Sequence[str]) -> tuple[list[str], str]:
        """Adds the image to the query, which the next one joins."""
        kept = list(dict.fromkeys([*others, *([image] if image else [])]))[-(MOST_TOGETHER - 1) :]
        return kept, cards.together(len(kept))

    def restored(self, request: gr.Request, event: gr.EventData) -> tuple[Any, ...]:
        """Tab, image, other images, the words on them, answer and settings of the address in `event.address`.

        Where the page shows them already (`event.shown`), only the tab.
        """
        settings, example, tab = parse(str(getattr(event, "address", "")), self.models, self.galleries)
        opened = gr.Tabs(selected=tab or "retrieve")
        first = self.galleries.names[0]
        if settings.address(example, first) == getattr(event, "shown", None):
            return (opened, *[gr.skip()] * (4 + len(dataclasses.fields(Settings))))
        service = ask(lambda: self._service(settings))
        home = self.models.home.service
        try:
            image = _image(example or self.first.name, service, home)
        except (ValueError, OSError):
            image = home.open(self.first)
        answered = self.respond(image, (), *dataclasses.astuple(settings))
        path = publish(image, self.image, request.session_hash)
        return (opened, path, [], cards.together(0), answered, *dataclasses.astuple(settings))

    def _second(self, settings: Settings, image: Image.Image | str, others: Sequence[str]) -> Second | None:
        """What the second model answers, if one is asked for."""
        if not settings.second or settings.second == settings.source:
            return None
        loaded = self.models.get("" if settings.second == self.models.home.name else settings.second)
        service = self.galleries.service(loaded.service, settings.gallery)
        result = service.retrieve(image, settings.direction, settings.k, transition=False, others=others)
        return Second(loaded.name, result, service.pairs)

    def _service(self, settings: Settings) -> DemoService:
        return self.galleries.service(self.models.service(settings.source), settings.gallery)


def answer(
    service: DemoService,
    image: Image.Image | str | None,
    settings: Settings,
    others: Sequence[str] = (),
    first_gallery: str | None = None,
    second: Callable[..., Second | None] = lambda *asked: None,
) -> str:
    """The answer to one search as HTML, or what is wrong with its input. `second` gives that of the second model."""
    if image is None:
        return cards.empty("Choose an example or add a picture of a person.")
    try:
        result = service.retrieve(image, settings.direction, settings.k, others=others)
        beside = second(settings, image, others)
    except (ValueError, OSError) as problem:
        return cards.error(str(problem))
    address = settings.address(result.known.name if result.known else None, first_gallery)
    return cards.answer(result, service.pairs, RATES[settings.rate], address, beside)


def part_of(image: Image.Image, box: Any) -> Image.Image:
    """The part of an image between left, top, right and bottom, each a share in [0, 1] of its size.

    Raises ValueError for what is no such box, and for a part that is too small to search with.
    """
    if not isinstance(box, (list, tuple)) or len(box) != 4:
        raise ValueError("a part of a picture needs left, top, right and bottom")
    try:
        left, top, right, bottom = (min(1.0, max(0.0, float(value))) for value in box if value == value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("left, top, right and bottom of a part must be numbers") from None
    x, right_x = round(left * image.width), round(right * image.width)
    y, bottom_y = round(top * image.height), round(bottom * image.height)
    if right_x - x < LEAST_PART or bottom_y - y < LEAST_PART:
        raise ValueError(f"that part is too small: it needs {LEAST_PART} pixels each way at least")
    return image.crop((x, y, right_x, bottom_y))


def _settings(values: Sequence[Any]) -> Settings:
    direction, k, rate, gallery, source, second = values
    return Settings(direction, int(k), rate, gallery, source, (second or "").strip() or None)


def _image(name: str, searched: DemoService, home: DemoService) -> Image.Image:
    for service in (searched, home):
        if name in service.names():
            return service.open(service.image(name))
    raise ValueError(f"the gallery has no picture {name!r}")
