"""A search in a browser: links and Back, a part of a picture, several pictures, a place that is pointed at, zoom."""

from __future__ import annotations

import itertools
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest

pytest.importorskip("playwright")
pytest.importorskip("gradio")
from playwright.sync_api import Page, expect

from tests.helpers.browser import CHROMIUM, photograph, scores, upload

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; name one in MTRL_CHROMIUM"),
]


def said(page: Page) -> dict[str, str]:
    """What the address bar says."""
    return {key: values[0] for key, values in parse_qs(urlparse(page.url).query).items()}


def example(page: Page, number: int) -> str:
    """Searches with an example, and gives its name."""
    button = page.locator("#examples button[data-image]").nth(number)
    name = button.get_attribute("data-image") or ""
    button.click()
    page.wait_for_function("name => location.search.includes(name)", arg=name)
    return name


def test_back_returns_to_the_search_before_and_links_restore_it(visit: Any) -> None:
    page = visit()
    start = page.locator("#summary").inner_text()
    answer = page.locator("#answer [data-address]")
    first = example(page, 2)
    expect(answer).to_have_attribute("data-address", f"example={first}")
    second = example(page, 3)
    expect(answer).to_have_attribute("data-address", f"example={second}")
    page.get_by_role("tab", name="About").click()
    page.wait_for_function("location.search.includes('tab=about')")
    page.go_back()
    expect(page.get_by_role("tab", name="Retrieve")).to_have_attribute("aria-selected", "true")
    assert said(page)["example"] == second
    page.go_back()
    expect(answer).to_have_attribute("data-address", f"example={first}")
    assert said(page)["example"] == first
    page.go_back()
    expect(answer).not_to_have_attribute("data-address", f"example={first}")
    expect(page.locator("#summary")).to_have_text(start)
    for move, name in ((page.go_forward, first), (page.go_forward, second), (page.go_back, first)):
        move()
        expect(answer).to_have_attribute("data-address", f"example={name}")
    page.evaluate(
        "() => { history.back(); setTimeout(() => history.go(2), 60); setTimeout(() => history.back(), 90); }"
    )
    page.wait_for_timeout(3000)  # what was asked for in between is answered too
    expect(answer).to_have_attribute("data-address", f"example={first}")
    page.go_back()
    expect(page.locator("#summary")).to_have_text(start)
    expect(answer).not_to_have_attribute("data-address", f"example={first}")
    page.wait_for_timeout(500)
    assert said(page).get("example") not in (first, second)

    page.get_by_role("button", name="More options").click()
    page.get_by_label("infrared to visible").check()
    page.wait_for_function("location.search.includes('direction')")
    page.get_by_label("1 in 10", exact=True).check()
    page.wait_for_function("location.search.includes('threshold')")
    link, shown = page.url, page.locator("#summary").inner_text()
    page.goto("about:blank")
    page.goto(link)
    expect(page.locator("#summary")).to_have_text(shown)
    expect(page.get_by_label("infrared to visible")).to_be_checked()
    expect(page.locator("#threshold")).to_contain_text("1 in 10 comparisons")


def test_a_picture_stays_when_a_tab_is_left_by_back(visit: Any) -> None:
    page = visit()
    upload(page, "query", photograph())
    values = scores(page)
    page.get_by_role("tab", name="Model").click()
    page.wait_for_function("location.search.includes('tab=model')")
    page.go_back()
    expect(page.get_by_role("tab", name="Retrieve")).to_have_attribute("aria-selected", "true")
    assert scores(page) == values and "your picture" in page.locator(".m-chips").inner_text()


def test_a_box_cuts_a_person_out(visit: Any, shoot: Any) -> None:
    page = visit()
    upload(page, "query", photograph())
    page.wait_for_timeout(2000)  # the shown copy of the picture comes back from the server
    before = scores(page)
    page.get_by_role("button", name="Cut out a person").click()
    box = page.locator(".m-crop img").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + box["height"] - 2, steps=4)
    page.mouse.up()
    shoot(page, "cut")
    page.get_by_role("button", name="Search with this part").click()
    page.wait_for_function("old => document.querySelector('#hits .m-score span').textContent !== old",
                           arg=page.locator("#hits .m-score span").first.inner_text())  # fmt: skip
    assert scores(page) != before
    size = page.get_by_alt_text("query, visible").evaluate("e => e.naturalWidth / e.naturalHeight")
    assert size == pytest.approx(512 * 0.5 / 600, abs=0.04)
    # By keyboard.
    page.get_by_role("button", name="Cut out a person").focus()
    page.keyboard.press("Enter")
    frame = page.locator(".m-box")
    expect(frame).to_be_focused()
    left = frame.evaluate("e => e.style.left")
    page.keyboard.press("ArrowLeft")
    assert frame.evaluate("e => e.style.left") != left
    page.keyboard.press("Escape")
    expect(frame).to_be_hidden()


def test_several_pictures_are_one_query(visit: Any) -> None:
    page = visit()
    page.get_by_role("button", name="Add more pictures").click()
    expect(page.locator("#together")).to_contain_text("1 picture is kept")
    example(page, 1)
    expect(page.locator(".m-chips")).to_contain_text("mean of 2 pictures")
    mean = scores(page)
    page.get_by_role("button", name="Search with one picture again").click()
    expect(page.locator(".m-chips")).not_to_contain_text("mean of")
    assert scores(page) != mean


def test_a_place_of_the_query_shows_what_it_resembles(visit: Any, shoot: Any) -> None:
    page = visit()
    page.locator("#hits button").first.click()
    query = page.locator("dialog[open] .m-layers").first
    box = query.locator("img").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 3)
    expect(page.locator(".m-said")).to_contain_text("is most like row")
    pixels = "e.getContext('2d').getImageData(0, 0, e.width, e.height).data"
    lit = f"e => {pixels}.filter((value, n) => n % 4 === 3 && value > 0).length"
    assert page.locator("dialog[open] canvas").first.evaluate(lit) == 1
    assert page.locator("dialog[open] canvas").last.evaluate(lit) > 1
    shoot(page, "place")
    text = page.locator(".m-said").inner_text()
    query.focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator(".m-said")).not_to_have_text(text)


@pytest.mark.parametrize(("width", "height"), [(720, 450), (390, 844)], ids=["200 %", "phone"])
def test_words_and_labels_have_room(visit: Any, width: int, height: int) -> None:
    page = visit(width, height)
    marks = page.locator("#hits .m-mark").evaluate_all("all => all.map((e) => e.getClientRects().length)")
    assert set(marks) <= {0, 1}
    page.goto(f"{page.url.split('?')[0]}?tab=transition")
    page.locator("#trio .m-axis").wait_for()
    ticks = page.locator("#trio .m-axis div span").evaluate_all(
        "all => all.map((e) => e.getBoundingClientRect()).filter((r) => r.width).map((r) => [r.left, r.right])"
    )
    ticks.sort()
    assert len(ticks) > 2 and all(one[1] < other[0] for one, other in itertools.pairwise(ticks))
    tiles = page.locator("#trio .m-tile").evaluate_all("all => all.map((e) => e.getBoundingClientRect().top)")
    assert len(set(tiles)) < len(tiles)
    note = page.locator("#trio [data-note]:visible").first.bounding_box()
    assert note is not None and note["width"] > 200
    if width == 390:
        small = page.evaluate(
            "() => [...document.querySelectorAll('button:not([tabindex=\"-1\"])')]"
            ".filter((e) => e.checkVisibility({visibilityProperty: true}) && e.getBoundingClientRect().width)"
            ".filter((e) => { const r = e.getBoundingClientRect(); return r.width < 24 || r.height < 24; })"
            ".filter((e) => !e.closest('label')).map((e) => e.outerHTML.slice(0, 120))"
        )
        assert small == []
