"""The page in a real browser: a photograph is uploaded, examples are clicked, nothing leaves the machine."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
from PIL import Image

pytest.importorskip("playwright")
pytest.importorskip("gradio")
from playwright.sync_api import Page, expect

cbook = pytest.importorskip("matplotlib.cbook")  # here, not while a thread of Gradio imports it too
CHROMIUM = os.environ.get("MTRL_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
ASSETS = Path(__file__).resolve().parents[2] / "mtrl" / "assets"
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
TIMEOUT = 30_000
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; name one in MTRL_CHROMIUM"),
]


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    return {**browser_type_launch_args, "executable_path": CHROMIUM, "args": FLAGS.split()}


@pytest.fixture(scope="session")
def base_url() -> Iterator[str]:
    checkpoint, gallery = os.environ.get("MTRL_E2E_CHECKPOINT"), os.environ.get("MTRL_E2E_GALLERY")
    if not (checkpoint or (ASSETS / "model" / "config.json").is_file()):
        pytest.skip("no checkpoint is shipped in mtrl/assets/model")
    if not (gallery or (ASSETS / "gallery" / "manifest.json").is_file()):
        pytest.skip("no gallery is shipped in mtrl/assets/gallery")
    from mtrl.demo.launch import card_folder, open_service
    from mtrl.demo.page import build_page, launch

    page = build_page(open_service(checkpoint, gallery), card_folder(checkpoint))
    _, url, _ = launch(page, server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    yield url
    page.close()


@pytest.fixture
def visit(page: Page, base_url: str, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Opens the page; afterwards checks that nothing was asked of another host and that no script failed."""
    strangers: list[str] = []
    failures: list[str] = []

    def note(request: Any) -> None:
        url = urlparse(request.url)
        if url.scheme in ("http", "https", "ws", "wss") and url.hostname != "127.0.0.1":
            strangers.append(request.url)

    page.on("request", note)
    page.on("pageerror", lambda error: failures.append(str(error)))

    def open_page(width: int = 1440, height: int = 900, dark: bool = False) -> Page:
        page.emulate_media(color_scheme="dark" if dark else "light")
        page.set_viewport_size({"width": width, "height": height})
        page.set_default_timeout(TIMEOUT)
        page.goto(base_url)
        page.wait_for_selector("#hits")
        return page

    yield open_page
    assert strangers == []
    assert failures == []


@pytest.fixture
def shoot(tmp_path: Path) -> Callable[[Page, str], None]:
    folder = Path(os.environ.get("MTRL_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return lambda page, name: page.screenshot(path=str(folder / f"{name}.png"), full_page=True) and None


def photograph() -> Path:
    return Path(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))


def upload(page: Page, element: str, path: Path) -> None:
    """Sends a file and waits until the answer that was shown before is gone."""
    page.wait_for_timeout(300)
    page.evaluate("for (const e of document.querySelectorAll('.m-answer, .m-error')) e.dataset.old = 'yes'")
    page.set_input_files(f"#{element} input[type=file]", str(path))
    answer = "answer" if element == "query" else "trio"
    page.wait_for_selector(f"#{answer} :is(.m-answer, .m-error):not([data-old])")


def scores(page: Page) -> list[float]:
    return [float(text) for text in page.locator("#hits .m-score span:first-child").all_inner_texts()]


def test_a_photograph_is_ranked(visit: Any, shoot: Any) -> None:
    page = visit()
    upload(page, "query", photograph())
    values = scores(page)
    assert len(values) == 12 and values == sorted(values, reverse=True)
    expect(page.locator("#summary")).to_contain_text("infrared pictures searched")
    expect(page.locator("#hits .right, #hits .wrong")).to_have_count(0)
    expect(page.get_by_alt_text("the query as a transition image")).to_be_visible()
    expect(page.locator(".m-hint").first).to_contain_text("512 × 600 pixels")
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


def test_a_file_that_is_no_picture_gets_a_message(visit: Any, shoot: Any, tmp_path: Path) -> None:
    page = visit()
    (tmp_path / "note.jpg").write_text("not a picture")
    upload(page, "query", tmp_path / "note.jpg")
    expect(page.locator("#answer .m-error")).to_contain_text("not an image")
    assert "Traceback" not in page.content()
    shoot(page, "no-picture")


def test_examples_have_their_truth_and_results_lead_on(visit: Any, shoot: Any) -> None:
    page = visit()
    page.locator("#examples button[data-picture]").last.click()
    expect(page.locator("#answer figcaption small").first).to_have_text("infrared")
    assert page.locator("#hits .right, #hits .wrong").count() == 12
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
        share = {"1 in 10": "10%", "1 in 100": "1%", "1 in 1,000": "0.1%"}[rate]
        expect(page.locator("#threshold")).to_contain_text(f"{share} of the pairs of different people")
        thresholds.append(float(page.locator("#threshold").inner_text().split("threshold ")[1][:4]))
    assert thresholds == sorted(thresholds)
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
    expect(page.locator("#threshold")).to_contain_text("too few known pairs")
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
