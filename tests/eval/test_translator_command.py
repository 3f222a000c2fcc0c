"""`python -m eval translators` on real pairs, and by the embeddings of a model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from eval.__main__ import main
from eval.translation.command import _short, markdown
from eval.translation.sample import load_sample
from eval.translation.settings import TranslatorEvalSettings
from mtrl import load_pretrained
from mtrl.data import load_data
from mtrl.models.config import ModelConfig
from mtrl.models.reid import MTRL
from tests.helpers import m3svd, trees
from train.translator.publish import evaluation
from train.translator.settings import parse as parse_run

SIZE = ("32", "16")
FLAGS = ["--size", "tiny", "--image-size", *SIZE, "--hold-out", "4", "--steps", "2", "--spectrum", "thermal"]
FLAGS += ["--translators", "luminance"]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = m3svd.draw(tmp_path_factory.mktemp("m3svd"))
    for path in (root / "infrared").rglob("*.png"):  # unlike its pair in every channel
        with Image.open(path) as image:
            ImageOps.invert(image).save(path, compress_level=1)
    return root


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    MTRL(ModelConfig("test_resnet", (32, 16))).save_pretrained(folder)
    return folder


def test_real_pairs_are_of_the_same_box(clips: Path, cache: Path) -> None:
    settings = TranslatorEvalSettings(
        dataset="m3svd", data_root=str(clips), spectrum="thermal", size="tiny", image_size=(32, 16),
        hold_out=4, cache_dir=str(cache), limit=100,
    )  # fmt: skip
    (visible, infrared), sample = load_sample(settings)
    drawn = load_data(
        "synthetic", size="tiny", spectrum="thermal", image_size=(32, 16), cache_dir=cache, parts=("train",)
    )
    people = np.unique(drawn.train.identities)
    assert len(visible) + len(infrared) == np.isin(drawn.train.identities, people[:-4]).sum()
    test = load_data("m3svd", clips, image_size=(32, 16)).test
    pictures = dict(zip(test.names, test.images, strict=True))
    names = [name for name in test.names if name.startswith("visible/")]
    chosen = [names[place] for place in np.linspace(0, len(names) - 1, 100).astype(int)]
    assert sample.truth is not None and len(sample.visible) == len(sample.truth) == 100
    for row, name in enumerate(chosen):
        np.testing.assert_array_equal((255 * sample.visible[row]).round(), pictures[name].transpose(2, 0, 1))
        pair = pictures[name.replace("visible/", "infrared/")]
        np.testing.assert_array_equal((255 * sample.truth[row, 0]).round(), pair[..., 0])


def test_the_measures_on_real_pairs(clips: Path, model: Path, cache: Path, tmp_path: Path) -> None:
    report, sheet = tmp_path / "real.json", tmp_path / "real.md"
    asked = [
        "translators",
        "--dataset",
        "m3svd",
        "--data-root",
        str(clips),
        *FLAGS,
        "--checkpoint",
        str(model),
    ]
    asked += ["--cache-dir", str(cache), "--json", str(report), "--markdown", str(sheet)]
    assert main(asked) == 0
    found = json.loads(report.read_text())
    grey, true = found["rows"]
    assert (grey["translator"], true["translator"]) == ("luminance", "true infrared")
    assert found["images"] == 440 and found["checkpoint"] == str(model)
    test = load_data("m3svd", clips, image_size=(32, 16)).test
    pictures = {name: image.astype(float) / 255 for name, image in zip(test.names, test.images, strict=True)}
    names = [name for name in test.names if name.startswith("visible/")]
    errors, day, night = [], [], []
    for name in names:
        light = pictures[name] @ np.array([0.299, 0.587, 0.114])
        heat = pictures[name.replace("visible/", "infrared/")][..., 0]
        errors.append(-10 * np.log10(np.mean((light - heat) ** 2)))
        day.append(np.repeat(light[None], 3, axis=0))
        night.append(np.repeat(heat[None], 3, axis=0))
    assert grey["psnr"] == pytest.approx(np.mean(errors), abs=1e-3)
    encoded = [
        load_pretrained(model).encode(torch.tensor(np.stack(images), dtype=torch.float32), "infrared").numpy()
        for images in (day, night)
    ]
    assert grey["cosine"] == pytest.approx((encoded[0] * encoded[1]).sum(axis=1).mean(), abs=1e-4)
    assert true["psnr"] is None and true["cosine"] is None
    assert (
        sheet.read_text().startswith("| translator | alignment | infrared score |")
        and "cosine" in sheet.read_text()
    )


def test_a_measure_that_no_row_has_is_not_shown() -> None:
    row = {"translator": "x", "alignment": 1.0, "infrared_score": 0.25, "frechet": 2.0}
    both = {"visible": 0.5, "infrared": 1.0}
    for values, shown in (
        ((None,) * 3, ()),
        ((9.5, None, None), ("PSNR",)),
        ((9.5, 0.5, 0.75), ("PSNR", "cosine")),
    ):
        rows = [{**row, **dict(zip(("psnr", "ssim", "cosine"), values, strict=True))}]
        text = markdown({"rows": rows, "images": 1, "part": "test", "classifier": both})
        assert [word for word in ("PSNR", "cosine") if word in text] == list(shown)
        head, _, cells = text.splitlines()[:3]
        assert head.count("|") == cells.count("|")


@pytest.mark.parametrize(
    "flags", [[], ["--spectrum", "both"], ["--spectrum", "thermal", "--part", "held-out"]]
)
def test_what_the_real_pairs_cannot_be_asked(clips: Path, flags: list[str]) -> None:
    with pytest.raises(ValueError, match="--spectrum thermal and no --part"):
        main(["translators", "--dataset", "m3svd", "--data-root", str(clips), *flags])


@pytest.mark.parametrize("name", ["out.xyz", "out", "out.svg"])
def test_a_sheet_is_refused_before_anything_is_measured(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=rf"sheet must end in \.png or \.jpg, not '.*{name}'"):
        TranslatorEvalSettings(sheet=str(tmp_path / name))


def test_a_split_of_regdb_is_measured_on_its_own_test_identities(tmp_path: Path) -> None:
    root = trees.regdb(tmp_path / "regdb", people=8)
    found = {}
    for trial in (1, 3):
        asked = TranslatorEvalSettings(
            dataset="regdb", data_root=str(root), trial=trial, image_size=(32, 16), hold_out=1, limit=100
        )
        _, sample = load_sample(asked)
        test = load_data("regdb", root, trial=trial, image_size=(32, 16)).test
        expected = test.images[test.modalities == 0]
        assert np.array_equal((255 * sample.visible).round().permute(0, 2, 3, 1).numpy(), expected)
        found[trial] = set(test.identities.tolist())
    assert found[1] != found[3]
    run = dataclasses.replace(parse_run(["--dataset", "regdb", "--data-root", str(root)]), trial="3")
    assert evaluation(run).trial == 3
    with pytest.raises(ValueError, match="trial must be 1 to 10, not 11"):
        load_sample(
            TranslatorEvalSettings(dataset="regdb", data_root=str(root), trial=11, image_size=(32, 16))
        )
    with pytest.raises(ValueError, match="trial is a split of RegDB; synthetic has none"):
        load_sample(TranslatorEvalSettings(size="tiny", trial=2, hold_out=4))


def test_translators_of_one_last_name_keep_their_own_column() -> None:
    names = ["learned", "runs/a/learned", "runs/b/night", "spectral"]
    images = {name: torch.full((1, 1, 2, 2), float(place)) for place, name in enumerate(names)}
    short = _short(images)
    assert list(short) == ["learned", "runs/a/learned", "night", "spectral"]
    assert [float(grey.mean()) for grey in short.values()] == [0, 1, 2, 3]
