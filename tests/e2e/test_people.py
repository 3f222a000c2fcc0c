"""A page that looks for people, in a browser: a picture of two of them, and the search with one."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

pytest.importorskip("playwright")
pytest.importorskip("gradio")
from playwright.sync_api import expect

from tests.helpers.browser import CHROMIUM, upload
from tests.helpers.paths import ASSETS

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; name one in MTRL_CHROMIUM"),
]
GROUND = 150  # grey level on which the people of these pictures stand
SIZE = (96, 192)


class OnGrey:
    """Finds whatever stands side by side on the grey ground."""

    def find(self, image: NDArray[np.uint8], least: float) -> NDArray[np.float32]:
        shown = np.abs(image.astype(int) - GROUND).max(axis=2) > 2
        columns = np.flatnonzero(np.diff(np.pad(shown.any(axis=0), 1).astype(int))).reshape(-1, 2)
        rows = [np.flatnonzero(shown[:, left:right].any(axis=1))[[0, -1]] for left, right in columns]
        boxes = [(left, y[0], right, y[1] + 1, 1) for (left, right), y in zip(columns, rows, strict=True)]
        return np.array(boxes, np.float32).reshape(-1, 5)


@pytest.fixture(scope="session")
def base_url() -> Iterator[str]:
    from mtrl.demo.launch import open_service
    from mtrl.demo.page import build_page, launch

    page = build_page(open_service(), detector=OnGrey())
    _, url, _ = launch(page, server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    yield url
    page.close()


def scene(path: Path) -> Image.Image:
    """Two drawn people side by side in one picture."""
    people = [Image.open(file) for file in sorted((ASSETS / "gallery").glob("*_cam1.jpg"))[:2]]
    whole = Image.new("RGB", (440, 280), (GROUND,) * 3)
    for number, person in enumerate(people):
        whole.paste(person.convert("RGB").resize(SIZE), (80 + 160 * number, 48))
    whole.save(path)
    return whole


@pytest.mark.parametrize("width, dark", [(1440, False), (390, True)])
def test_the_search_goes_on_with_the_person_who_is_chosen(
    visit: Any, shoot: Any, tmp_path: Path, width: int, dark: bool
) -> None:
    page = visit(width, 844, dark)
    whole = scene(tmp_path / "two.png")
    upload(page, "query", tmp_path / "two.png")
    expect(page.locator(".m-people")).to_contain_text("2 people were found in this picture.")
    buttons = page.locator(".m-people button")
    expect(buttons).to_have_count(2)
    shoot(page, f"people-{width}")
    second = page.get_by_role("button", name="Search with person 2 of 2, from the left")
    second.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".m-people")).to_have_count(0)
    expect(page.locator("#hits li").first).to_be_visible()
    image = page.locator("#query .image-frame img")
    page.wait_for_function(
        "size => { const i = document.querySelector('#query .image-frame img'); return i?.naturalWidth === size[0] "
        "&& i.naturalHeight === size[1]; }",
        arg=SIZE,
    )
    content = page.request.get(image.get_attribute("src") or "").body()
    expected = whole.crop((240, 48, 240 + SIZE[0], 48 + SIZE[1]))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), np.asarray(expected))
    shoot(page, f"person-{width}")
