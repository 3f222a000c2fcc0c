"""Fixtures that files of several folders use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mtrl.data.imageset import ReIDData
from tests.helpers.hub_stub import Hub, running_hub
from tests.helpers.runs import colour_people


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A stand-in of the Hugging Face Hub on this machine, empty."""
    with running_hub(monkeypatch, str(tmp_path / "cache")) as server:
        yield server


@pytest.fixture(scope="module")
def data() -> ReIDData:
    """Ten people to train with and four others to test with, 32 x 16 pixels."""
    return ReIDData("synthetic", "sysu", colour_people(10, 0), colour_people(4, 1, first=100))
