"""Fixtures that files of several folders use."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if (
    "PYTEST_XDIST_WORKER" in os.environ
):  # tests in several processes: their threads would wait for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from mtrl.console import progress
from mtrl.data.imageset import ReIDData
from tests.helpers.hub_stub import Hub, running_hub
from tests.helpers.runs import colour_people


@pytest.fixture(autouse=True)
def curves(request: pytest.FixtureRequest) -> Iterator[None]:
    """A training draws no curves, which would take longer than all its steps, unless the test is marked so."""
    with pytest.MonkeyPatch.context() as patch:
        if request.node.get_closest_marker("curves") is None:
            for name in [
                name for name in sys.modules if name.startswith("train.") and name != "train.run.log"
            ]:
                if hasattr(sys.modules[name], "draw_curves"):
                    patch.setattr(sys.modules[name], "draw_curves", lambda folder: folder / "curves.png")
        yield


@pytest.fixture(autouse=True)
def quiet_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """No plain line of progress: whether one is due depends on how long the tests before have taken."""
    monkeypatch.setattr(progress, "LINE_SECONDS", float("inf"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A stand-in of the Hugging Face Hub on this machine, empty."""
    with running_hub(monkeypatch, str(tmp_path / "cache")) as server:
        yield server


@pytest.fixture(scope="module")
def data() -> ReIDData:
    """Ten people to train with and four others to test with, 32 x 16 pixels."""
    return ReIDData("synthetic", "sysu", colour_people(10, 0), colour_people(4, 1, first=100))
