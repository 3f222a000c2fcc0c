"""The page in a browser: which browser, a photograph to send, and what the page answers."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = os.environ.get("MTRL_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


def photograph() -> Path:
    from matplotlib import cbook

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
