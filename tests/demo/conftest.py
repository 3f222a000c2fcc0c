"""The gallery and the service that several tests of the page share."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtrl.demo.service.service import DemoService
from mtrl.translate import load_translator
from tests.helpers.page import make_model, write_gallery


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gallery(tmp_path_factory.mktemp("gallery"))


@pytest.fixture(scope="module")
def service(gallery: Path) -> DemoService:
    return DemoService(
        make_model(), gallery, {name: load_translator(name) for name in ("luminance", "spectral")}
    )
