"""The presets of `train/recipes`: each is read, and holds the hyper-parameters that it names."""

from __future__ import annotations

import pytest

from mtrl.console.cli import read_yaml
from tests.helpers.paths import ROOT
from train.settings import METHODS, TrainSettings, parse

RECIPES = ROOT / "train" / "recipes"
NAMES = [f"{kind}-{data}" for kind in ("agw", "caj", "mtrl") for data in ("sysu", "regdb", "llcm")]


def read(name: str, *flags: str) -> TrainSettings:
    return parse(["--config", str(RECIPES / f"{name}.yaml"), *flags])


def test_nine_recipes() -> None:
    assert sorted(path.stem for path in RECIPES.glob("*.yaml")) == sorted(NAMES)


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
    method = "mtrl" if kind == "mtrl" else "baseline"
    assert settings.method == method
    for term, value in METHODS[method].items():
        assert getattr(settings, term) == value, term
    assert settings.channel == ("exchange" if kind == "caj" else "none")


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_says_what_it_is(name: str) -> None:
    text = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8")
    assert "Ours:" in text and "Not run by us" in text
    assert f"--config train/recipes/{name}.yaml" in text
    assert set(read_yaml(RECIPES / f"{name}.yaml")) <= set(TrainSettings.__dataclass_fields__)


def test_flags_win() -> None:
    assert read("agw-sysu", "--epochs", "3", "--train-ids", "296").epochs == 3
    assert len(read("mtrl-regdb", "--trial", "all").runs()) == 10
