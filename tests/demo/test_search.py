"""What a search takes besides one whole picture: parts, several pictures, a second model, an address."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

pytest.importorskip("gradio")

import gradio as gr

from mtrl.demo.html import cards
from mtrl.demo.html.comparison import beside_the_person, comparison_html
from mtrl.demo.html.model_view import list_html
from mtrl.demo.server.uploads import UPLOADS
from mtrl.demo.service.galleries import Galleries
from mtrl.demo.service.images import WORKING_PIXELS, fit, part_of
from mtrl.demo.service.model_files import find_runs
from mtrl.demo.service.models import Models
from mtrl.demo.service.service import AUTO, DemoService
from mtrl.demo.tabs import retrieve
from mtrl.demo.tabs.address import Settings, parse
from mtrl.demo.tabs.parts import publish
from mtrl.demo.tabs.search import MOST_TOGETHER, Search, answer
from mtrl.models.config import Modality
from mtrl.models.evidence import resemblance
from tests.helpers.page import PEOPLE, draw, make_model, write_gallery


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


def search_of(models: Models, *more: Path) -> Search:
    """The tab's events on a page with the tabs "retrieve" and "model", and with further galleries."""
    service = models.home.service
    with gr.Blocks():
        image = gr.Image()
        with gr.Tabs() as tabs:
            gr.Tab("Retrieve", id="retrieve"), gr.Tab("Model", id="model")
    return Search(models, Galleries(service, more, public=True), image, service.images[0], tabs)


def event(**data: Any) -> Any:
    return SimpleNamespace(**data)


VISIT: Any = SimpleNamespace(session_hash=None)


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


def test_a_part_is_cut_from_the_picture_that_was_sent(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page shows a small copy of it."""
    monkeypatch.setattr(UPLOADS, "share", 1 << 28)  # a page that another test started may have set less
    monkeypatch.setattr(UPLOADS, "most", 1 << 30)
    search, buffer = search_of(models), io.BytesIO()
    large = Image.fromarray(np.random.default_rng(1).integers(0, 255, (3000, 2000, 3), dtype=np.uint8))
    large.save(buffer, "PNG", compress_level=0)
    sent = UPLOADS.keep(search.image.GRADIO_CACHE, "sent.png", buffer.getvalue())
    shown = publish(fit(large, WORKING_PIXELS), search.image, of=str(sent))
    box = [0.25, 0.25, 0.5, 0.5]

    def part() -> Any:
        path, html = search.cut(VISIT, event(box=box), shown, [], *values())
        assert 'id="hits"' in html
        return Image.open(path)

    assert np.array_equal(np.asarray(part()), np.asarray(fit(part_of(large, box), WORKING_PIXELS)))
    UPLOADS.add("a visit", str(sent))
    UPLOADS.close("a visit")
    assert part().size == fit(part_of(Image.open(shown), box), WORKING_PIXELS).size  # what is left of it
    assert not sent.exists()


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


def test_no_kept_picture_is_dropped_for_another(models: Models) -> None:
    search, kept = search_of(models), list[str]()
    for n in range(MOST_TOGETHER - 1):
        kept, html = search.keep(str(n), kept)
        assert ("data-keep" in html) is (n < MOST_TOGETHER - 2) and "data-forget" in html
    assert search.keep("one more", kept)[0] == kept == [str(n) for n in range(MOST_TOGETHER - 1)]


def test_a_picture_of_the_query_is_not_said_to_be_left_out_for_its_room(
    service: DemoService, tmp_path: Path
) -> None:
    path = write_gallery(tmp_path) / "manifest.json"
    path.write_text(json.dumps([{**entry, "camera": None} for entry in json.loads(path.read_text())]))
    without = DemoService(service.model, tmp_path, service.translators)
    for one, skipped in ((service, PEOPLE - 1), (without, 0)):
        first, other = (one.open(one.image(name)) for name in ("1_1.png", "1_6.png"))
        result = one.retrieve(first, k=50, others=[other])
        assert result.skipped == skipped
        assert ("from its own room" in cards.answer(result)) is bool(skipped)
        assert "1_6.png" not in [hit.image.name for hit in result.hits]


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
    with pytest.raises(ValueError, match=r"no model in the sub-folders of .*second"):
        find_runs([runs, runs / "second"])  # a model itself, which is no folder of models


def test_a_second_model_answers_beside_the_first(models: Models, runs: Path, gallery: Path) -> None:
    name = f"{runs.name}/second"
    html = search_of(models).respond(str(gallery / "2_1.png"), [], *values(second=name))
    first, second = html.split('id="second"')
    assert first.count('<li class="m-hit') == second.count('<li class="m-hit') == 10
    expected = models.service(name).retrieve(gallery / "2_1.png", k=12)
    shown = [part.split('"')[0] for part in second.split('data-compare="')[1:]]
    assert shown == [hit.image.name for hit in expected.hits]


def test_a_second_model_that_fails_leaves_the_first_answer(models: Models, gallery: Path) -> None:
    alone, failed = (
        search_of(models).respond(str(gallery / "2_1.png"), [], *values(second=second))
        for second in (None, "no such model")
    )
    assert (
        "m-error" not in alone and failed.count('<li class="m-hit') == alone.count('<li class="m-hit') == 10
    )
    assert failed.index("The second model cannot answer") > failed.index('<li class="m-hit')
    assert "second=no+such+model" in failed


def test_the_pages_own_model_can_be_the_second(models: Models, gallery: Path) -> None:
    search, own = search_of(models), models.home.name
    listed = next(iter(models.listed))
    html = search.respond(str(gallery / "2_1.png"), [], *values(source=listed, second=own))
    assert f"The same search by {own}" in html.replace("&#x27;", "'")
    assert 'id="second"' not in search.respond(str(gallery / "2_1.png"), [], *values(second=own))
    settings = Settings(gallery=search.galleries.names[0], source=listed, second=own)
    link = settings.address(None, search.galleries.names[0])
    assert parse(link, models, search.galleries)[0] == settings


# galleries


def test_examples_are_of_the_pages_gallery_and_results_of_the_searched_one(
    models: Models, tmp_path: Path
) -> None:
    other = write_gallery(tmp_path)
    for path in other.glob("*.png"):  # the same names, other pictures
        Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)
    search, home = search_of(models, other), models.home.service
    name, asked = "2_1.png", values(gallery=tmp_path.name)
    for take, folder in ((search.picked, home.folder), (search.continued, other)):
        path, direction, html = take(VISIT, event(image=name), [], *asked)
        assert direction == AUTO and 'id="hits"' in html
        assert np.array_equal(np.asarray(Image.open(path)), np.asarray(Image.open(folder / name))), folder


def test_examples_stand_apart_by_spectrum(service: DemoService, tmp_path: Path) -> None:
    assert [title for title, _, _ in retrieve._examples(service)] == ["Visible examples", "Infrared examples"]
    path = write_gallery(tmp_path) / "manifest.json"
    kinds = {3: "nir", 6: "thermal"}
    entries = [{**entry, "spectrum": kinds.get(entry["camera"])} for entry in json.loads(path.read_text())]
    path.write_text(json.dumps(entries))
    rows = retrieve._examples(DemoService(service.model, tmp_path, service.translators))
    assert [title for title, _, _ in rows] == [
        "Visible examples",
        "Near-infrared examples",
        "Thermal examples",
    ]
    for (_, modality, images), cameras in zip(rows, ((1, 2, 4, 5), (3,), (6,)), strict=True):
        assert images and {p.camera for p in images} <= set(cameras)
        assert {p.modality for p in images} == {modality}
    assert cards.name_of(rows[2][2][0]).endswith("camera 6, thermal")


# addresses


def test_an_address_restores_what_was_searched(models: Models) -> None:
    galleries = Galleries(models.home.service, public=True)
    first, listed = galleries.names[0], next(iter(models.listed))
    settings = Settings("infrared to visible", 30, "1 in 10", first, listed, listed)
    address = settings.address("2_1.png", first)
    assert parse("?" + address + "&tab=explore", models, galleries) == (settings, "2_1.png", "explore")
    assert set(parse_qs(address)) == {"example", "direction", "k", "threshold", "model", "second"}
    assert Settings(gallery=first).address(None, first) == ""


def test_a_link_restores_its_search_and_tab_and_says_so_to_the_pages_script(models: Models) -> None:
    search = search_of(models)
    opened, path, others, _, html, *settings = search.restored(
        VISIT, event(address='?example=2_1.png&k=3&tab="', shown="")
    )
    assert opened.selected == "retrieve" and others == [] and html.count('<li class="m-hit') == 3
    assert html.startswith('<div data-asked="?example=2_1.png&amp;k=3&amp;tab=&quot;">')
    assert np.array_equal(np.asarray(Image.open(path)), np.asarray(draw(2, 1))) and settings[1] == 3
    assert search.restored(VISIT, event(address="?tab=model", shown="k=3"))[0].selected == "model"


@pytest.mark.parametrize("said", ["", "example=2_1.png&k=3", "model=unloaded+since"])
def test_a_tab_that_is_left_by_back_leaves_the_picture(models: Models, said: str) -> None:
    """Also where the address names what is not open any more."""
    opened, *rest = search_of(models).restored(VISIT, event(address=f"?{said}&tab=model", shown=said))
    assert opened.selected == "model" and rest == [gr.skip()] * len(rest)


@pytest.mark.parametrize(
    "address",
    ["?k=0", "?k=51", "?k=-1", "?k=\u00b2", "?k=9999999999", "?direction=sideways", "?threshold=1", "?gallery=/etc",
     "?gallery=..", "?model=/etc", "?model=user/repo", "?second=../x", "?" + "a" * 100_000, "?&&=&%ff", "", "?tab"]
)  # fmt: skip
def test_a_link_can_ask_for_nothing_that_is_not_open_already(models: Models, address: str) -> None:
    galleries = Galleries(models.home.service, public=False)
    settings, example, _ = parse(address, models, galleries)
    assert settings == Settings(gallery=galleries.names[0]) and example is None
