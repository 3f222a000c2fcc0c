"""What docs, model cards and the page say about use and storage, and whether it is so."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import safe_open

from mtrl import MTRL, Gallery
from mtrl.models.card import model_card
from mtrl.models.config import ModelConfig
from tests.helpers.paths import ROOT

CONFIG = ModelConfig("resnet10t", (64, 32), backbone_args={"channels": [8, 16, 16, 24]})
# What every place has to name: uses that are ruled out, what an embedding is, what is stored and when it goes.
SAID = (
    r"\bnot\b.{0,12}\bfor\b.{0,40}(watching|tracking|identifying)", "without their knowledge",
    "decisions about a person", "access", "work", "credit", "insurance", "border", "policing", "origin", "health",
    "belief", "terms", "proof", "biometric data", "embeddings", "deleted", "half an hour",
)  # fmt: skip

_written: list[str] = []
_watching = False


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and event == "open" and isinstance(arguments[0], (str, bytes)):
        mode, flags = arguments[1], arguments[2] or 0
        if (isinstance(mode, str) and set(mode) & set("wax+")) or flags & (os.O_WRONLY | os.O_RDWR):
            _written.append(os.fsdecode(arguments[0]))


@pytest.fixture(scope="module")
def model() -> MTRL:
    torch.manual_seed(0)
    return MTRL(CONFIG).eval()


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path in paths:
        Image.effect_noise((32, 64), 80).convert("RGB").save(path)
    return paths


def plain(text: str) -> str:
    """Words without markup, in one line."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>|[*`]", " ", text))


def test_docs_cards_and_page_say_what_is_ruled_out_and_what_is_stored() -> None:
    about = pytest.importorskip("mtrl.demo.html.about")
    places = {
        "docs": (ROOT / "docs" / "responsible-use.md").read_text(encoding="utf-8"),
        "card": model_card(CONFIG),
        "page": about.USE_LIMITS + about.STORED,
    }
    for name, text in places.items():
        for words in SAID:
            assert re.search(words, plain(text), re.IGNORECASE), f"{name} does not say {words!r}"
    beside = plain(about.BESIDE_UPLOAD)
    for words in (
        "deleted when you close the page",
        "half an hour",
        "agree",
        "law",
        "never use the page to watch or identify",
    ):
        assert words in beside.lower()
    assert "?tab=about" in about.BESIDE_UPLOAD


def test_the_sentence_stands_beside_every_upload() -> None:
    for tab in ("retrieve", "transition"):
        text = (ROOT / "mtrl" / "demo" / "tabs" / f"{tab}.py").read_text(encoding="utf-8")
        assert text.count("image_input(") == 1 and text.count("html(BESIDE_UPLOAD, ") == 1
        assert 0 < text.index("html(BESIDE_UPLOAD, ") - text.index("image_input(") < 200


def test_images_are_gone_within_the_half_hour_that_is_promised() -> None:
    page = re.search(
        r"^KEEP = \((\d+), (\d+)\)", (ROOT / "mtrl/demo/page.py").read_text(encoding="utf-8"), re.M
    )
    assert page and int(page[1]) + int(page[2]) <= 1800


def test_a_checkpoint_holds_weights_and_settings_and_nothing_else(model: MTRL, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "model", card=model_card(CONFIG))
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    with safe_open(tmp_path / "model" / "model.safetensors", "pt") as weights:
        shapes = {name: list(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
    state = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    assert {name: shape for name, shape in shapes.items() if state.get(name) != shape} == {}
    settings = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    assert str(tmp_path) not in json.dumps(settings)
    assert "## Privacy" in (tmp_path / "model" / "README.md").read_text(encoding="utf-8")


def test_embedding_writes_nothing(model: MTRL, images: list[Path]) -> None:
    global _watching
    sys.addaudithook(_watch)  # for good, but it looks only while this test runs
    model.encode(images[:1], "visible")
    _written.clear()
    _watching = True
    try:
        model.encode(images, "visible")
        with (images[0].parent / "noticed").open("w"):  # so the list being empty otherwise means something
            pass
    finally:
        _watching = False
    assert _written == [str(images[0].parent / "noticed")]


def test_a_saved_gallery_outlives_its_images(model: MTRL, images: list[Path], tmp_path: Path) -> None:
    """The docs warn that deleting the images does not delete it."""
    Gallery.build(model, images, modality="visible").save(tmp_path / "people")
    pixels = [path.read_bytes() for path in images]
    query = model.encode(images[:1], "visible")
    for path in images:
        path.unlink()
    scores, indices = Gallery.load(tmp_path / "people").search(query, k=1)
    assert int(indices[0, 0]) == 0 and float(scores[0, 0]) > 0.999
    content = b"".join(path.read_bytes() for path in (tmp_path / "people").rglob("*") if path.is_file())
    assert not any(
        part[len(part) // 2 :][:200] in content for part in pixels
    )  # embeddings and names, no pixels
