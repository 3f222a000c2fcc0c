"""The page's galleries, thresholds, comparisons, thumbnails and what it does with uploads."""

from __future__ import annotations

import dataclasses
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mtrl import MTRL, Gallery
from mtrl.demo.html import cards, static_files
from mtrl.demo.html.comparison import comparison_html, overlay
from mtrl.demo.launch import is_public
from mtrl.demo.server.uploads import Uploads
from mtrl.demo.service import thumbnails
from mtrl.demo.service.galleries import Galleries
from mtrl.demo.service.service import DemoService
from mtrl.demo.tabs import retrieve
from mtrl.demo.tabs.parts import examples_of, spread
from mtrl.models.config import Modality, ModelConfig
from mtrl.retrieval.image_folders import SOURCES, remember_source
from mtrl.translate import load_translator


def person(number: int, infrared: bool) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 255, (64, 32, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((16, 32)).resize((32, 64))
    return image.convert("L").convert("RGB") if infrared else image


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> DemoService:
    folder = tmp_path_factory.mktemp("people")
    for number in range(8):
        for kind in ("visible", "infrared"):
            (folder / kind / f"p{number}").mkdir(parents=True)
            for take in range(2):
                image = person(number + 100 * take, kind == "infrared")
                image.save(folder / kind / f"p{number}" / f"{take}.png")
    torch.manual_seed(0)
    config = ModelConfig(
        backbone="resnet10t", image_size=(64, 32), backbone_args={"channels": [8, 16, 16, 24]}
    )
    return DemoService(MTRL(config).eval(), folder, {"luminance": load_translator("luminance")})


@pytest.fixture
def index(service: DemoService, tmp_path: Path) -> Path:
    """An index of the infrared images, as `python -m mtrl index` leaves it."""
    root = service.folder / "infrared"
    paths = sorted(root.rglob("*.png"))
    names = [path.relative_to(root).as_posix() for path in paths]
    identities = [path.parent.name for path in paths]
    Gallery.build(service.model, paths, "infrared", identities, names=names).save(tmp_path / "index")
    remember_source(tmp_path / "index", root)
    return tmp_path / "index"


@pytest.mark.parametrize("rate", [0.1, 0.01])
def test_a_threshold_is_passed_by_that_share_of_wrong_pairs(service: DemoService, rate: float) -> None:
    threshold = service.pairs.threshold(rate)
    assert threshold is not None
    scores = {True: [], False: []}  # type: ignore[var-annotated]
    for visible, row in zip(service.rows[Modality.VISIBLE], service.features[Modality.VISIBLE], strict=True):
        for other, column in zip(
            service.rows[Modality.INFRARED], service.features[Modality.INFRARED], strict=True
        ):
            same = service.images[visible].identity == service.images[other].identity
            scores[same].append(float(row @ column))
    assert np.mean(np.array(scores[False]) > threshold.value) == pytest.approx(
        rate, abs=1 / len(scores[False])
    )
    assert np.mean(np.array(scores[True]) > threshold.value) == pytest.approx(threshold.true, abs=1e-6)


def test_a_rate_that_the_pairs_cannot_show_has_no_threshold(service: DemoService) -> None:
    assert len(service.pairs.different) < 1000 and service.pairs.threshold(0.001) is None
    html = cards.answer(
        service.retrieve(service.open(service.images[0])), service.pairs, 0.001, "tab=retrieve"
    )
    assert "too few pictures of known people" in html


def test_an_index_is_searched_with_the_embeddings_it_holds(service: DemoService, index: Path) -> None:
    galleries = Galleries(service, [index])
    assert galleries.names == [service.folder.name, "index"]
    found = galleries.service(service, "index")
    assert found is galleries.service(service, "index") and found.model is service.model
    loaded = Gallery.load(index)
    query = person(3, infrared=False)
    expected = loaded.search(service.model.encode([query], "visible"), 4)
    result = found.retrieve(query, k=4)
    assert [hit.image.name for hit in result.hits] == [loaded.names[i] for i in expected[1][0]]
    assert [hit.score for hit in result.hits] == pytest.approx(expected[0][0].tolist(), abs=1e-5)
    # It holds one spectrum, which is searched with an infrared query too.
    same = found.retrieve(person(3, infrared=True))
    assert same.target is Modality.INFRARED and any("infrared pictures only" in hint for hint in same.hints)
    # Its images may be gone; they keep their names.
    (index / SOURCES).unlink()
    lost = DemoService(service.model, index, service.translators)
    assert "file not found" in cards.answer(lost.retrieve(query), lost.pairs)
    # Its people's names are anybody's text.
    hit = result.hits[0]
    named = dataclasses.replace(hit, image=dataclasses.replace(hit.image, identity="<i src=x>"))
    html = cards.answer(dataclasses.replace(result, hits=[named]))
    assert "<i src=x>" not in html and "person &lt;i src=x&gt;" in html


def test_an_index_in_half_precision_is_searched(service: DemoService, index: Path, tmp_path: Path) -> None:
    whole = DemoService(service.model, index, service.translators)
    Gallery.load(index).half().save(tmp_path / "half")
    half = DemoService(service.model, tmp_path / "half", service.translators)
    query = person(3, infrared=False)
    first, second = whole.retrieve(query), half.retrieve(query)
    assert [hit.score for hit in second.hits] == pytest.approx([hit.score for hit in first.hits], abs=1e-3)
    name = second.hits[0].image.name
    shutil.copy(index / SOURCES, tmp_path / "half" / SOURCES)
    half = DemoService(service.model, tmp_path / "half", service.translators)
    assert half.compare(query, name).score == pytest.approx(whole.compare(query, name).score, abs=1e-3)


def test_a_picture_of_an_index_is_recognised_by_the_first_visitor(service: DemoService, index: Path) -> None:
    found = DemoService(service.model, index, service.translators)
    assert not found.known
    query = Image.open(service.folder / "infrared" / "p3" / "0.png").convert("RGB")
    result = found.retrieve(query)
    assert result.known is not None and result.known.name == "p3/0.png"
    assert "p3/0.png" not in [hit.image.name for hit in result.hits]
    assert found.retrieve(person(77, infrared=True)).known is None


def test_examples_are_pictures_that_can_be_read(service: DemoService, index: Path) -> None:
    found = DemoService(service.model, index, service.translators)
    entries = list(found.images)
    for entry in entries[:-1]:
        entry.path.rename(entry.path.with_suffix(".away"))
    try:
        assert examples_of(found, entries, 6) == entries[-1:]
        entries[-1].path.rename(entries[-1].path.with_suffix(".away"))
        assert examples_of(found, entries, 6) == []
        with pytest.raises(ValueError, match=r"no picture of the gallery .*index can be read"):
            retrieve._examples(found)
    finally:
        for entry in entries:
            if not entry.path.exists():
                entry.path.with_suffix(".away").rename(entry.path)
    assert examples_of(found, entries, 6) == spread(entries, 6)


def test_an_index_of_milvus_says_so(service: DemoService, tmp_path: Path) -> None:
    (tmp_path / "milvus.db").mkdir()
    with pytest.raises(ValueError, match="is a Milvus index, which the page does not read"):
        DemoService(service.model, tmp_path, service.translators)


def test_an_index_of_another_model_is_refused(service: DemoService, index: Path) -> None:
    other = MTRL(service.model.config).eval()
    with pytest.raises(ValueError, match="another model"):
        DemoService(other, index, service.translators)


def test_only_a_page_for_oneself_opens_other_folders(
    service: DemoService, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(Galleries(service).service(service, str(index)).images) == 16
    public = Galleries(service, [], public=True)
    for name in (str(index), "/", "../"):
        with pytest.raises(ValueError, match="has no gallery"):
            public.service(service, name)
    for name in ("SPACE_ID", "GRADIO_SHARE", "GRADIO_SERVER_NAME"):
        monkeypatch.delenv(name, raising=False)
    assert not is_public(None, False, False) and not is_public("localhost", False, False)
    assert (
        is_public("0.0.0.0", False, False) and is_public(None, True, False) and is_public(None, False, True)
    )
    monkeypatch.setenv("SPACE_ID", "user/space")
    assert is_public(None, False, False)


def test_a_comparison_shows_where_the_likeness_is(service: DemoService) -> None:
    query = service.image("visible/p2/0.png")
    result = service.compare(query.path, "infrared/p2/1.png")
    expected = (
        service.model.encode([query.path], "visible") @ service.model.encode([result.match], "infrared").T
    )
    assert result.score == pytest.approx(float(expected), abs=1e-5)
    assert result.correct is True and result.modality is Modality.VISIBLE
    assert [tuple(map_.shape) for map_ in result.evidence] == [(64, 32)] * 2
    html = comparison_html(result, accepted=True)
    assert html != comparison_html(result, accepted=True)  # else it would not open twice
    assert html.count("<img ") == html.count(' alt="') == 4 and 'data-image="infrared/p2/1.png"' in html
    half = torch.zeros(64, 32)
    half[:32] = 1
    lit = np.asarray(overlay(Image.new("RGB", (32, 64), (128, 128, 128)), half), dtype=int).sum(axis=2)
    assert lit[:24].min() > 1.5 * lit[40:].max()


def test_images_without_a_person_are_pointed_out(service: DemoService) -> None:
    assert "one colour" in service.retrieve(Image.new("RGB", (64, 128), "white")).hints[0]
    crowd = service.retrieve(Image.effect_noise((400, 200), 90).convert("RGB"), "visible to infrared")
    assert any("several people" in hint for hint in crowd.hints)
    best = service.features[Modality.VISIBLE] @ service.features[Modality.INFRARED].T
    people = {m: [service.images[i].identity for i in service.rows[m]] for m in Modality}
    other = np.not_equal.outer(people[Modality.VISIBLE], people[Modality.INFRARED])
    nearest = np.where(other, best.numpy(), -1).max(axis=1)
    assert service.pairs.strange(Modality.VISIBLE) == pytest.approx(np.quantile(nearest, 0.01), abs=1e-6)


def test_thumbnails_are_small_and_no_other_file_can_be_asked_for(
    service: DemoService, tmp_path: Path
) -> None:
    large = tmp_path / "large.png"
    Image.effect_noise((900, 1800), 60).convert("RGB").save(large)
    image = service.images[0].__class__("large", large, Modality.VISIBLE)
    address = thumbnails.address(image)
    content = thumbnails.jpeg(re.fullmatch(r"pictures/(\w+)\.jpg", address)[1])  # type: ignore[index]
    assert content is not None and len(content) < 40_000 and content.startswith(b"\xff\xd8")
    assert thumbnails.jpeg("0" * 24) is None and thumbnails.jpeg("../../etc/passwd") is None
    large.unlink()
    assert thumbnails.address(image) == ""
    exif = Image.Exif()
    exif[0x010E] = "where it was taken"
    for name, more in (
        ("plain", {}),
        ("tagged", {"exif": exif}),
        ("noted", {"comment": b"where it was taken"}),
    ):
        path = tmp_path / f"{name}.jpg"
        Image.new("RGB", (64, 128), (200, 60, 20)).save(path, **more)
        key = thumbnails.address(image.__class__(name, path, Modality.VISIBLE)).split("/")[1][:-4]
        sent = thumbnails.jpeg(key)
        assert sent is not None and b"where" not in sent and (sent == path.read_bytes()) is (not more)


def test_uploads_go_with_the_last_visit_that_holds_them(tmp_path: Path) -> None:
    mine, ours = tmp_path / "mine.png", tmp_path / "ours.png"
    mine.touch(), ours.touch()
    uploads = Uploads()
    uploads.came(mine, 0, "a visitor"), uploads.came(ours, 0, "a visitor")
    uploads.add("first", str(mine)), uploads.add("first", str(ours)), uploads.add("second", str(ours))
    uploads.close("first")
    assert not mine.exists() and ours.exists()
    uploads.close("second")
    assert not ours.exists()


def _luminance(colour: str) -> float:
    """Relative luminance of "#rrggbb" (WCAG 2.2)."""
    values = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def gradio_colour(name: str, scheme: str) -> str:
    """The colour "#rrggbb" that Gradio's part of the page uses, its references resolved."""
    pytest.importorskip("gradio")
    from mtrl.demo.page import look

    theme = look()
    value = f"*{name}"
    while value.startswith("*"):
        plain = value[1:]
        dark = getattr(theme, plain + "_dark", None) if scheme == ".dark" else None
        value = dark or getattr(theme, plain)
    return {"white": "#ffffff", "black": "#000000"}.get(value, value)


@pytest.mark.parametrize("scheme", [":root", ".dark"])
def test_text_has_the_contrast_that_wcag_asks_for(scheme: str) -> None:
    block = static_files.css().split(scheme + " {", 1)[1].split("}", 1)[0]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
    page = "#ffffff" if scheme == ":root" else "#0b0f19"

    def contrast(first: str, second: str) -> float:
        low, high = sorted((_luminance(first), _luminance(second)))
        return (high + 0.05) / (low + 0.05)

    for text in ("ink", "mute", "vis", "tra", "inf", "ok", "no"):
        for ground in (colours["soft"], colours["card"], page):
            assert contrast(colours[text], ground) >= 4.5, (text, ground)
    assert contrast("#ffffff", colours["go"]) >= 4.5
    assert contrast("#ffffff", gradio_colour("button_primary_background_fill", scheme)) >= 4.5
    for name in ("body_text_color", "body_text_color_subdued", "block_info_text_color"):
        for ground in ("body_background_fill", "block_background_fill"):
            assert contrast(gradio_colour(name, scheme), gradio_colour(ground, scheme)) >= 4.5, (name, ground)
    for shape in ("bar", "tra", "ok"):
        assert contrast(colours[shape], colours["soft"]) >= (3 if shape != "bar" else 1.5)


@pytest.mark.slow
def test_visitors_at_once_are_answered_and_what_they_sent_goes(
    service: DemoService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gradio")
    from mtrl.demo import page
    from tests.load import load

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(page, "KEEP", (1, 6))
    built = page.build_page(service)
    _, url, _ = page.launch(built, server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    try:
        seconds = load.run(url, 3, 2, service.images, k=4)
        assert len(seconds) == 6 and min(seconds) > 0
        sent = [path for path in tmp_path.rglob("*.png") if path.stem in ("0", "1")]
        assert sent
        end = time.monotonic() + 30
        while any(path.exists() for path in sent) and time.monotonic() < end:
            time.sleep(0.3)
        assert not any(path.exists() for path in sent)
        with pytest.raises(OSError, match="failed"):
            load.run(url, 1, 1, [dataclasses.replace(service.images[0], path=Path(__file__))])
    finally:
        built.close()
