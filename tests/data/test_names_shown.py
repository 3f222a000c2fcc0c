"""Names of people stay names wherever they are shown: the page over folders, ranking strips."""

from __future__ import annotations

import base64
import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch

from eval import figures
from eval.evaluate import evaluate_settings
from eval.protocols import Setting
from mtrl.data import load_data
from mtrl.demo.html import cards
from mtrl.demo.html.about import about_html
from mtrl.demo.html.explore_view import map_html
from mtrl.demo.service.benchmark import benchmark
from mtrl.demo.service.embedding_map import make_map
from mtrl.demo.service.gallery_folder import GalleryImage, read_gallery
from mtrl.demo.service.service import DemoService
from mtrl.models.config import Modality, ModelConfig
from mtrl.models.reid import MTRL
from mtrl.translate import load_translator
from tests.helpers import trees

COMPOSED, APART = (unicodedata.normalize(form, "José") for form in ("NFC", "NFD"))


@pytest.fixture(scope="module")
def model() -> MTRL:
    torch.manual_seed(0)
    arguments = {"channels": [8, 16, 16, 24]}
    return MTRL(ModelConfig(backbone="resnet10t", image_size=(32, 16), backbone_args=arguments)).eval()


@pytest.fixture(scope="module")
def service(model: MTRL, tmp_path_factory: pytest.TempPathFactory) -> DemoService:
    folder = tmp_path_factory.mktemp("people")
    for kind, last in (("visible", APART), ("infrared", COMPOSED)):
        for name in ("0117", "0203", last):
            trees.draw(folder, f"{kind}/{name}/a.png")
    return DemoService(model, folder, {"luminance": load_translator("luminance")})


def test_the_page_names_people_as_their_folders(service: DemoService) -> None:
    assert [image.identity for image in service.images[:2]] == ["0117", "0203"]
    result = service.retrieve(service.folder / "visible" / "0203" / "a.png", "visible to infrared", 3)
    assert {hit.image.identity: hit.correct for hit in result.hits} == {
        "0117": False, "0203": True, COMPOSED: False
    }  # fmt: skip
    html = cards.answer(result)
    assert "person 0203" in html and "person 0117" in html
    listed = base64.b64decode(cards.table(result).split(",", 1)[1]).decode()
    assert ",0117," in listed and ",0203," in listed
    assert "person 0117, Visible" in about_html(service) and "of 3 people" in about_html(service)


def test_two_ways_to_write_an_accent_are_one_person(service: DemoService) -> None:
    result = service.retrieve(service.folder / "visible" / APART / "a.png", "visible to infrared", 3)
    assert result.relevant == 1 and result.known is not None and result.known.identity == APART
    assert len(service.pairs.same) == 3 and len(service.pairs.different) == 6
    data = make_map(service, "luminance")
    html = map_html(data)
    assert html.count("<option") == 4 and '<option value="0117">person 0117</option>' in html
    assert html.count(f'data-person="{COMPOSED}"') == 3
    with pytest.raises(ValueError, match="camera of every picture"):
        benchmark(service, "it")


def test_a_manifest_may_name_people(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        trees.draw(tmp_path, name)

    def write(identity: object, camera: object = 1) -> list[GalleryImage]:
        entries = [
            {"file": "a.png", "modality": "visible", "identity": identity, "camera": camera},
            {"file": "b.png", "modality": "infrared", "identity": "0117", "camera": 6},
        ]
        (tmp_path / "manifest.json").write_text(json.dumps(entries), encoding="utf-8-sig")
        return read_gallery(tmp_path)

    first, second = write("0117")
    assert first.identity == "0117" and first.person == second.person
    first, second = write(117)
    assert first.person == "117" != second.person and write(None)[0].person is None
    for identity, camera, message in (
        (True, 1, "identity of a.png must be a name, a whole number or null"),
        ("", 1, "identity of a.png must be"),
        (1.5, 1, "identity of a.png must be"),
        ([1], 1, "identity of a.png must be"),
        (1, "6", "camera of a.png must be a whole number or null"),
        (2**63, 1, "identity of a.png must fit into 64 bits"),
        (1, 2**63, "camera of a.png must fit into 64 bits"),
    ):
        with pytest.raises(ValueError, match=message):
            write(identity, camera)


def test_ranking_strips_name_people(model: MTRL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "own"
    for kind in ("visible", "infrared"):
        for name in ("0117", "a$b$", "x" * 70):
            trees.draw(root, f"query/{kind}/{name}/a.png")
            trees.draw(root, f"gallery/{kind}/{name}/b.png")
    images = load_data("folder", root, image_size=(32, 16), cache_dir=tmp_path / "c", parts=("test",)).test
    evaluation = evaluate_settings(model, images, [Setting("regdb", trials=1)])[0]
    figure = figures.draw_strips(evaluation, images)
    figures.save_figure(figure, tmp_path / "strips.png")  # a name is no formula
    titles = {axes.get_title() for axes in figure.axes if axes.get_title()}
    assert {"id 0117", "id a$b$", f"id {'x' * 57}..."} <= titles
    assert all("cam" not in title for title in titles)  # the data name none
    numbered = np.array([3, 6])
    assert [images.camera_name(number) for number in numbered] == ["3", "6"]
    assert {int(m) for m in images.modalities} == {int(m) for m in Modality}
