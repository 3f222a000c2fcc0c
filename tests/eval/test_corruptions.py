"""Corruptions of test images: against loops, by level, by seed, grey for infrared; and the figures of `eval`."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from eval import __main__ as command
from eval.corruptions import COLOUR_ONLY, CORRUPTIONS, LEVELS, corrupt, corrupted, draw
from eval.settings import EvalSettings
from mtrl import MTRL
from mtrl.models.config import Modality, ModelConfig
from tests.helpers import trees
from tests.helpers.runs import colour_people


def scene() -> torch.Tensor:
    """A smooth image with edges, [3,56,28]."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 56), torch.linspace(0, 1, 28), indexing="ij")
    image = torch.stack([0.2 + 0.6 * y, 0.5 + 0.3 * torch.sin(9 * x), 0.3 + 0.4 * (x > 0.5).float()])
    return image.clamp(0.05, 0.95)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_is_seeded_in_range_and_worse_by_level(name: str) -> None:
    image, changes = scene(), []
    for level in range(1, LEVELS + 1):
        runs = [corrupt(image, name, level, seeded(s)) for s in range(4)]
        assert torch.equal(runs[0], corrupt(image, name, level, seeded(0)))
        assert all(run.shape == image.shape and run.min() >= 0 and run.max() <= 1 for run in runs)
        changes.append(float(torch.stack([(run - image).abs().mean() for run in runs]).mean()))
    assert changes[0] > 0 and changes[-1] > max(0.01, 1.15 * changes[0]), changes


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name not in COLOUR_ONLY])
def test_infrared_images_stay_grey(name: str) -> None:
    grey = scene()[:1].expand(3, -1, -1)
    output = corrupt(grey, name, 3, seeded(), grey=True)
    assert torch.equal(output[0], output[1]) and torch.equal(output[0], output[2])
    assert not torch.equal(output, grey)


def test_blurs_equal_loops() -> None:
    image = scene()
    radius = 6 * 56 / 224
    half, total, weights = math.ceil(radius), 0.0, {}
    for dy in range(-half, half + 1):
        for dx in range(-half, half + 1):
            weights[dy, dx] = min(1.0, max(0.0, radius + 0.5 - math.hypot(dy, dx)))
            total += weights[dy, dx]
    output = corrupt(image, "defocus blur", 3, seeded())
    for y, x in ((0, 0), (20, 13), (55, 27)):
        value = sum(
            w * image[1, min(55, max(0, y + dy)), min(27, max(0, x + dx))] for (dy, dx), w in weights.items()
        )
        assert output[1, y, x] == pytest.approx(float(value) / total, abs=1e-5)
    small = corrupt(image, "pixelate", 2, seeded())  # half the size: each block of 2 x 2 is its mean
    expected = image.reshape(3, 28, 2, 14, 2).mean(dim=(2, 4)).repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert torch.allclose(small, expected, atol=1e-5)
    moved = corrupt(image, "motion blur", 5, seeded())
    assert moved.mean() == pytest.approx(float(image.mean()), abs=0.02)


def test_noise_has_its_strength() -> None:
    flat = torch.full((3, 200, 100), 0.5)
    noise = corrupt(flat, "gaussian noise", 1, seeded()) - flat
    assert noise.std() == pytest.approx(0.08, rel=0.05) and abs(noise.mean()) < 0.002
    assert (corrupt(flat, "shot noise", 1, seeded()) - flat).std() == pytest.approx(
        math.sqrt(0.5 / 60), rel=0.05
    )
    assert (corrupt(flat, "speckle noise", 1, seeded()) - flat).std() == pytest.approx(0.075, rel=0.05)
    salted = corrupt(flat, "impulse noise", 5, seeded())
    assert (salted != 0.5).float().mean() == pytest.approx(0.27, rel=0.05)
    assert (salted == 1).float().mean() == pytest.approx(0.135, rel=0.1)
    contrast = corrupt(scene(), "contrast", 4, seeded())
    assert torch.allclose(contrast.std(dim=(1, 2)), 0.1 * scene().std(dim=(1, 2)), rtol=1e-3)


def test_draws_cover_names_and_levels_that_suit_the_modality() -> None:
    generator = seeded()
    found = {kind: {draw(kind, generator) for _ in range(2000)} for kind in Modality}
    every = {(name, level) for name in CORRUPTIONS for level in range(1, LEVELS + 1)}
    assert found[Modality.VISIBLE] == every
    assert found[Modality.INFRARED] == {pair for pair in every if pair[0] not in COLOUR_ONLY}
    with pytest.raises(ValueError, match="level 1 to 5, not fog at 6"):
        corrupt(scene(), "fog", 6, generator)


def test_rows_do_not_depend_on_their_batch() -> None:
    images = colour_people(3, 0)
    bad, other = corrupted(images, 0), corrupted(images, 1)
    rows = np.array([5, 1, 20])
    read = bad.images[rows]
    assert read.shape == (3, 32, 16, 3) and read.dtype == np.uint8
    assert all(np.array_equal(read[place], bad.images[rows[place : place + 1]][0]) for place in range(3))
    changed = np.array(
        [(bad.images[np.array([row])] != images.images[row]).any() for row in range(len(images))]
    )
    assert changed.mean() > 0.9 and not np.array_equal(bad.images[:], other.images[:])


def test_the_command_gives_both_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    MTRL(ModelConfig("test_resnet", (32, 16))).save_pretrained(tmp_path / "m")
    trees.sysu(tmp_path / "s")
    words = [
        "--dataset",
        "sysu",
        "--data-root",
        str(tmp_path / "s"),
        "--checkpoint",
        str(tmp_path / "m"),
        "--trials",
    ]
    words += ["2", "--device", "cpu", "--cache-dir", str(tmp_path / "c")]
    results = []
    for flags in ([], ["--corruptions"], ["--corruptions", "2"]):
        assert command.main([*words, *flags, "--json", str(tmp_path / "x.json")]) == 0
        results.append(json.loads((tmp_path / "x.json").read_text()))
    clean, once, twice = results
    assert "corrupted" not in clean and once["mean"] == twice["mean"] == clean["mean"]
    assert (once["corrupted"]["draws"], len(once["corrupted"]["trials"])) == (1, 2)
    assert (twice["corrupted"]["draws"], len(twice["corrupted"]["trials"])) == (2, 4)
    assert twice["corrupted"]["trials"][:2] == once["corrupted"]["trials"]
    assert once["corrupted"]["mean"]["map"] != clean["mean"]["map"]
    assert "mAP corrupted" in capsys.readouterr().out
    cached = ["--cache", str(tmp_path / "f"), "--json", str(tmp_path / "x.json")]
    assert command.main([*words, "--corruptions", *cached]) == 0
    assert json.loads((tmp_path / "x.json").read_text()) == once
    assert len(list((tmp_path / "f").iterdir())) == 1, "the plain images' alone"
    with pytest.raises(ValueError, match="--corruptions must be at least 1"):
        EvalSettings(corruptions=0)
