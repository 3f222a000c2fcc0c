"""What a search takes besides one whole picture: parts, several pictures, a second model, an address."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

pytest.importorskip("gradio")

from mtrl.demo.html.comparison import beside_the_person, comparison_html
from mtrl.demo.html.model_view import list_html
from mtrl.demo.service.galleries import Galleries
from mtrl.demo.service.model_files import find_runs
from mtrl.demo.service.models import Models
from mtrl.demo.service.service import DemoService
from mtrl.demo.tabs.address import Settings, parse
from mtrl.demo.tabs.search import Search, answer, part_of
from mtrl.models.config import Modality
from mtrl.models.evidence import resemblance
from tests.helpers.page import make_model


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two runs, of which one has a card, and of something else."""
    folder = tmp_path_factory.mktemp("runs")
    make_model(1).save_pretrained(
        folder / "first", card="## Training\n\n- Data: <drawn>\n- translator: spectral\n"
    )
    make_model(2).save_pretrained(folder / "second")
    (folder / "notes").mkdir()
    return folder


@pytest.fixture(scope="module")
def models(service: DemoService, runs: Path) -> Models:
    return Models(service, public=True, listed=find_runs([runs]))


def search_of(models: Models) -> Search:
    service = models.home.service
    return Search(models, Galleries(service, public=True), None, service.images[0], None)  # type: ignore[arg-type]


def values(**changed: Any) -> tuple[Any, ...]:
    settings = Settings(**changed)
    return tuple(
        getattr(settings, name) for name in ("direction", "k", "rate", "gallery", "source", "second")
    )


# parts


def test_a_part_is_cut_out_where_the_box_lies() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (200, 100, 3), dtype=np.uint8)
    part = part_of(Image.fromarray(pixels), [0.2, 0.1, 0.7, 0.9])
    assert np.array_equal(np.asarray(part), pixels[20:180, 20:70])
    assert part_of(Image.fromarray(pixels), [-3, 0, 7, 1]).size == (100, 200)


@pytest.mark.parametrize(
    "box", [None, [0, 0, 1], [0, 0, 0.1, 1], [0.9, 0, 0.1, 1], ["a", 0, 1, 1], [None, 0, 1, 1], {"left": 0},
            [float("nan"), 0, 1, 1], [0, 0, 1, 10**400]]
)  # fmt: skip
def test_a_part_that_is_none_is_refused_in_words(box: Any) -> None:
    with pytest.raises(ValueError, match="part"):
        part_of(Image.new("RGB", (100, 200)), box)


# several pictures


def test_several_pictures_search_with_the_mean_of_their_embeddings(
    service: DemoService, gallery: Path
) -> None:
    paths = [gallery / name for name in ("2_1.png", "2_4.png", "2_5.png")]
    result = service.retrieve(paths[0], k=50, others=paths[1:])
    mean = F.normalize(service.model.encode(paths, "visible").mean(dim=0), dim=0)
    expected = {
        service.images[i].name: float(f @ mean)
        for i, f in zip(service.rows[Modality.INFRARED], service.features[Modality.INFRARED], strict=True)
    }
    assert {hit.image.name: hit.score for hit in result.hits} == pytest.approx(expected, abs=1e-5)
    assert len(result.others) == 2 and "mean of 3 pictures" in answer(
        service, paths[0], Settings(), paths[1:]
    )
    compared = service.compare(paths[0], result.hits[0].image.name, others=paths[1:])
    assert compared.score == pytest.approx(result.hits[0].score, abs=1e-5)


def test_rooms_of_every_picture_of_the_query_are_left_out(service: DemoService) -> None:
    first, other = service.open(service.image("1_1.png")), service.open(service.image("1_2.png"))
    assert {hit.image.camera for hit in service.retrieve(first, k=50).hits} == {3, 6}
    assert {hit.image.camera for hit in service.retrieve(first, k=50, others=[other]).hits} == {6}


def test_a_kept_picture_that_is_gone_gets_a_message(service: DemoService, gallery: Path) -> None:
    html = answer(service, gallery / "2_1.png", Settings(), [str(gallery / "gone.png")])  # type: ignore[arg-type]
    assert "m-error" in html and "Traceback" not in html


# places


def test_places_are_cosines_of_the_feature_map(service: DemoService) -> None:
    first, second = (service.open(service.image(name)) for name in ("0_1.png", "0_3.png"))
    found = resemblance(service.model, first, second)
    with torch.inference_mode():
        images = service.model.preprocess([first, second])
        a, b = (service.model.backbone.body.forward_features(one[None])[0] for one in images)
    for i, j in ((0, 0), (a.shape[1] - 1, a.shape[2] - 1)):
        for m, n in ((0, 1), (b.shape[1] - 1, 0)):
            cosine = float(F.cosine_similarity(a[:, i, j], b[:, m, n], dim=0))
            assert float(found[i, j, m, n]) == pytest.approx(cosine, abs=1e-4)
    html = comparison_html(service.compare(first, "0_3.png"), True)
    packed = html.split('data-places="')[1].split('"')[0]
    stored = np.frombuffer(base64.b64decode(packed), dtype=np.uint8).astype(float) / 127.5 - 1
    assert stored == pytest.approx(found.numpy().ravel(), abs=0.005)
    assert f'data-grid="{" ".join(map(str, found.shape))}"' in html


def test_light_beside_the_person_is_pointed_out(service: DemoService) -> None:
    sides, middle = torch.zeros(20, 10), torch.zeros(20, 10)
    sides[:, 0], middle[:, 4:6] = 1, 1
    assert beside_the_person(sides) == 1 and beside_the_person(middle) == 0
    assert beside_the_person(torch.zeros(20, 10)) == 0
    result = service.compare(service.open(service.image("0_1.png")), "0_3.png")
    for light, said in ((sides, True), (middle, False)):
        object.__setattr__(result, "evidence", (middle, light))
        assert ("of the light in the result falls on its sides" in comparison_html(result, None)) is said


# models


def test_runs_are_listed_with_their_data_and_translator(models: Models, runs: Path) -> None:
    names = list(models.listed)
    assert names == [f"{runs.name}/first", f"{runs.name}/second"]
    html = list_html(models)
    assert html.count("<tr>") == 3 and "&lt;drawn&gt;" in html and "spectral" in html and "resnet10t" in html
    assert list_html(Models(models.home.service)) == ""
    assert models.get(names[0]).name == names[0]
    with pytest.raises(ValueError, match="Hugging Face Hub only"):
        models.get(str(runs / "second"))  # by its path it stays closed on a public page
    with pytest.raises(FileNotFoundError, match="no folder of models"):
        find_runs([runs / "none"])


def test_a_second_model_answers_beside_the_first(models: Models, runs: Path, gallery: Path) -> None:
    name = f"{runs.name}/second"
    html = search_of(models).respond(str(gallery / "2_1.png"), [], *values(second=name))
    first, second = html.split('id="second"')
    assert first.count('<li class="m-hit') == second.count('<li class="m-hit') == 10
    expected = models.service(name).retrieve(gallery / "2_1.png", k=12)
    shown = [part.split('"')[0] for part in second.split('data-compare="')[1:]]
    assert shown == [hit.image.name for hit in expected.hits]
    assert "m-error" in search_of(models).respond(
        str(gallery / "2_1.png"), [], *values(second="no such model")
    )


# addresses


def test_an_address_restores_what_was_searched(models: Models) -> None:
    galleries = Galleries(models.home.service, public=True)
    first, listed = galleries.names[0], next(iter(models.listed))
    settings = Settings("infrared to visible", 30, "1 in 10", first, listed, listed)
    address = settings.address("2_1.png", first)
    assert parse("?" + address + "&tab=explore", models, galleries) == (settings, "2_1.png", "explore")
    assert set(parse_qs(address)) == {"example", "direction", "k", "threshold", "model", "second"}
    assert Settings(gallery=first).address(None, first) == ""


@pytest.mark.parametrize(
    "address",
    ["?k=0", "?k=51", "?k=-1", "?k=\u00b2", "?k=9999999999", "?direction=sideways", "?threshold=1", "?gallery=/etc",
     "?gallery=..", "?model=/etc", "?model=user/repo", "?second=../x", "?" + "a" * 100_000, "?&&=&%ff", "", "?tab"]
)  # fmt: skip
def test_a_link_can_ask_for_nothing_that_is_not_open_already(models: Models, address: str) -> None:
    galleries = Galleries(models.home.service, public=False)
    settings, example, _ = parse(address, models, galleries)
    assert settings == Settings(gallery=galleries.names[0]) and example is None
