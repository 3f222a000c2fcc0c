"""A service over a small index, asked without a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from mtrl import MTRL, Gallery
from mtrl.models.config import ModelConfig
from mtrl.retrieval.stores.factory import create_store
from tests.helpers.pictures import picture

if TYPE_CHECKING:
    from tests.helpers.service import Service


@pytest.fixture(scope="session")
def model() -> MTRL:
    torch.manual_seed(0)
    return MTRL(ModelConfig("test_resnet", (64, 32))).eval()


@pytest.fixture
def index(model: MTRL, tmp_path: Path) -> Iterator[Path]:
    images = [picture(number) for number in range(6)]
    gallery = Gallery.build(
        model,
        images,
        "infrared",
        identities=list("aabbcc"),
        cameras=[1, 2] * 3,
        names=[f"{n}.png" for n in range(6)],
    )
    create_store("exact", str(tmp_path / "index"), gallery).close()
    yield tmp_path / "index"


@pytest.fixture
def service(model: MTRL, index: Path) -> Iterator[Service]:
    for package in ("fastapi", "prometheus_client"):
        pytest.importorskip(package)
    from tests.helpers.service import Service

    with Service(model, index) as started:
        yield started
