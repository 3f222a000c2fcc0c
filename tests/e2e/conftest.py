"""The shipped page in a browser that sees this machine alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

import pytest

from tests.helpers.browser import CHROMIUM

if TYPE_CHECKING:
    from playwright.sync_api import Page

FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --use-fake-device-for-media-stream --use-fake-ui-for-media-stream"
)
PATIENCE = 30_000  # milliseconds


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    return {**browser_type_launch_args, "executable_path": CHROMIUM, "args": FLAGS.split()}


@pytest.fixture(scope="session")
def base_url() -> Iterator[str]:
    pytest.importorskip("matplotlib.cbook")  # here, not while a thread of Gradio imports it too
    checkpoint, gallery = os.environ.get("MTRL_E2E_CHECKPOINT"), os.environ.get("MTRL_E2E_GALLERY")
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

    def complain(message: Any) -> None:
        if "Content Security Policy" in message.text:
            failures.append(message.text)

    page.on("request", note)
    page.on("console", complain)
    page.on("pageerror", lambda error: failures.append(str(error)))

    def open_page(width: int = 1440, height: int = 900, dark: bool = False) -> Page:
        page.emulate_media(color_scheme="dark" if dark else "light")
        page.set_viewport_size({"width": width, "height": height})
        page.set_default_timeout(PATIENCE)
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
