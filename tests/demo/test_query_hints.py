"""Hints on a visitor's picture, and files of strangers that are not what they seem."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtrl.demo.html import cards
from mtrl.demo.service.gallery_folder import read_gallery
from mtrl.demo.service.images import FALSE_COLOUR, TAKEN_AS_INFRARED, coloured_later
from mtrl.demo.service.model_files import read_backbone, read_card, read_log
from mtrl.demo.service.service import DemoService
from mtrl.models.config import Modality
from tests.demo import rejection
from tests.helpers.paths import ASSETS

GALLERY = ASSETS / "gallery"


def palette(name: str) -> Callable[[Image.Image], Image.Image]:
    from matplotlib import colormaps

    table = (colormaps[name](np.linspace(0, 1, 256))[:, :3] * 255).astype(np.uint8)
    return lambda image: Image.fromarray(table[np.asarray(image)])


def tinted(red: float, green: float, blue: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: Image.merge(
        "RGB", [image.point(lambda v, part=part: int(v * part)) for part in (red, green, blue)]
    )


def with_scale(image: Image.Image) -> Image.Image:
    """The grey image with a colour bar beside it."""
    shown, width = image.convert("RGB"), max(6, image.width // 10)
    scale = Image.linear_gradient("L").resize((width, image.height))
    shown.paste(palette("jet")(scale), (image.width - width, 0))
    return shown


FALSE_COLOURS = {
    **{name: palette(name) for name in ("inferno", "hot", "viridis", "jet", "turbo")},
    "green night vision": tinted(0, 1, 0.15),
    "pink": tinted(1, 0.6, 0.8),
    "a colour bar": with_scale,
}


def compressed(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


@pytest.mark.parametrize("name", FALSE_COLOURS)
def test_infrared_in_false_colours_is_pointed_out(name: str) -> None:
    pytest.importorskip("matplotlib")
    if not GALLERY.is_dir():
        pytest.skip("no gallery is shipped")
    infrared = [p.path for p in read_gallery(GALLERY) if p.modality is Modality.INFRARED][::8]
    for path in infrared:
        coloured = FALSE_COLOURS[name](Image.open(path).convert("L"))
        assert all(coloured_later(compressed(coloured, quality)) for quality in (90, 60)), path


def test_photographs_and_visible_pictures_have_true_colours() -> None:
    visible = (
        [p.path for p in read_gallery(GALLERY) if p.modality is Modality.VISIBLE] if GALLERY.is_dir() else []
    )
    assert not [path for path in visible if coloured_later(Image.open(path))]
    photographs = [image for image in rejection.photographs().get("sklearn", []) if image.width > 300]
    assert not [image for image in photographs if coloured_later(image)]


def test_the_hint_leads_to_a_search_by_brightness_alone(service: DemoService) -> None:
    grey = Image.effect_noise((64, 128), 90)
    coloured = tinted(1, 0.6, 0.8)(grey)
    assert FALSE_COLOUR in service.retrieve(coloured).hints
    chosen = service.retrieve(coloured, "infrared to visible")
    assert FALSE_COLOUR not in chosen.hints and any("Only its brightness" in hint for hint in chosen.hints)
    brightness = coloured.convert("L").convert("RGB")
    expected = service.model.encode([brightness], "infrared") @ service.features[Modality.VISIBLE].T
    assert chosen.scores == pytest.approx(np.sort(expected[0].numpy())[::-1], abs=1e-5)
    night = tinted(0, 1, 0.15)(grey)
    taken = service.retrieve(night)
    assert TAKEN_AS_INFRARED in taken.hints and taken.modality is Modality.INFRARED
    assert taken.scores == pytest.approx(service.retrieve(night.convert("L")).scores, abs=1e-5)
    grey_hints = service.retrieve(grey).hints
    assert not {FALSE_COLOUR, TAKEN_AS_INFRARED} & set(grey_hints) and any(
        "no colour" in hint for hint in grey_hints
    )


def test_a_manifest_that_is_nested_too_deeply_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("[" * 200_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        read_gallery(tmp_path)


def test_a_card_that_links_out_of_its_folder_is_not_shown(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text('{"kind": "train", "step": 1, "method": "a secret"}')
    model = tmp_path / "model"
    model.mkdir()
    for name in ("README.md", "settings.yaml", "metrics.jsonl"):
        (model / name).symlink_to(secret)
    assert read_card(model) == "" and read_log(model) == ()
    (model / "README.md").unlink()
    assert read_card(model) == ""
    (model / "README.md").write_text("# its own")
    assert read_card(model) == "# its own"
    # The Hub's cache keeps files beside the snapshots and links to them.
    snapshot = tmp_path / "models--user--repo" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    blob = tmp_path / "models--user--repo" / "blobs" / "1"
    blob.parent.mkdir()
    blob.write_text("# from the Hub")
    (snapshot / "README.md").symlink_to(Path("../../blobs/1"))
    assert read_card(snapshot) == "# from the Hub"
    (snapshot / "README.md").unlink()
    (snapshot / "README.md").symlink_to(secret)
    assert read_card(snapshot) == ""


def test_a_card_that_is_not_clean_utf_8_is_shown(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes("# Modèle".encode("latin-1"))
    (tmp_path / "config.json").write_bytes('{"backbone": "x", "by": "é"}'.encode("latin-1"))
    assert read_card(tmp_path) == "# Mod\N{REPLACEMENT CHARACTER}le" and read_backbone(tmp_path) == "x"


def test_the_hint_is_part_of_the_answer(service: DemoService) -> None:
    html = cards.answer(
        service.retrieve(tinted(1, 0.6, 0.8)(Image.effect_noise((64, 128), 90))), service.pairs
    )
    assert "follow its brightness" in html


def test_a_run_without_a_card_names_the_transitions_that_were_given_to_it(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("method: mtrl\ntranslator: spectral\n")
    assert "- translator: spectral" in read_card(tmp_path)
    (tmp_path / "settings.yaml").write_text("method: mtrl\ntranslator: spectral\ntransitions: drawn\n")
    assert "- translator: drawn" in read_card(tmp_path) and "spectral" not in read_card(tmp_path)
    (tmp_path / "settings.yaml").write_text("method: direct\ntranslator: spectral\ntransition: false\n")
    assert "method: direct" in read_card(tmp_path) and "spectral" not in read_card(tmp_path)
