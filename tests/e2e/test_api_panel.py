"""The samples of "Use via API", read from the panel in a browser and run as they stand."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("playwright")
pytest.importorskip("gradio")
from playwright.sync_api import expect

from tests.helpers.browser import CHROMIUM

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; name one in MTRL_CHROMIUM"),
]


def test_the_samples_of_the_panel_run(visit: Any, shoot: Any) -> None:
    page = visit()
    page.get_by_role("button", name="Use via API").click()
    samples = page.locator(".api-docs pre", has_text="from gradio_client")
    expect(samples.first).to_be_visible()
    shoot(page, "api-panel")
    codes = samples.all_text_contents()
    assert {name for name in ("retrieve", "translate", "encode") for code in codes if f"/{name}" in code} == {
        "retrieve",
        "translate",
        "encode",
    }
    for code in codes:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, (code, done.stderr[-800:])
