"""People whom a detector finds in a visitor's picture: what the page says, its buttons, and what it never looks at."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

pytest.importorskip("gradio")

import gradio as gr

import app
from mtrl.console import cli
from mtrl.demo.page import build_page
from mtrl.demo.server.request_origin import CURRENT, RequestOrigin
from mtrl.demo.service.galleries import Galleries
from mtrl.demo.service.images import mark, part_of
from mtrl.demo.service.models import Models
from mtrl.demo.service.service import DemoService
from mtrl.demo.tabs import people
from mtrl.demo.tabs.address import Settings
from mtrl.demo.tabs.people import People, boxes_within
from mtrl.demo.tabs.search import Search, answer
from tests.helpers.detector import tiny_rtdetr
from tests.helpers.page import draw, noise_page

LEFT, RIGHT = (20, 30, 80, 180, 0.9), (150, 20, 230, 188, 0.8)
BUTTON = re.compile(r'<button type="button" data-box="(.*?)" data-of="\w+" aria-label="(.*?)"')
VISIT: Any = SimpleNamespace(session_hash=None)


class Stub:
    """A detector that finds the same boxes in everything, and counts what it looked at."""

    def __init__(self, *boxes: tuple[float, ...]) -> None:
        self.boxes = np.array(boxes, np.float32).reshape(-1, 5)
        self.seen: list[NDArray[np.uint8]] = []

    def find(self, image: NDArray[np.uint8], least: float) -> NDArray[np.float32]:
        self.seen.append(image)
        return self.boxes[self.boxes[:, 4] >= least]


class Broken:
    def find(self, image: NDArray[np.uint8], least: float) -> NDArray[np.float32]:
        raise RuntimeError("no memory")


def picture(seed: int = 0, size: tuple[int, int] = (240, 200)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), dtype=np.uint8))


def asked(service: DemoService, detector: Any, image: Image.Image | None = None) -> str:
    return answer(service, image or picture(), Settings(), told=People(detector).told)


def buttons(html: str) -> list[tuple[list[float], str]]:
    return [(json.loads(box), label) for box, label in BUTTON.findall(html)]


def test_several_people_get_a_button_each_from_left_to_right(service: DemoService) -> None:
    html = asked(service, Stub(RIGHT, LEFT, (100, 20, 140, 190, 0.3)))
    assert "2 people were found in this picture. Search with one of them:" in html and 'id="hits"' in html
    found = buttons(html)
    assert [label for _, label in found] == [f"Search with person {n} of 2, from the left" for n in (1, 2)]
    for (box, _), (left, top, right, bottom, _) in zip(found, (LEFT, RIGHT), strict=True):
        assert np.array_equal(part_of(picture(), box), np.asarray(picture())[top:bottom, left:right])


def test_of_many_people_the_eight_largest_are_shown(service: DemoService) -> None:
    rows = [(20 * n, 0, 20 * n + 18, 100 + n, 0.9) for n in range(11)]
    html = asked(service, Stub(*rows))
    assert "11 people were found" in html and "one of the 8 largest:" in html
    assert [round(box[0] * 240) for box, _ in buttons(html)] == [20 * n for n in range(3, 11)]


@pytest.mark.parametrize(
    "box, told", [((0, 0, 240, 200), False), ((20, 10, 150, 190), False), ((90, 0, 150, 200), True),
                  ((20, 20, 200, 110), True)]
)  # fmt: skip
def test_one_person_is_offered_alone_unless_the_picture_is_full_of_them(
    service: DemoService, box: tuple[int, ...], told: bool
) -> None:
    html = asked(service, Stub((*box, 0.9)))
    assert ("Search with the person alone" in html) is told is ("m-people" in html)
    assert len(buttons(html)) == told and 'id="hits"' in html


def test_the_search_answers_without_people_and_without_a_working_detector(service: DemoService) -> None:
    for detector, words in ((Stub(), "found no person"), (Broken(), "failed on this picture (RuntimeError)")):
        html = asked(service, detector)
        assert words in html and not buttons(html) and 'id="hits"' in html
    assert "m-people" not in asked(service, None) and "detector" not in asked(service, None)
    assert "(ValueError)" in asked(service, SimpleNamespace(find=lambda image, least: np.zeros((2, 4))))


def test_boxes_that_cannot_be_cut_out_are_left_out() -> None:
    rows = [(-9, -9, 40, 50, 1), (float("nan"), 0, 50, 50, 1), (0, 0, 15, 90, 1), (50, 50, 20, 20, 1),
            (90, 0, 300, 999, 1), (0, 0, 40, 50, 0.6), (60.4, 0, 76.4, 20, 1)]  # fmt: skip
    assert boxes_within(np.array(rows, np.float32), (120, 100)) == [
        (0, 0, 40, 50), (60, 0, 76, 20), (90, 0, 120, 100)
    ]  # fmt: skip
    assert boxes_within(np.zeros((0, 5), np.float32), (120, 100)) == []


@pytest.fixture
def stub() -> Stub:
    return Stub(LEFT, RIGHT)


@pytest.fixture
def search(service: DemoService, stub: Stub) -> Search:
    with gr.Blocks():
        image = gr.Image()
        with gr.Tabs() as tabs:
            gr.Tab("Retrieve", id="retrieve")
    galleries = Galleries(service, public=True)
    return Search(Models(service), galleries, image, service.images[0], tabs, People(stub))


def usual(search: Search) -> tuple[Any, ...]:
    settings = Settings(gallery=search.galleries.names[0])
    return tuple(vars(settings).values())


def test_a_button_searches_with_that_person_who_is_not_looked_at_again(
    search: Search, stub: Stub, tmp_path: Path
) -> None:
    picture().save(tmp_path / "sent.png")
    html = search.respond(str(tmp_path / "sent.png"), [], *usual(search))
    box = buttons(html)[1][0]
    path, html = search.cut(VISIT, SimpleNamespace(box=box), str(tmp_path / "sent.png"), [], *usual(search))
    assert np.array_equal(np.asarray(Image.open(path)), np.asarray(picture())[20:188, 150:230])
    for shown in (html, search.respond(path, [], *usual(search))):
        assert 'id="hits"' in shown and "m-people" not in shown
    assert len(stub.seen) == 1


def test_pictures_of_the_gallery_are_not_looked_at(search: Search, stub: Stub, service: DemoService) -> None:
    search.picked(VISIT, SimpleNamespace(image="2_1.png"), [], *usual(search))
    search.restored(VISIT, SimpleNamespace(address="?example=2_1.png&k=3", shown=""))
    search.respond(draw(2, 1), [], *usual(search))  # uploaded, pixel for pixel
    assert not stub.seen


def test_pictures_of_no_gallery_of_the_page_are_looked_at(search: Search, stub: Stub, tmp_path: Path) -> None:
    other = noise_page(tmp_path / "other")
    home = search.models.home.service
    search = dataclasses.replace(search, galleries=Galleries(home, [other.folder], public=True))
    name = other.images[0].name
    there = tuple(vars(Settings(gallery="other")).values())
    path, _, html = search.picked(VISIT, SimpleNamespace(image="2_1.png"), [], *there)
    assert 'id="hits"' in html
    search.respond(path, [], *there)
    search.restored(VISIT, SimpleNamespace(address="?example=2_1.png&gallery=other", shown=""))
    path, _, html = search.continued(VISIT, SimpleNamespace(image=name), [], *there)
    assert 'id="hits"' in html
    search.respond(path, [], *usual(search))
    assert not stub.seen
    search.respond(picture(), [], *there)
    assert len(stub.seen) == 1
    assert search._told(str(tmp_path / "gone.png"), None) == "" and len(stub.seen) == 1


def test_a_box_is_cut_out_of_its_own_picture_only(search: Search, tmp_path: Path) -> None:
    for number in range(2):
        picture(number).save(tmp_path / f"{number}.png")
    old, new = (str(tmp_path / f"{number}.png") for number in range(2))
    of = re.findall('data-of="(.*?)"', search.respond(old, [], *usual(search)))
    assert of == [mark(picture())] * 2
    event = SimpleNamespace(box=[0, 0, 0.5, 1], of=of[0])
    assert search.cut(VISIT, event, new, [], *usual(search)) == (gr.skip(), gr.skip())
    path, html = search.cut(VISIT, event, old, [], *usual(search))
    assert Image.open(path).size == (120, 200) and 'id="hits"' in html


def test_a_picture_is_looked_at_once_in_a_visit_by_its_working_copy(search: Search, tmp_path: Path) -> None:
    stub: Any = search.people.detector
    large = picture(size=(3000, 1500))
    large.save(tmp_path / "large.png", compress_level=0)
    for _ in range(2):
        search.respond(str(tmp_path / "large.png"), [], *usual(search))
        search.respond(large, [], *usual(search))
    assert [image.shape for image in stub.seen] == [(512, 1024, 3)]
    search.people.forget("another visit")
    search.respond(large, [], *usual(search))
    assert len(stub.seen) == 1
    search.people.forget(None)
    search.respond(large, [], *usual(search))
    assert len(stub.seen) == 2


def test_few_boxes_are_remembered_and_those_of_a_visit_until_it_ends(monkeypatch: Any, stub: Stub) -> None:
    monkeypatch.setattr(people, "KEPT", 3)
    found = People(stub)
    for visit, seed in (("a", 0), ("b", 0), ("b", 1), ("b", 2), ("b", 1)):
        CURRENT.set(RequestOrigin(session=visit))
        found.told(picture(seed))
    CURRENT.set(RequestOrigin())
    assert len(stub.seen) == 4 and {key[0] for key in found._found} == {"b"} and len(found._found) == 3
    found.forget("b")
    assert not found._found


def test_a_picture_that_is_asked_about_stays_remembered(monkeypatch: Any, stub: Stub) -> None:
    monkeypatch.setattr(people, "KEPT", 3)
    found = People(stub)
    for other in range(1, 6):
        found.told(picture(0))
        found.told(picture(other))
    assert len(stub.seen) == 6


def test_a_picture_on_which_the_detector_failed_is_not_looked_at_again() -> None:
    seen = []

    def find(image: NDArray[np.uint8], least: float) -> NDArray[np.float32]:
        seen.append(image)
        raise RuntimeError("no memory")

    found = People(SimpleNamespace(find=find))
    assert found.told(picture()) == found.told(picture()) and "(RuntimeError)" in found.told(picture())
    assert len(seen) == 1


def test_nothing_is_kept_of_a_visit_that_ends_while_its_picture_is_looked_at(stub: Stub) -> None:
    def find(image: NDArray[np.uint8], least: float) -> NDArray[np.float32]:
        if not stub.seen:
            found.forget("gone")
        return stub.find(image, least)

    found = People(SimpleNamespace(find=find))
    CURRENT.set(RequestOrigin(session="gone"))
    found.told(picture())
    assert not found._found
    for _ in range(2):  # the connection was lost only
        found.told(picture())
    assert len(found._found) == 1 and len(stub.seen) == 2
    found.forget("gone")
    found.chosen(picture())
    CURRENT.set(RequestOrigin())
    assert len(found._found) == 1


def test_one_picture_is_looked_at_at_a_time() -> None:
    busy, together = threading.Lock(), []

    def find(image: NDArray[np.uint8], least: float) -> NDArray[np.float32]:
        together.append(not busy.acquire(blocking=False))
        threading.Event().wait(0.02)
        busy.release()
        return np.zeros((0, 5), np.float32)

    found = People(SimpleNamespace(find=find))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda seed: found.told(picture(seed % 3)), range(12)))
    assert together == [False] * 3


def test_the_page_hands_the_detector_to_its_searches(service: DemoService, stub: Stub) -> None:
    page = build_page(service, detector=stub)
    assert not stub.seen  # the example of arrival is the gallery's
    respond = next(fn.fn for fn in page.fns.values() if getattr(fn.fn, "__name__", "") == "respond")
    settings = Settings(gallery=Galleries(service).names[0])
    assert len(buttons(unescape(respond(picture(), [], *vars(settings).values())))) == 2


def test_a_detector_that_cannot_be_loaded_ends_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setattr(sys, "argv", ["app.py", "--detector", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        cli.run(app.main)
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.startswith(f"error: {tmp_path} is no detector that can be loaded")
    assert len(said.splitlines()) == 1


@pytest.mark.slow
def test_a_real_detector_fits(service: DemoService, tmp_path: Path) -> None:
    folder = tiny_rtdetr(tmp_path / "model", {0: "person", 1: "person"})
    from mtrl.hub.detector import Detector

    detector = Detector(str(folder))
    everything = SimpleNamespace(find=lambda image, least: detector.find(image, 0.0))
    html = asked(service, everything, picture(size=(640, 480)))
    assert "people were found" in html and 2 <= len(buttons(html)) <= 8
    assert "found no person" in asked(service, detector)  # random weights are sure of nothing
