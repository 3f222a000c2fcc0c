"""The image input in a real browser: taken away, chosen again, taken with the camera, pasted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("playwright")
pytest.importorskip("gradio")
from playwright.sync_api import expect

from tests.helpers.browser import CHROMIUM, upload

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; name one in MTRL_CHROMIUM"),
]


def test_every_image_can_be_taken_away(visit: Any, tmp_path: Path) -> None:
    page = visit()
    shown, away = page.locator("#query .image-frame img"), page.get_by_label("Remove Image")
    Image.effect_noise((64, 128), 70).convert("RGB").save(tmp_path / "x.png")

    def example() -> None:
        page.locator("#examples button[data-image]").last.click()

    for bring in (lambda: None, example, lambda: upload(page, "query", tmp_path / "x.png"), example):
        bring()
        expect(shown).to_have_count(1)
        expect(page.locator("#hits li").first).to_be_visible()
        page.wait_for_timeout(500)  # so that nothing that is still under way brings it back
        away.first.click()
        expect(page.locator("#answer .m-empty")).to_be_visible()
        page.wait_for_timeout(1000)
        expect(shown).to_have_count(0)
        expect(page.locator("#answer .m-empty")).to_be_visible()


def test_the_camera_is_one_click_away_on_arrival(visit: Any) -> None:
    page = visit()
    page.get_by_label("Capture from camera").click()
    page.get_by_role("button", name="Click to Access Webcam").click()
    page.locator("#query video").wait_for()
    page.wait_for_timeout(1000)
    page.evaluate("for (const e of document.querySelectorAll('.m-answer')) e.dataset.old = 'yes'")
    page.locator("#query button[aria-label='capture photo' i]").first.click()
    page.wait_for_selector("#answer .m-answer:not([data-old])")
    expect(page.locator("#query .image-frame img")).to_have_count(1)


def test_an_unreadable_file_is_taken_away_with_words_that_stay(visit: Any, tmp_path: Path) -> None:
    page = visit()
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(400))
    (tmp_path / "empty.png").write_bytes(b"")
    for name, words in (("photo.heic", "not an image"), ("empty.png", "empty")):
        upload(page, "query", tmp_path / name)
        page.wait_for_timeout(1000)
        expect(page.locator("#answer .m-error")).to_contain_text(words)
        expect(page.locator("#query .image-frame img")).to_have_count(0)


def test_the_example_of_arrival_stays_for_the_next_visitor(visit: Any, browser: Any, base_url: str) -> None:
    visit()
    for _ in range(2):
        page = browser.new_page()
        page.goto(base_url)
        page.wait_for_selector("#hits")
        image = page.locator("#query .image-frame img")
        expect(image).to_have_count(1)
        page.wait_for_function("document.querySelector('#query .image-frame img').naturalWidth > 0")
        page.get_by_label("Remove Image").first.click()
        expect(page.locator("#answer .m-empty")).to_be_visible()
        page.close()
