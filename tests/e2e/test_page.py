"""The page in a real browser: a photograph is uploaded, examples are clicked, nothing leaves the machine."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("playwright")
pytest.importorskip("gradio")
from playwright.sync_api import expect

from tests.helpers.browser import CHROMIUM, photograph, scores, upload

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; name one in MTRL_CHROMIUM"),
]


def test_a_photograph_is_ranked(visit: Any, shoot: Any) -> None:
    page = visit()
    upload(page, "query", photograph())
    values = scores(page)
    assert len(values) == 12 and values == sorted(values, reverse=True)
    expect(page.locator("#summary")).to_contain_text("infrared pictures searched: no match")
    expect(page.locator("#not-among")).to_contain_text("nobody in a photograph is among them")
    expect(page.locator("#hits .right, #hits .wrong, #hits .rest")).to_have_count(0)
    expect(page.get_by_alt_text("the query as a transition image")).to_be_visible()
    expect(page.locator(".m-hint", has_text="512 × 600 pixels")).to_be_visible()
    shoot(page, "photograph")

    page.get_by_label("infrared to visible").check()
    expect(page.locator("#summary")).to_contain_text("visible pictures searched")


def test_exif_rotation_is_undone(visit: Any, shoot: Any, tmp_path: Path) -> None:
    page = visit()
    exif = Image.Exif()
    exif[274] = 6
    with Image.open(photograph()) as image:
        image.resize((100, 200)).rotate(90, expand=True).save(tmp_path / "turned.jpg", exif=exif)
    upload(page, "query", tmp_path / "turned.jpg")
    size = page.get_by_alt_text("query, visible").evaluate("e => [e.naturalWidth, e.naturalHeight]")
    assert size == [100, 200]
    shoot(page, "exif")


def test_a_file_that_is_no_image_gets_a_message(visit: Any, shoot: Any, tmp_path: Path) -> None:
    page = visit()
    (tmp_path / "note.jpg").write_text("not a picture")
    upload(page, "query", tmp_path / "note.jpg")
    expect(page.locator("#answer .m-error")).to_contain_text("not an image")
    assert "Traceback" not in page.content()
    shoot(page, "no-picture")


def test_examples_have_their_truth_and_results_lead_on(visit: Any, shoot: Any) -> None:
    page = visit()
    page.locator("#examples button[data-image]").last.click()
    expect(page.locator("#answer figcaption small").first).to_have_text("infrared")
    assert page.locator("#hits .right, #hits .wrong, #hits .rest").count() == 12
    classes = page.locator("#hits li").evaluate_all("all => all.map((e) => e.classList[1])")
    assert "rest" not in classes[: len(classes) - classes[::-1].index("right")]
    expect(page.locator("#summary")).to_contain_text("match")
    shoot(page, "example-infrared")

    # By keyboard: a result opens beside the query, Escape closes it, Enter on its button searches with it.
    result = page.locator("#hits button").nth(1)
    result.focus()
    page.keyboard.press("Enter")
    expect(page.locator("dialog[open] img")).to_have_count(4)
    shoot(page, "comparison")
    page.keyboard.press("Escape")
    expect(page.locator("dialog[open]")).to_have_count(0)
    expect(result).to_be_focused()
    name = result.get_attribute("data-compare")
    result.click()
    onward = page.get_by_role("button", name="Search with this result")
    onward.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#answer figcaption small").first).to_have_text("visible")
    expect(page.locator("dialog[open]")).to_have_count(0)
    assert f"example={name}" in page.url

    # The link of this answer brings it back.
    said = page.locator("#summary").inner_text()
    page.goto(page.url)
    expect(page.locator("#summary")).to_have_text(said)
    page.goto(f"{page.url.split('?')[0]}?tab=about")
    expect(page.get_by_role("tab", name="About")).to_have_attribute("aria-selected", "true")


def test_options_change_the_answer(visit: Any, shoot: Any, tmp_path: Path) -> None:
    page = visit()
    page.get_by_role("button", name="More options").click()
    thresholds = []
    for rate in ("1 in 10", "1 in 100", "1 in 1,000"):
        page.get_by_label(rate, exact=True).check()
        expect(page.locator("#threshold")).to_contain_text(f"{rate} comparisons of two different people")
        thresholds.append(float(page.locator("#threshold").inner_text().split("threshold of ")[1][:4]))
    assert thresholds == sorted(thresholds)
    # By keyboard: the number of results moves, and the results with it.
    page.get_by_role("slider", name="Results to show").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#hits li")).to_have_count(13)
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#hits li")).to_have_count(12)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the table").click()
    assert len(Path(download.value.path()).read_text().splitlines()) == 13
    shoot(page, "options")

    folder = tmp_path / "mine"
    for kind, mode in (("visible", "RGB"), ("infrared", "L")):
        (folder / kind).mkdir(parents=True)
        Image.effect_noise((64, 128), 70).convert(mode).save(folder / kind / f"only {kind}.png")
    box = page.get_by_role("combobox", name="Gallery")
    box.fill(str(folder))
    box.press("Enter")
    expect(page.locator("#hits li")).to_have_count(1)
    expect(page.locator("#hits")).to_contain_text("only infrared.png")
    expect(page.locator("#threshold")).to_contain_text("too few pictures of known people")
    box.fill(str(tmp_path / "nothing"))
    box.press("Enter")
    expect(page.locator("#answer .m-error")).to_contain_text("no gallery folder")
    shoot(page, "no-gallery")


def test_an_upload_leaves_with_its_visitor(visit: Any, browser: Any, base_url: str, tmp_path: Path) -> None:
    visit()
    Image.effect_noise((90, 180), 50).convert("RGB").save(tmp_path / "private-upload.png")
    page = browser.new_page()
    page.goto(base_url)
    page.wait_for_selector("#hits")
    upload(page, "query", tmp_path / "private-upload.png")
    cache = Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio")
    kept = list(cache.rglob("private-upload.png"))
    assert kept
    page.close()
    end = time.monotonic() + 20
    while any(path.exists() for path in kept) and time.monotonic() < end:
        time.sleep(0.2)
    assert not any(path.exists() for path in kept)


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_tab_fits_the_screen(visit: Any, shoot: Any, width: int, dark: bool) -> None:
    page = visit(width, 844 if width == 390 else 900, dark)
    home = page.url.split("?")[0]
    for name in ("Retrieve", "Transition", "Explore", "Model", "About"):
        page.goto(f"{home}?tab={name.lower()}")  # on a phone some tabs hide in a menu
        expect(page.get_by_role("tab", name=name, selected=True)).to_have_count(1)
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        shoot(page, f"{name.lower()}-{width}-{'dark' if dark else 'light'}")
    expect(page.locator("#method-figure")).to_be_visible()
    assert page.locator("img:not([alt])").count() == 0
