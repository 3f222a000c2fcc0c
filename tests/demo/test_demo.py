"""The demo: what is retrieved, what is said about it, and the endpoints that programs call."""

from __future__ import annotations

import base64
import csv
import dataclasses
import io
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from mtrl import MTRL
from mtrl.demo import launch
from mtrl.demo.html import cards
from mtrl.demo.html import charts as figures
from mtrl.demo.html.about import DOES_IT_HELP, about_html
from mtrl.demo.service.gallery_folder import GalleryImage, read_gallery
from mtrl.demo.service.images import fit
from mtrl.demo.service.service import DemoService, same_room
from mtrl.models.config import Modality, ModelConfig
from mtrl.models.load import DEFAULT, SHIPPED
from mtrl.models.spectrum import detect_modality
from mtrl.retrieval.metrics.labels import Labels
from mtrl.translate import load_translator
from tests.helpers.paths import ROOT

PEOPLE = 6


def draw(person: int, camera: int) -> Image.Image:
    rng = np.random.default_rng(person)
    top, legs = ([int(v) for v in rng.integers(20, 230, 3)] for _ in range(2))
    image = Image.new("RGB", (32, 64), (90 + 8 * camera, 120, 100))
    pen = ImageDraw.Draw(image)
    pen.rectangle((8, 10, 24, 36), fill=tuple(top))
    pen.rectangle((10, 36, 22, 60), fill=tuple(legs))
    return image.convert("L").convert("RGB") if camera in (3, 6) else image


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gallery")
    entries: list[dict[str, Any]] = []
    for person in range(PEOPLE):
        for camera in range(1, 7):
            name = f"{person}_{camera}.png"
            draw(person, camera).save(folder / name)
            truth = None
            if camera == 1:
                truth = f"truth_{person}.png"
                draw(person, 1).convert("L").save(folder / truth)
            modality = "infrared" if camera in (3, 6) else "visible"
            entries.append(
                {"file": name, "identity": person, "camera": camera, "modality": modality, "truth": truth}
            )
    (folder / "manifest.json").write_text(json.dumps(entries))
    return folder


@pytest.fixture(scope="session")
def service(gallery: Path) -> DemoService:
    torch.manual_seed(0)
    model = MTRL(
        ModelConfig(backbone="resnet10t", image_size=(64, 32), backbone_args={"channels": [8, 16, 16, 24]})
    )
    translators = {name: load_translator(name) for name in ("luminance", "spectral")}
    return DemoService(model.eval(), gallery, translators)


def test_retrieval_is_the_sorted_cosine_of_the_other_modality(service: DemoService, gallery: Path) -> None:
    result = service.retrieve(gallery / "2_1.png", "auto", 5)
    query = service.model.encode([gallery / "2_1.png"], "visible")[0]
    scores = {
        p.name: float(query @ service.model.encode([p.path], "infrared")[0])
        for p in service.images
        if p.modality is Modality.INFRARED
    }
    expected = sorted(scores, key=lambda name: -scores[name])[:5]
    assert [hit.image.name for hit in result.hits] == expected
    assert [hit.rank for hit in result.hits] == [1, 2, 3, 4, 5]
    for hit in result.hits:
        assert hit.score == pytest.approx(scores[hit.image.name], abs=1e-5)
        assert hit.correct is (hit.image.identity == 2)
    assert len(result.scores) == 2 * PEOPLE
    assert result.transition.size == result.query.size


def test_known_queries_have_their_truth_and_skip_their_room(service: DemoService, gallery: Path) -> None:
    result = service.retrieve(gallery / "1_3.png", "auto", 50)
    assert result.detected is result.modality is Modality.INFRARED
    assert {hit.image.camera for hit in result.hits} == {1, 4, 5}
    assert result.skipped == PEOPLE and result.relevant == 3
    ranks = [hit.rank for hit in result.hits if hit.correct]
    assert result.first_right == ranks[0]
    assert result.precision == pytest.approx(np.mean([(i + 1) / rank for i, rank in enumerate(ranks)]))
    assert service.retrieve(gallery / "1_6.png").skipped == 0


def test_an_upload_has_no_truth(service: DemoService) -> None:
    photograph = Image.effect_noise((300, 200), 80).convert("RGB")
    photograph.putpixel((0, 0), (255, 0, 0))
    result = service.retrieve(photograph, "visible to infrared", 3)
    assert result.known is None and result.first_right is None and result.precision is None
    assert all(hit.correct is None for hit in result.hits)
    assert any("no colour" in hint for hint in result.hints)
    assert any("300 × 200" in hint for hint in result.hints)


def test_the_threshold_is_passed_by_one_percent_of_wrong_pairs(service: DemoService) -> None:
    threshold = service.threshold
    assert threshold is not None
    wrong, right = [], []
    for i, row in enumerate(service.rows[Modality.VISIBLE]):
        for j, column in enumerate(service.rows[Modality.INFRARED]):
            score = float(service.features[Modality.VISIBLE][i] @ service.features[Modality.INFRARED][j])
            same = service.images[row].identity == service.images[column].identity
            (right if same else wrong).append(score)
    assert np.mean(np.array(wrong) > threshold.value) == pytest.approx(0.01, abs=1 / len(wrong))
    assert np.mean(np.array(right) > threshold.value) == pytest.approx(threshold.true, abs=1e-6)


def test_translate_keeps_size_and_knows_the_true_view(service: DemoService, gallery: Path) -> None:
    result = service.translate(gallery / "0_1.png", "luminance")
    assert result.transition.size == (32, 64) and result.truth is not None
    grey = np.asarray(draw(0, 1).convert("L"), dtype=int)
    assert np.abs(np.asarray(result.transition, dtype=int)[..., 0] - grey).max() <= 1
    assert service.translate(gallery / "0_2.png", "spectral").truth is None
    with pytest.raises(ValueError, match="translator"):
        service.translate(gallery / "0_1.png", "magic")


@pytest.mark.parametrize("mode", ["RGBA", "P", "CMYK", "L", "1", "I;16"])
def test_any_mode_gets_an_answer(service: DemoService, mode: str, tmp_path: Path) -> None:
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    if mode == "I;16":
        Image.fromarray(np.arange(64 * 32, dtype=np.uint16).reshape(64, 32)).save(path)
    else:
        draw(3, 1).convert(mode).save(path)
    assert len(service.retrieve(path, k=4).hits) == 4
    assert len(service.encode(path)) == service.model.dim


def test_bad_requests_are_refused_in_words(service: DemoService, gallery: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with pytest.raises((ValueError, OSError), match="the picture"):
        service.retrieve(broken)
    with pytest.raises(ValueError, match="direction"):
        service.retrieve(gallery / "0_1.png", "sideways")
    with pytest.raises(ValueError, match="k must"):
        service.retrieve(gallery / "0_1.png", "auto", 0)
    with pytest.raises(ValueError, match="no picture"):
        service.image("../secret")


def test_modality_is_read_from_colour() -> None:
    assert detect_modality(draw(1, 1)) is Modality.VISIBLE
    assert detect_modality(draw(1, 3)) is Modality.INFRARED
    stamped = draw(1, 3)
    stamped.paste((255, 200, 0), (0, 0, 10, 2))
    assert detect_modality(stamped) is Modality.INFRARED


def test_large_images_are_shown_small_and_in_proportion() -> None:
    assert fit(Image.new("RGB", (4000, 2000))).size == (512, 256)
    assert fit(Image.new("RGB", (3, 5))).size == (16, 16)


def test_names_from_outside_are_escaped(service: DemoService, tmp_path: Path) -> None:
    for modality in ("visible", "infrared"):
        (tmp_path / modality).mkdir()
        draw(0, 1).save(tmp_path / modality / "<b onclick=x>.png")
    small = DemoService(service.model, tmp_path, service.translators)
    html = cards.answer(small.retrieve(tmp_path / "visible" / "<b onclick=x>.png"), small.pairs)
    assert "<b onclick" not in html and "&lt;b onclick" in html
    assert "<script>" not in cards.error("<script>")


def test_galleries_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="synth --gallery"):
        read_gallery(tmp_path / "missing")
    with pytest.raises(ValueError, match="visible"):
        read_gallery(tmp_path)
    manifest = tmp_path / "manifest.json"
    for content, message in (
        ("{", "JSON"),
        ("{}", "list"),
        ('[{"file": "a.png"}]', "modality"),
        ('[{"file": "../../etc/passwd", "modality": "visible"}]', "outside"),
        ('[{"file": "a.png", "modality": "visible"}]', "no such file"),
        ('[{"file": "a.png", "modality": "infrared", "spectrum": "far"}]', '"nir", "thermal", null'),
        ('[{"file": "a.png", "modality": "infrared", "spectrum": ["nir"]}]', '"nir", "thermal", null'),
        ('[{"file": "a.png", "modality": "visible", "spectrum": "nir"}]', "must be null: it is visible"),
    ):
        manifest.write_text(content)
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            read_gallery(tmp_path)


def test_the_page_lists_the_shipped_models_beside_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("accurate", "fast"):
        (tmp_path / name).mkdir()
        monkeypatch.setitem(SHIPPED, name, tmp_path / name)
    both = {name: tmp_path / name for name in ("accurate", "fast")}
    assert launch.other_shipped("runs/x") == both
    for name in both:
        assert launch.other_shipped(name) == {n: folder for n, folder in both.items() if n != name}
        assert launch.card_folder(name) == tmp_path / name
    assert launch.other_shipped(None) == launch.other_shipped(DEFAULT)
    assert launch.card_folder(None) == tmp_path / DEFAULT and launch.card_folder("user/repo") is None
    (tmp_path / "fast").rmdir()
    assert launch.other_shipped("accurate") == {}


def test_html_has_alt_texts_and_reaches_nobody(service: DemoService, gallery: Path) -> None:
    html = cards.answer(service.retrieve(gallery / "0_1.png"), service.pairs) + about_html(service)
    assert html.count("<img ") == html.count(' alt="') > 10
    assert "http://" not in html and "https://" not in html
    assert figures.histogram(np.array([0.5], dtype=np.float32), 1, None).startswith("<svg")


def test_results_can_be_taken_away_as_a_table(service: DemoService, gallery: Path) -> None:
    result = service.retrieve(gallery / "0_1.png", k=3)
    kind, _, content = cards.table(result).partition("base64,")
    rows = list(csv.DictReader(io.StringIO(base64.b64decode(content).decode())))
    assert kind == "data:text/csv;" and [row["rank"] for row in rows] == ["1", "2", "3"]
    assert [row["name"] for row in rows] == [hit.image.name for hit in result.hits]
    assert [row["correct"] for row in rows] == [str(hit.correct) for hit in result.hits]
    formula = dataclasses.replace(result.hits[0].image, name="=1+1", identity="@x")
    hits = [dataclasses.replace(result.hits[0], image=formula)]
    content = cards.table(dataclasses.replace(result, hits=hits)).partition("base64,")[2]
    assert f"1,{hits[0].score:.6f},'=1+1,'@x," in base64.b64decode(content).decode()


@pytest.mark.slow
def test_app_refuses_a_missing_gallery_without_traceback(service: DemoService, tmp_path: Path) -> None:
    service.model.save_pretrained(tmp_path / "model")
    command = [
        sys.executable,
        "app.py",
        "--checkpoint",
        str(tmp_path / "model"),
        "--gallery",
        str(tmp_path / "no"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "no gallery folder" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def client(service: DemoService) -> Iterator[Any]:
    pytest.importorskip("gradio")
    from gradio_client import Client

    from mtrl.demo.page import build_page, launch

    page = build_page(service)
    _, url, _ = launch(page, server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    yield Client(url, verbose=False)
    page.close()


@pytest.mark.slow
def test_endpoints_answer_a_client(client: Any, gallery: Path, service: DemoService, tmp_path: Path) -> None:
    from gradio_client import handle_file
    from gradio_client.exceptions import AppError

    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(named) == {"/retrieve", "/translate", "/encode"}

    image = handle_file(str(gallery / "4_1.png"))
    images, data = client.predict(image=image, direction="auto", k=3, api_name="/retrieve")
    expected = service.retrieve(gallery / "4_1.png", "auto", 3)
    assert [match["name"] for match in data["matches"]] == [hit.image.name for hit in expected.hits]
    assert len(images) == 3 and data["modality"] == "visible"
    assert [match["picture"] for match in data["matches"]] == [shown["image"] for shown in images]
    with urllib.request.urlopen(client.src + images[0]["image"]) as response:
        assert response.headers["Content-Type"] == "image/jpeg" and response.read().startswith(b"\xff\xd8")

    path = client.predict(image=image, translator="luminance", api_name="/translate")
    with Image.open(path) as loaded:
        assert loaded.size == (32, 64)

    vector = client.predict(image=image, modality="visible", api_name="/encode")
    assert vector == pytest.approx(service.encode(gallery / "4_1.png", "visible"), abs=1e-5)

    deep = tmp_path / "deep.png"
    Image.fromarray(np.arange(64 * 32, dtype=np.uint16).reshape(64, 32)).save(deep)
    vector = client.predict(image=handle_file(str(deep)), modality="infrared", api_name="/encode")
    assert vector == pytest.approx(service.encode(deep, "infrared"), abs=1e-5)

    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(AppError, match="not an image"):
        client.predict(image=handle_file(str(broken)), direction="auto", k=3, api_name="/retrieve")
    with pytest.raises(AppError, match="no picture was given"):
        client.predict(image=None, modality="auto", api_name="/encode")


@pytest.mark.parametrize(("camera", "others"), [(2, {2, 3}), (3, {2, 3}), (1, {1}), (6, {6}), (9, {9})])
def test_the_page_and_the_ranking_leave_out_the_same_cameras(camera: int, others: set[int]) -> None:
    cameras = list(range(1, 11))
    query = GalleryImage("q", Path("q"), Modality.INFRARED, 1, camera)
    page = {c for c in cameras if same_room(query, GalleryImage("g", Path("g"), Modality.VISIBLE, 1, c))}
    labels = Labels.make((1, 10), [1], [1] * 10, [camera], cameras, "sysu")
    dropped = labels.dropped(slice(0, 1))
    assert dropped is not None
    assert page == {c for c, out in zip(cameras, dropped[0], strict=True) if out} == others


def test_the_about_tab_says_what_was_measured() -> None:
    """The figures of the files that `python -m train ablate` wrote."""
    cells = iter(re.findall(r"<td[^>]*>([0-9.]+) / ([0-9.]+)</td>", re.sub("</?b>", "", DOES_IT_HELP)))
    for label in ("A", "A' + direct, weight 1.5", "full", "full + direct edge"):
        for name, images in (
            ("path-nir", "spectral"),
            ("true-nir", "drawn"),
            ("true-thermal", "spectral"),
            ("true-thermal", "drawn"),
        ):
            rows = json.loads((ROOT / "docs" / f"{name}.json").read_text())["rows"]
            seen = "luminance" if label == "A" and images == "spectral" else images
            found = [row for row in rows if row["label"] == label and row["translator"] == seen]
            means = [tuple(f"{row[way]['map']['mean']:.1f}" for way in ("ir2vis", "vis2ir")) for row in found]
            assert label == "A" or means
            assert [next(cells) for _ in means] == means
    assert next(cells, None) is None
