"""The page's scripts on their own, in a page of a few elements: what comes late, or twice, or from before."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("playwright")
from playwright.sync_api import Page, Route, expect

from mtrl.demo.html.static_files import script
from tests.helpers.browser import CHROMIUM

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; name one in MTRL_CHROMIUM"),
]
HTML = """<body><p>a place to click</p><p class="m-refused" hidden></p><div id="answer"></div></body>"""
# As Gradio runs a script; `answer` stands for a new value, `sent` holds what was triggered.
RUN = """(code) => {
  const element = document.querySelector('#answer'), watches = [];
  window.sent = [];
  new Function('element', 'trigger', 'watch', code)(
    element, (name, data) => window.sent.push([name, data]), (_, call) => watches.push(call));
  window.answer = (html) => { element.innerHTML = html; watches.forEach((call) => call()); };
}"""
FAIL = """(words) => {
  document.body.insertAdjacentHTML('beforeend',
    `<div class="toast-body">${words}<button class="toast-close" onclick="this.parentNode.remove()"></button></div>`);
}"""


@pytest.fixture(scope="session")
def base_url() -> str:
    return "http://page.test"


def run(page: Page, name: str) -> None:
    def show(route: Route) -> None:
        route.fulfill(body=HTML, content_type="text/html")

    page.route("**/*", show)
    page.goto("/")
    page.evaluate(RUN, script(name))


def answer(page: Page, html: str) -> None:
    page.evaluate("html => window.answer(html)", html)


def act(page: Page) -> None:
    page.get_by_text("a place to click").click()


def where(page: Page) -> list[Any]:
    found: list[Any] = page.evaluate("() => [location.search, history.length]")
    return found


def test_answers_that_come_before_the_restored_one_take_no_step(page: Page) -> None:
    run(page, "address")
    for name in "ab":
        answer(page, f'<p data-address="example={name}"></p>')
    steps = where(page)[1]
    page.evaluate("() => history.back()")
    page.wait_for_function("window.sent.length")
    assert page.evaluate("window.sent") == [["undo", {"address": "?example=a", "shown": "example=b"}]]
    for name in "bc":  # of a search before, and of a setting that is being restored
        answer(page, f'<p data-address="example={name}"></p>')
        assert where(page) == ["?example=a", steps]
    answer(page, '<div data-asked="?example=a"><p data-address="example=a"></p></div>')
    answer(page, '<p data-address="example=a&amp;model=m"></p>')
    assert where(page) == ["?example=a&model=m", steps]
    page.evaluate("() => history.back()")
    page.wait_for_function("window.sent.length === 2")
    act(page)  # the visitor does something else
    answer(page, '<p data-address="example=d"></p>')
    assert where(page)[0] == "?example=d"


def test_an_answer_takes_away_what_was_wrong_before_it_was_asked_for(page: Page) -> None:
    run(page, "follow")
    toast, refused = page.locator(".toast-body"), page.locator(".m-refused")
    act(page)
    page.evaluate(FAIL, "an error")
    refused.evaluate("e => { e.textContent = 'no picture'; e.hidden = false; }")
    answer(page, "<p>of the act before the error</p>")
    expect(toast).to_have_count(1)
    expect(refused).to_be_visible()
    act(page)
    toast.evaluate("e => e.append('another')")  # as Gradio does it
    answer(page, "<p>of that act</p>")
    expect(toast).to_have_count(1)
    expect(refused).to_be_hidden()
    act(page)
    answer(page, "<p>of a later one</p>")
    expect(toast).to_have_count(0)


def test_a_button_says_which_picture_its_box_belongs_to(page: Page) -> None:
    run(page, "crop")
    answer(page, '<button data-box="[0, 0, 0.5, 1]" data-of="0a1b">one</button>')
    page.get_by_role("button", name="one").click()
    assert page.evaluate("window.sent") == [["edit", {"box": [0, 0, 0.5, 1], "of": "0a1b"}]]
