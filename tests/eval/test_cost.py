"""Training with transition images leaves nothing behind at inference, and the proof notices when something does."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from eval.cost import command as cost
from eval.cost.plain_model import PlainModel
from mtrl import MTRL
from mtrl.models.config import ModelConfig
from train.settings import METHODS, parse

torch.set_num_threads(1)
SMALL = ModelConfig("resnet10t", (64, 32), backbone_args={"channels": [8, 16, 24, 32]})


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        ModelConfig("resnet10t", (64, 32), stem="dual", backbone_args={"channels": [8, 16, 24, 32]}),
        ModelConfig("test_vit", (128, 64), pooling="token"),
        ModelConfig("test_mambaout", (64, 32)),
    ],
    ids=lambda config: f"{config.backbone}-{config.stem}",
)
def test_nothing_but_the_backbone_runs(config: ModelConfig) -> None:
    record = cost.compare(MTRL(config).eval())
    assert record["differences"] == []
    plain, path = record["paths"]["plain"], record["paths"]["checkpoint"]["infrared"]
    assert path["flops"] == plain["flops"] > 100_000 and path["operations"] == plain["operations"]


def test_figures_of_a_network_that_can_be_counted_by_hand() -> None:
    path = cost.compare(MTRL(SMALL))["paths"]["checkpoint"]["visible"]
    stem = [entry for entry in path["modules"] if entry[0].startswith("backbone.body.conv1")]
    first = next(entry for entry in stem if entry[1] == "Conv2d")
    assert first[3] == "[[24, 3, 3, 3]]" and first[4] == "[1, 24, 32, 16]"
    convolutions = [m for m in MTRL(SMALL).backbone.modules() if isinstance(m, nn.Conv2d)]
    shapes = [entry[4] for entry in path["modules"] if entry[1] == "Conv2d"]
    flops = 0
    for module, shape in zip(convolutions, _in_order(path, convolutions), strict=True):
        _, _, height, width = shape
        flops += 2 * module.weight.numel() * height * width
    assert len(shapes) == len(convolutions) and path["flops"] == flops
    model = MTRL(SMALL)
    assert path["parameters"] == sum(parameter.numel() for parameter in model.parameters())


def _in_order(path: dict, convolutions: list[nn.Conv2d]) -> list[list[int]]:
    """Output shapes of the convolutions, in the order of the model's modules."""
    names = [name for name, m in MTRL(SMALL).named_modules() if isinstance(m, nn.Conv2d)]
    shapes = {entry[0]: json.loads(entry[4]) for entry in path["modules"]}
    return [shapes[name] for name in names]


class Shifted(nn.Module):
    """A neck's normalisation with an operation more, and no parameter."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x) + 0.5


def test_an_added_layer_or_operation_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    model = MTRL(SMALL).eval()
    monkeypatch.setattr(cost, "load_pretrained", lambda source: model)
    target = tmp_path / "cost.json"
    command = ["--rounds", "0", "--json", str(target), "--table", str(tmp_path / "cost.md")]
    assert cost.main(command) == 0
    record = json.loads(target.read_text())
    assert record["differences"] == [] and "order: yes." in (tmp_path / "cost.md").read_text()
    norm = model.neck.norm
    model.neck.norm = nn.Sequential(nn.Linear(32, 32, bias=False), norm)
    assert cost.main(command) == 1
    said = capsys.readouterr().err
    assert (
        "tensors of the checkpoint and of the baseline" in said
        and "flops, visible, plain timm backbone" in said
    )
    model.neck.norm = Shifted(norm)
    assert cost.main(command) == 1
    assert "operations, infrared, baseline" in capsys.readouterr().err


def test_every_method_builds_the_same_network() -> None:
    built = [parse(["--size", "tiny", "--method", method]).model_config(7) for method in METHODS]
    assert all(config == built[0] for config in built)
    tensors = [{n: v.shape for n, v in MTRL(config).state_dict().items()} for config in built[:2]]
    assert tensors[0] == tensors[1]


def test_latency_is_paired() -> None:
    record = cost.latency(MTRL(SMALL), [2], 3)[0]
    assert record["batch"] == 2 and record["rounds"] == 3 and record["seconds"] > 0
    low, high = record["ratio_quartiles"]
    assert low <= record["ratio"] <= high
    model = MTRL(SMALL)
    plain = PlainModel(model.config).eval()
    model.backbone.body.load_state_dict(plain.body.state_dict())
    images = torch.randint(0, 256, (3, 3, 64, 32), dtype=torch.uint8)
    torch.testing.assert_close(plain.encode(images), model.encode(images))  # they are timed on the same work


def test_parameters_of_training_alone_are_named_and_counted() -> None:
    config = dataclasses.replace(SMALL, stem="embedding")
    record = cost.compare(MTRL(config))
    assert record["differences"] == []
    assert record["training_parameters"] == {"backbone.modality_embedding.vector": 64}
    stored = record["stored_parameters"]
    assert stored["checkpoint"] == stored["baseline"] == stored["plain"] + 64
    assert "only training uses: backbone.modality_embedding.vector (64)" in cost.table(record)
    assert cost.compare(MTRL(SMALL))["training_parameters"] == {}
