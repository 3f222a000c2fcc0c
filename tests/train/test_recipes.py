"""The presets of `train/recipes`: each is read, and holds the hyper-parameters that it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtrl import load_pretrained
from mtrl.console.cli import read_yaml
from mtrl.losses import TERMS
from mtrl.models.backbone import unfolded_size
from tests.helpers import trees
from tests.helpers.paths import ROOT
from train.__main__ import main
from train.settings import METHODS, TrainSettings, parse

TRANSFORMERS = [f"{kind}-{data}" for kind in ("pmt", "mtrl-vit") for data in ("sysu", "regdb", "llcm")]
LARGE = ["mtrl-large", "mtrl-vit-large"]
RECIPES = ROOT / "train" / "recipes"
NAMES = [f"{kind}-{data}" for kind in ("agw", "caj", "mtrl") for data in ("sysu", "regdb", "llcm")]


def read(name: str, *flags: str) -> TrainSettings:
    return parse(["--config", str(RECIPES / f"{name}.yaml"), *flags])


def test_all_recipes_are_tested() -> None:
    assert sorted(path.stem for path in RECIPES.glob("*.yaml")) == sorted([*NAMES, *TRANSFORMERS, *LARGE])


@pytest.mark.parametrize("name", LARGE)
def test_large_scale_on_both_spectra(name: str, tmp_path: Path) -> None:
    """The backbones that the field uses; two epochs of a tiny network with everything else as the recipe says."""
    settings = read(name)
    assert (settings.dataset, settings.size, settings.spectrum) == ("synthetic", "large", "both")
    assert settings.backbone == ("vit_base_patch16_224" if "vit" in name else "resnet50")
    assert settings.pretrained is True and settings.hold_out == 200 and settings.method == "mtrl"
    assert {t: getattr(settings, t) for t in TERMS} == {t: METHODS["mtrl"][t] for t in TERMS}
    tiny = [
        "--size",
        "tiny",
        "--no-pretrained",
        "--image-size",
        "32",
        "16",
        "--identities",
        "2",
        "--hold-out",
        "4",
    ]
    tiny += [
        "--backbone",
        "test_vit" if "vit" in name else "test_resnet",
        "--instances",
        "2",
        "--epochs",
        "2",
    ]
    tiny += ["--batches", "2", "--device", "cpu", "--output", str(tmp_path / "run")]
    assert main(["--config", str(RECIPES / f"{name}.yaml"), *tiny]) == 0
    assert load_pretrained(tmp_path / "run").config.patch_stride == (12 if "vit" in name else 0)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers_take_the_published_settings(name: str) -> None:
    settings = read(name)
    kind, data = name.rsplit("-", 1)
    assert (settings.dataset, settings.method) == (data, "pmt" if kind == "pmt" else "mtrl")
    config = settings.model_config(3)
    assert (config.backbone, config.image_size, config.patch_stride) == (
        "vit_base_patch16_224",
        (256, 128),
        12,
    )
    assert unfolded_size(config) == (21 * 16, 10 * 16), "21 x 10 tokens"
    assert (settings.optimizer, settings.lr, settings.weight_decay, settings.lr_warmup) == (
        "adamw",
        3e-4,
        1e-4,
        3,
    )
    assert (settings.identities, settings.instances, settings.epochs) == (8, 4, 36 if data == "regdb" else 24)
    assert settings.grey_epochs == (6 if kind == "pmt" else 0)
    assert {t: getattr(settings, t) for t in TERMS} == {t: METHODS[settings.method][t] for t in TERMS}


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers_train_on_a_tree(name: str, tmp_path: Path) -> None:
    """Two epochs of a tiny vision transformer with everything else as the recipe says."""
    data = name.rsplit("-", 1)[1]
    root = trees.MAKERS[data](tmp_path / data)
    tiny = ["--backbone", "test_vit", "--no-pretrained", "--image-size", "32", "16", "--identities", "2"]
    tiny += ["--instances", "2", "--epochs", "2", "--batches", "2", "--device", "cpu", "--log-every", "1"]
    tiny += [
        "--data-root",
        str(root),
        "--cache-dir",
        str(tmp_path / "cache"),
        "--output",
        str(tmp_path / "run"),
    ]
    assert main(["--config", str(RECIPES / f"{name}.yaml"), *tiny]) == 0
    config = load_pretrained(tmp_path / "run").config
    assert (config.patch_stride, config.pooling) == (12, "token")


@pytest.mark.parametrize("name", NAMES)
def test_what_all_recipes_share(name: str) -> None:
    settings = read(name, "--data-root", "somewhere")
    kind, data = name.split("-")
    assert (settings.dataset, settings.data_root, settings.seed) == (data, "somewhere", 0)
    # AGW: 8 x 4 images of each modality, SGD 0.1 for the head and 0.01 for the rest, ten epochs of warm-up,
    # a tenth from epoch 20 and a hundredth from epoch 50 on, 288 x 144, ten pixels of padding.
    assert (settings.identities, settings.instances) == (8, 4)
    assert (settings.optimizer, settings.lr, settings.weight_decay) == ("sgd", 0.1, 5e-4)
    assert settings.lr * settings.backbone_lr == pytest.approx(0.01)
    assert (settings.schedule, settings.lr_warmup, settings.lr_steps) == ("step", 10, (20, 50))
    assert (settings.image_size, settings.pad, settings.flip) == ((288, 144), 10, 0.5)
    assert settings.epochs == (100 if kind == "caj" else 81)
    assert settings.erase == (0.0 if name in ("agw-sysu", "agw-regdb") else 0.5)
    config = settings.model_config(10)
    assert (config.backbone, config.pooling, config.last_stride) == ("resnet50", "gem", 1)
    assert config.stem == ("shared" if kind == "mtrl" else "dual")


@pytest.mark.parametrize("name", NAMES)
def test_methods(name: str) -> None:
    settings, kind = read(name), name.split("-")[0]
    method = {"agw": "baseline"}.get(kind, kind)
    assert settings.method == method
    for term, value in METHODS[method].items():
        assert getattr(settings, term) == value, term
    assert settings.channel == "none"


@pytest.mark.parametrize("name", [*NAMES, *TRANSFORMERS, *LARGE])
def test_a_recipe_says_what_it_is(name: str) -> None:
    text = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8")
    assert "Ours:" in text and "Not run by us" in text
    assert f"--config train/recipes/{name}.yaml" in text
    assert set(read_yaml(RECIPES / f"{name}.yaml")) <= set(TrainSettings.__dataclass_fields__)


def test_flags_win() -> None:
    assert read("agw-sysu", "--epochs", "3", "--train-ids", "296").epochs == 3
    assert len(read("mtrl-regdb", "--trial", "all").runs()) == 10
