"""The tabs Transition, Explore and Model in a real browser, on a phone and a desk, in light and dark."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright")
pytest.importorskip("gradio")
from playwright.sync_api import Page, expect

from tests.helpers.browser import CHROMIUM, photograph, upload
from tests.helpers.paths import ASSETS

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; name one in MTRL_CHROMIUM"),
]


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def test_the_slider_and_the_tiles_compare_translators(visit: Any, shoot: Any) -> None:
    page = visit()
    tab(page, "Transition")
    after = page.locator(".m-slide .m-after")
    before = after.get_attribute("src")
    page.locator('button[data-tile="spectral"]').click()
    expect(page.locator('button[data-tile="spectral"]')).to_have_attribute("aria-pressed", "true")
    assert after.get_attribute("src") != before
    expect(page.locator('[data-note="spectral"]').first).to_be_visible()
    expect(page.locator('[data-note="luminance"]').first).to_be_hidden()
    handle = page.locator(".m-cut")
    handle.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert page.locator(".m-slide").evaluate("e => e.style.getPropertyValue('--cut')") == "53%"
    page.locator('button[data-tile="true infrared"]').click()
    expect(after).to_have_attribute("alt", "the true infrared view of the same moment")
    shoot(page, "transition")
    upload(page, "visible", photograph())
    expect(page.locator("#trio .m-none")).to_be_visible()
    expect(page.locator(".m-distance p:visible").first).to_contain_text("no infrared picture in the gallery")


def test_the_map_leads_back_to_retrieve(visit: Any, shoot: Any) -> None:
    page = visit()
    tab(page, "Explore")
    points = page.locator("#map .m-point")
    expect(points.first).to_be_attached(timeout=60_000)  # it is drawn now
    page.locator("#map .m-point[tabindex='0']").focus()
    first = page.locator("#map .m-what").inner_text()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#map .m-what")).not_to_have_text(first)
    page.locator(".m-only").click()
    person = page.locator(".m-map select").input_value()
    assert points.count() - page.locator(f'#map .m-point[data-person="{person}"]').count() == (
        page.locator("#map .m-point.m-faint").count()
    )
    assert page.locator(".m-links line").count() > 0
    page.locator('.m-key[data-kind="transition"]').click()
    assert page.locator(".m-links line").count() == 0
    page.locator(".m-map select").select_option("")
    page.locator('.m-key[data-kind="visible"]').click()  # infrared alone is left
    page.locator(".m-plane > svg").scroll_into_view_if_needed()
    box = page.locator(".m-plane > svg").bounding_box()
    point = page.locator('#map .m-point[data-kind="infrared"]').first
    x, y = (float(point.get_attribute(name) or 0) * box["width"] / 640 for name in ("data-x", "data-y"))
    page.mouse.move(box["x"] + x, box["y"] + y)
    expect(page.locator("#map .m-what")).to_contain_text("infrared, person")
    shoot(page, "explore-hover")
    page.mouse.click(box["x"] + x, box["y"] + y)
    expect(page.get_by_role("tab", name="Retrieve")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#answer figcaption small").first).to_have_text("infrared")


def test_models_are_compared_chosen_and_refused(visit: Any, shoot: Any, tmp_path: Path) -> None:
    shutil.copytree(ASSETS / "fast", tmp_path / "second <model>")
    page = visit()
    tab(page, "Explore")
    page.locator("#second-model :is(input, textarea)").fill(str(tmp_path / "second <model>"))
    page.locator("#run-benchmark").click()
    expect(page.locator("#benchmark-result tbody tr")).to_have_count(
        4, timeout=60_000
    )  # a gallery is encoded
    shoot(page, "benchmark")
    tab(page, "Model")
    source = page.locator("#model-source :is(input, textarea)")
    source.fill(str(tmp_path / "nothing here"))
    page.locator("#use-model").click()
    expect(page.locator("#model-status .m-error")).to_contain_text("there is no folder")
    source.fill(str(tmp_path / "second <model>"))
    page.locator("#use-model").click()
    expect(page.locator("#model-chip")).to_contain_text("second <model>", timeout=60_000)
    expect(page.locator("#model-name")).to_have_text("second <model>")
    tab(page, "Retrieve")
    page.locator("#examples button[data-image]").last.click()
    expect(page.locator("#answer figcaption small").first).to_have_text("infrared")
    tab(page, "Model")
    page.locator("#home-model").click()
    expect(page.locator("#model-name")).to_have_text("This page's model")
    assert "Traceback" not in page.content()


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_tabs_fit_the_screen(visit: Any, shoot: Any, width: int, dark: bool) -> None:
    page = visit(width, 900, dark)
    for name, ready in (("Transition", ".m-slide"), ("Explore", ".m-plane"), ("Model", "#model-name")):
        tab(page, name)
        page.locator(ready).wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        shoot(page, f"{name.lower()}-{width}-{'dark' if dark else 'light'}")
    assert page.locator("img:not([alt])").count() == 0
