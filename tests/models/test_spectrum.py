"""The detector of infrared images: grey, tinted, stamped and false-coloured ones, photographs, and the real clips."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from mtrl.models.config import Modality
from mtrl.models.spectrum import detect_modality
from mtrl.video import iter_crops
from tests.helpers.false_colours import PALETTES, false_coloured
from tests.helpers.real_clips import REAL, needs_real_clips, write_boxes


def thermal() -> Image.Image:
    """A warm person on cool ground, blurred, with a little noise."""
    rng = np.random.default_rng(0)
    grey = np.full((128, 64), 60.0)
    grey[10:120, 20:44] = 200
    grey[60:120, 30:34] = 120
    image = Image.fromarray((grey + rng.normal(0, 4, grey.shape)).clip(0, 255).astype(np.uint8))
    return image.filter(ImageFilter.GaussianBlur(2))


def photograph() -> Image.Image:
    """Somebody in a brown coat before a greenish wall: little colour, as people and streets have."""
    pixels = np.zeros((128, 64, 3), np.uint8)
    pixels[:] = (112, 120, 110)
    pixels[10:60, 20:44] = (96, 80, 72)
    pixels[60:120, 22:42] = (52, 54, 66)
    pixels[10:24, 26:38] = (170, 136, 120)
    noise = np.random.default_rng(0).normal(0, 3, pixels.shape)
    return Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))


def saved(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


@pytest.mark.parametrize("quality", [95, 30])
def test_spectra_are_told_by_their_colours(quality: int) -> None:
    assert detect_modality(saved(photograph(), quality)) is Modality.VISIBLE
    assert detect_modality(saved(thermal(), quality)) is Modality.INFRARED
    for palette in PALETTES:
        assert detect_modality(saved(false_coloured(thermal(), palette), quality)) is Modality.INFRARED, (
            palette
        )
    tint = np.array([6, 0, -4])  # as a decoder of video may leave it
    tinted = np.asarray(thermal().convert("RGB")).astype(int) + tint
    assert detect_modality(tinted.clip(0, 255).astype(np.uint8)) is Modality.INFRARED
    stamped = thermal().convert("RGB")
    stamped.paste((255, 200, 0), (2, 2, 30, 6))
    assert detect_modality(saved(stamped, quality)) is Modality.INFRARED


@pytest.mark.parametrize("level", [0, 128, 255])
def test_one_level_has_no_colour(level: int) -> None:
    assert detect_modality(Image.new("L", (3, 5), level)) is Modality.INFRARED


@needs_real_clips
def test_real_crops(tmp_path: Path) -> None:
    pytest.importorskip("av")
    boxes = write_boxes(tmp_path)["0117_1605"]
    for kind in ("visible", "infrared"):
        for crop in iter_crops(REAL / kind / "0117_1605.mp4", boxes):
            assert detect_modality(crop.image) is Modality.parse(kind)
            if kind == "infrared":
                assert detect_modality(false_coloured(crop.image, "ironbow")) is Modality.INFRARED
