"""What the tabs share: their registry entry, image input, HTML, error messages, uploads."""

from __future__ import annotations

import dataclasses
import io
import itertools
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import gradio as gr
from gradio.components import Component
from PIL import Image

from mtrl.demo.html import cards
from mtrl.demo.html.static_files import script
from mtrl.demo.server.uploads import UPLOADS
from mtrl.demo.service.galleries import Galleries
from mtrl.demo.service.gallery_folder import GalleryImage
from mtrl.demo.service.images import WORKING_PIXELS, fit, in_turn
from mtrl.demo.service.models import Models
from mtrl.demo.service.service import DemoService
from mtrl.demo.tabs.people import People
from mtrl.files.images import read_image

Answer = TypeVar("Answer")
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal"}


WAIT: dict[str, Any] = {"api_visibility": "private", "show_progress": "full"}


@dataclasses.dataclass(frozen=True)
class PageParts:
    """What the page gives to every tab.

    models     the page's own model and those that visitors choose
    galleries  the galleries that can be searched
    chosen     holds the source of the visitor's model, "" for the page's own
    chip       line above the tabs that names the visitor's model
    map        the map of Explore, not yet placed; its `click` carries the name of a gallery image
    tabs       the row of tabs
    people     looks for people in visitors' pictures
    """

    models: Models
    galleries: Galleries
    chosen: gr.State
    chip: gr.HTML
    map: gr.HTML
    tabs: gr.Tabs
    people: People


@dataclasses.dataclass(frozen=True)
class Tab:
    """A tab of the page.

    name   its id: the page's address opens it by ?tab=name
    label  the words on it
    build  adds its components and events; called inside its `gr.Tab`, which is the second argument
    """

    name: str
    label: str
    build: Callable[[PageParts, gr.Tab], None]


def open_tab(tabs: gr.Tabs, asked: str | None) -> gr.Tabs:
    """Opens the tab of that name; the first, if there is none."""
    names = [tab.id for tab in tabs.children if isinstance(tab, gr.Tab)]
    return gr.Tabs(selected=asked if asked in names else names[0])


class PerService(Generic[Answer]):
    """What is made once for each service and key, and kept until the service's model is unloaded.

    Safe to call from several threads: who asks for what is being made waits for it, others do not.
    """

    def __init__(self) -> None:
        self._kept: weakref.WeakKeyDictionary[DemoService, dict[str, _Once[Answer]]] = (
            weakref.WeakKeyDictionary()
        )
        self._guard = threading.Lock()

    def get(self, service: DemoService, make: Callable[[], Answer], key: str = "") -> Answer:
        """What `make` gave when this was first asked. What it raises is not kept."""
        with self._guard:
            once = self._kept.setdefault(service, {}).setdefault(key, _Once())
        with once.lock:
            if not once.made:
                once.made.append(make())
            return once.made[0]


class _Once(Generic[Answer]):
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.made: list[Answer] = []


def html(
    value: str,
    elem_id: str | None = None,
    scripts: Sequence[str] = (),
    **options: Any,
) -> gr.HTML:
    """HTML with the page's own look.

    scripts  names of files in html/static that run on it: "pick" raises `click` (or `select`) for its image buttons
    options  of `gr.HTML`
    """
    code = "".join(script(name) for name in scripts)
    return gr.HTML(value, elem_id=elem_id, js_on_load=code or None, apply_default_css=False, **options)


def publish(image: Image.Image, component: Component, visit: str | None = None, of: str | None = None) -> str:
    """The path of a PNG where gradio serves a component's files, deleted with the visit's other files. `of`: the
    upload that it shows."""
    content = io.BytesIO()
    image.save(content, "PNG", compress_level=1)
    path = str(UPLOADS.keep(component.GRADIO_CACHE, "picture.png", content.getvalue(), shown=True, of=of))
    UPLOADS.add(visit, path)
    return path


def given(image: str | None) -> str:
    """The image of a request. Raises ValueError if there is none."""
    if image is None:
        raise ValueError("no picture was given")
    return image


def ask(call: Callable[[], Answer]) -> Answer:
    """For endpoints: what is wrong with the input, in words, instead of a traceback."""
    try:
        return call()
    except (ValueError, OSError) as problem:
        raise gr.Error(str(problem), print_exception=False) from problem


def answer_uploads(
    image: gr.Image, respond: Any, inputs: list[Any], output: gr.HTML, searched: Callable[..., DemoService]
) -> None:
    """Answers another image at once, however it came, and its removal; one that cannot be read is cleared.

    `searched` gives the service of the other inputs, since an index may have a value range for deep images.
    """

    def arrived(path: str | None, request: gr.Request, *rest: Any) -> tuple[Any, Any]:
        if path is None or UPLOADS.is_shown(path):  # the page itself put it there, and has answered it
            return gr.skip(), gr.skip()
        UPLOADS.add(request.session_hash, path)
        try:
            with in_turn(path):
                loaded = read_image(path, "The file", searched(*rest).value_range)
        except (ValueError, OSError) as problem:
            return None, cards.error(str(problem))
        shown = publish(fit(loaded, WORKING_PIXELS), image, request.session_hash, path)
        return shown, respond(loaded, *rest)

    # Of Gradio's events only this one comes for the camera too, and with the new value.
    image.change(arrived, inputs, [image, output], **PRIVATE)
    image.clear(lambda *rest: respond(None, *rest), inputs[1:], output, **PRIVATE)


def telling(progress: gr.Progress) -> Callable[[float, str], None]:
    """Gradio's progress bar as a function of a share in [0, 1] and a text."""
    return lambda share, text: progress(share, desc=text)


def examples_of(service: DemoService, images: list[GalleryImage], count: int) -> list[GalleryImage]:
    """`spread` less the images that can no longer be read; another one where none of those can; [] for none at all."""

    def readable(image: GalleryImage) -> bool:
        try:
            service.open(image)
        except (ValueError, OSError):
            return False
        return True

    return list(filter(readable, spread(images, count))) or list(
        itertools.islice(filter(readable, images), 1)
    )


def spread(images: list[GalleryImage], count: int) -> list[GalleryImage]:
    """`count` images spread over the list (people and cameras change), not chosen by how well they do."""
    count = min(count, len(images))
    return [images[i * len(images) // count + i % (len(images) // count)] for i in range(count)]
