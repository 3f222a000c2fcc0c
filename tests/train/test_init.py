"""Starting from another checkpoint: every weight but the classifier's, its normalisation, and errors that say why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from mtrl import MTRL, load_pretrained
from mtrl.console import cli
from mtrl.models.config import Modality, ModelConfig
from tests.helpers.runs import ONE_STEP, settings
from train.__main__ import main
from train.build import seeded_model, starting_weights
from train.preflight import check_runs


@pytest.fixture
def checkpoint(tmp_path: Path) -> MTRL:
    torch.manual_seed(5)
    config = ModelConfig("test_resnet", (32, 16), mean=(0.1, 0.2, 0.3), pooling="avg", num_identities=4)
    model = MTRL(config)
    with torch.no_grad():
        model.neck.norm.running_mean += 0.5
    model.save_pretrained(tmp_path / "from", include_classifier=True)
    return load_pretrained(tmp_path / "from")


def test_every_weight_but_the_classifier(checkpoint: MTRL, tmp_path: Path) -> None:
    run = settings(tmp_path / "run", init=str(tmp_path / "from"), pretrained=True)
    model = seeded_model(run, 7)
    theirs = checkpoint.state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(value, theirs[name]) == ("classifier" not in name), name
    assert model.neck.classifier is not None and len(model.neck.classifier.weight) == 7
    assert (model.config.mean, model.config.pooling) == ((0.1, 0.2, 0.3), "avg")
    said = starting_weights(run)
    assert str(tmp_path / "from") in said["source"] and checkpoint.fingerprint()[:16] in said["source"]
    assert (
        seeded_model(settings(tmp_path / "run", init=str(tmp_path / "from"), pooling="gem"), 7).config.pooling
        == "gem"
    )


@pytest.mark.parametrize("stem", ["dual", "embedding"])
def test_a_shared_stem_becomes_one_that_knows_the_modality(
    checkpoint: MTRL, tmp_path: Path, stem: str
) -> None:
    model = seeded_model(settings(tmp_path / "run", init=str(tmp_path / "from"), stem=stem), 7).eval()
    images = torch.rand(2, 3, 32, 16)
    expected = checkpoint.backbone(images)
    for modality in Modality:
        assert torch.equal(model.backbone(images, modality), expected)
    model.save_pretrained(tmp_path / "changed")
    assert torch.equal(load_pretrained(tmp_path / "changed").backbone(images, Modality.INFRARED), expected)


def test_the_command_starts_there_and_resumes(checkpoint: MTRL, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [*ONE_STEP, "--init", str(tmp_path / "from"), "--lr", "0", "--output", str(run)]
    assert main(words) == 0
    body = "backbone.body.conv1.weight"
    name = (
        body
        if body in checkpoint.state_dict()
        else next(n for n in checkpoint.state_dict() if n.endswith("weight"))
    )
    assert torch.equal(load_pretrained(run).state_dict()[name], checkpoint.state_dict()[name])
    record = json.loads((run / "environment.json").read_text())
    assert "the checkpoint" in record["starting_weights"]["source"]
    assert main([*words, "--resume", "--epochs", "2"]) == 0


def test_a_checkpoint_that_does_not_fit_says_what_would(checkpoint: MTRL, tmp_path: Path) -> None:
    MTRL(ModelConfig("test_resnet", (32, 16), stem="dual")).save_pretrained(tmp_path / "two")
    other = settings(tmp_path / "run", init=str(tmp_path / "two"))
    with pytest.raises(
        ValueError,
        match=r"tensors or strides differ, first backbone.*absent.*--backbone test_resnet .*--stem dual",
    ):
        check_runs([other])
    coarser = settings(tmp_path / "run", init=str(tmp_path / "from"), last_stride=2)
    with pytest.raises(
        ValueError,
        match=r"first \S*layer4\S*\.stride, \[1, 1\] there and \[2, 2\] here.*--last-stride 1 --patch-stride 0",
    ):
        seeded_model(coarser, 7)
    with pytest.raises(FileNotFoundError, match="there is no such folder"):
        check_runs([settings(tmp_path / "run", init=str(tmp_path / "nowhere"))])


def test_settings_that_compute_the_same_fit(tmp_path: Path) -> None:
    MTRL(ModelConfig("test_vit", (32, 16), pooling="token", last_stride=2)).save_pretrained(tmp_path / "vit")
    vit = {"init": str(tmp_path / "vit"), "backbone": "test_vit", "image_size": (32, 16), "pooling": "token"}
    seeded_model(settings(tmp_path / "run", **vit, last_stride=1, patch_stride=16), 7)  # the patch's size
    with pytest.raises(ValueError, match=r"first \S*proj\.stride, \[16, 16\] there and \[8, 8\] here"):
        seeded_model(settings(tmp_path / "run", **vit, patch_stride=8), 7)


def test_the_command_line_ends_with_2(
    checkpoint: MTRL, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "--size",
        "tiny",
        "--hold-out",
        "0",
        "--init",
        str(tmp_path / "from"),
        "--output",
        str(tmp_path / "run"),
    ]
    with pytest.raises(SystemExit) as ended:
        cli.run(lambda: main(words))
    assert ended.value.code == 2
    assert "does not fit" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_a_file_of_weights_that_does_not_fit_names_the_tensor(tmp_path: Path) -> None:
    weights = timm.create_model("test_resnet", num_classes=0).state_dict()
    name = next(n for n, value in weights.items() if value.ndim == 4)
    weights[name] = torch.zeros(3, 3, 3, 3)
    save_file(weights, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=rf"size mismatch for {name}.*3, 3, 3, 3"):
        MTRL(ModelConfig("test_resnet", (64, 32)), pretrained=tmp_path / "w.safetensors")
