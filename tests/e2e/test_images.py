"""The image input in a real browser: taken away, chosen again, taken with the camera, pasted."""

from __future__ import annotations

import base64
import io
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


DROP = """(files) => {
  const data = new DataTransfer();
  for (const [name, type, content] of files)
    data.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name, {type}));
  const place = document.querySelector('#query .upload-container, #query .image-frame');
  for (const kind of ['dragenter', 'dragover', 'drop'])
    place.dispatchEvent(new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true}));
}"""


def test_what_is_no_single_picture_is_refused_in_words_that_go_with_the_next(
    visit: Any, tmp_path: Path
) -> None:
    page, buffer = visit(), io.BytesIO()
    Image.effect_noise((64, 128), 70).save(buffer, "PNG")
    content = base64.b64encode(buffer.getvalue()).decode()
    picture, document = ["a.png", "image/png", content], ["a.pdf", "application/pdf", content]
    words, toasts = page.locator(".m-refused:visible"), page.locator(".toast-body")
    answered = page.locator("#hits").inner_text()
    for files, said in (([picture, picture], "One picture"), ([document], "a.pdf is not a picture")):
        page.evaluate(DROP, files)  # on the picture that is shown, which stays
        expect(words).to_contain_text(said)
        assert page.locator("#hits").inner_text() == answered
    page.get_by_label("Remove Image").first.click()
    expect(page.locator("#answer .m-empty")).to_be_visible()
    for files, said in (([picture, picture], "One picture"), ([document], "a.pdf is not a picture")):
        page.evaluate(DROP, files)
        expect(words).to_contain_text(said)
    (tmp_path / "b.pdf").write_bytes(b"%PDF-1.4")
    page.set_input_files("#query input[type=file]", str(tmp_path / "b.pdf"))
    expect(words).to_contain_text("b.pdf is not a picture")
    assert toasts.count() == 0
    page.evaluate(DROP, [picture])
    expect(page.locator("#hits li").first).to_be_visible()
    expect(words).to_have_count(0)


def test_what_was_wrong_before_does_not_stay_beside_an_answer(visit: Any) -> None:
    page = visit()
    page.get_by_role("button", name="Cut out a person").click()
    box = page.locator(".m-crop img").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.05 * box["width"], box["y"] + 0.05 * box["height"], steps=3)
    page.mouse.up()
    page.get_by_role("button", name="Search with this part").click()
    expect(page.locator(".toast-body")).to_contain_text("too small")
    page.locator("#examples button[data-image]").last.click()
    expect(page.locator("#answer figcaption small").first).to_have_text("infrared")
    expect(page.locator(".toast-body")).to_have_count(0, timeout=2000)
