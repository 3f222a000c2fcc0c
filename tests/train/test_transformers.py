"""The transformer kit: overlapping patches, learning rates by layer, frozen blocks, checkpointing, the grey stage."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from eval.cost.command import compare
from mtrl import MTRL, load_pretrained
from mtrl.data.augment import AugmentConfig, PairedAugment
from mtrl.data.imageset import ReIDData
from mtrl.models.config import ModelConfig
from tests.helpers.runs import settings
from train.build import augment_config, freeze_blocks, seeded_model
from train.optimizer import build_optimizer, layers_of
from train.trainer import Trainer

CONFIG = ModelConfig("test_vit", (64, 32), pooling="token", patch_stride=12)
VIT = {"backbone": "test_vit", "pretrained": False, "image_size": (32, 16), "pooling": "token"}


def test_overlapping_patches_equal_a_loop() -> None:
    torch.manual_seed(0)
    body = MTRL(dataclasses.replace(CONFIG, image_size=(48, 32))).backbone.body
    assert body.pos_embed.shape[1] == 1 + 3 * 2, (
        "((48 - 16) // 12 + 1) x ((32 - 16) // 12 + 1) and the class token: none of a patch that is not whole"
    )
    image = torch.randn(1, 3, 48, 32)
    tokens = body.patch_embed(image).reshape(6, -1)
    proj = body.patch_embed.proj
    for row in range(3):
        for column in range(2):
            patch = image[:, :, 12 * row : 12 * row + 16, 12 * column : 12 * column + 16]
            expected = (proj.weight * patch).sum(dim=(1, 2, 3)) + proj.bias
            assert torch.allclose(tokens[2 * row + column], expected, atol=1e-5)


def test_pretrained_position_embeddings_are_resized(tmp_path: Path) -> None:
    torch.manual_seed(1)
    weights = timm.create_model("test_vit", num_classes=0).state_dict()
    save_file({name: value.contiguous() for name, value in weights.items()}, tmp_path / "w.safetensors")
    body = MTRL(CONFIG, pretrained=tmp_path / "w.safetensors").backbone.body
    assert torch.equal(body.blocks[0].attn.qkv.weight, weights["blocks.0.attn.qkv.weight"])
    assert torch.equal(body.pos_embed[:, :1], weights["pos_embed"][:, :1])
    grid = weights["pos_embed"][:, 1:].reshape(1, 10, 10, -1).permute(0, 3, 1, 2)
    expected = F.interpolate(grid, (5, 2), mode="bicubic", antialias=True).flatten(2).transpose(1, 2)
    assert torch.allclose(body.pos_embed[:, 1:], expected, atol=1e-4)


@pytest.mark.parametrize("stem", ["shared", "dual"])
def test_a_model_with_a_stride_is_saved_and_costs_no_more_than_its_plain_backbone(
    tmp_path: Path, stem: str
) -> None:
    model = MTRL(dataclasses.replace(CONFIG, stem=stem)).eval()
    model.save_pretrained(tmp_path)
    again, images = load_pretrained(tmp_path), torch.randint(0, 256, (2, 3, 64, 32), dtype=torch.uint8)
    assert again.config == model.config and torch.equal(again.encode(images), model.encode(images))
    if stem == "shared":
        assert compare(model)["differences"] == []


def test_without_a_stride_files_and_fingerprints_are_as_before() -> None:
    assert "patch_stride" not in ModelConfig().to_dict() and CONFIG.to_dict()["patch_stride"] == 12
    assert ModelConfig.from_dict(CONFIG.to_dict()) == CONFIG


@pytest.mark.parametrize(
    ("config", "match"),
    [
        (ModelConfig("test_resnet", (64, 32), patch_stride=12), "cannot build|patch_stride is for"),
        (ModelConfig("test_vit", (64, 32), patch_stride=17), "at most the patch's 16 pixels"),
        (
            ModelConfig("test_vit", (64, 32), patch_stride=8, backbone_args={"patch_size": 80}),
            "and the image as large",
        ),
    ],
)
def test_strides_that_cannot_be(config: ModelConfig, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        MTRL(config)
    with pytest.raises(ValueError, match="patch_stride must be 0 to 64"):
        ModelConfig(patch_stride=-1)


def test_learning_rates_fall_from_layer_to_layer() -> None:
    run = settings(Path("x"), **VIT, layer_decay=0.5, backbone_lr=0.8, optimizer="adamw")
    model = seeded_model(run, 3)
    by_id = {id(p): group for group in build_optimizer(model, run).param_groups for p in group["params"]}
    factors = {name: by_id[id(p)]["factor"] for name, p in model.named_parameters() if p.requires_grad}
    depth = len(model.backbone.body.blocks)
    for number in range(depth):
        factor = factors[f"backbone.body.blocks.{number}.mlp.fc1.weight"]
        assert factor == pytest.approx(0.8 * 0.5 ** (depth - 1 - number))
    assert factors["backbone.body.pos_embed"] == pytest.approx(0.8 * 0.5**depth)
    assert factors["backbone.body.norm.weight"] == 0.8 and factors["neck.classifier.weight"] == 1
    decays = {name: by_id[id(p)]["weight_decay"] for name, p in model.named_parameters() if p.requires_grad}
    assert decays["backbone.body.pos_embed"] == decays["backbone.body.cls_token"] == 0
    assert decays["backbone.body.blocks.0.mlp.fc1.weight"] == run.weight_decay
    dual = seeded_model(dataclasses.replace(run, stem="dual"), 3)
    assert {layer for name, layer in layers_of(dual).items() if ".stems." in name} == {0}
    assert len(build_optimizer(model, dataclasses.replace(run, layer_decay=1.0)).param_groups) == 4


@pytest.mark.parametrize("backbone", ["test_vit", "test_resnet"])
def test_frozen_blocks_stay_as_they_are(tmp_path: Path, data: ReIDData, backbone: str) -> None:
    small = {**VIT, "backbone": backbone, "pooling": "auto"}
    run = settings(tmp_path / "run", **small, freeze_blocks=2, epochs=1, ema=0)
    trainer = Trainer(run, data)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    layers = layers_of(trainer.model)
    trainer.run()
    after = trainer.model.state_dict()
    frozen = [name for name, layer in layers.items() if layer <= 2]
    assert frozen and all(torch.equal(before[name], after[name]) for name in frozen)
    moved = [
        name for name, layer in layers.items() if layer > 2 and not torch.equal(before[name], after[name])
    ]
    assert len(moved) > 0.9 * sum(layer > 2 for layer in layers.values())
    places = {name.rpartition(".")[0] for name in frozen}
    statistics = [name for name in before if name.rpartition(".")[0] in places and "running" in name]
    assert all(torch.equal(before[name], after[name]) for name in statistics)
    with pytest.raises(ValueError, match="and one at least is trained"):
        seeded_model(dataclasses.replace(run, freeze_blocks=99), 3)


def test_a_final_norm_is_no_block_that_is_trained() -> None:
    model = MTRL(ModelConfig("densenet121", (32, 32), pooling="avg"))
    assert max(layers_of(model).values()) == 59, "timm counts the last norm"
    with pytest.raises(ValueError, match="densenet121 has 58 blocks, and one at least is trained"):
        freeze_blocks(model, 58)
    freeze_blocks(model, 57)
    trained = [name for name, parameter in model.backbone.named_parameters() if parameter.requires_grad]
    assert any(".conv" in name for name in trained)


@pytest.mark.parametrize(("backbone", "blocks"), [("mobilenetv3_small_050", 12), ("test_efficientnet", 5)])
def test_a_convolution_behind_the_blocks_is_none(backbone: str, blocks: int) -> None:
    model = MTRL(ModelConfig(backbone, (32, 32), pooling="avg"))
    with pytest.raises(ValueError, match=f"{backbone} has {blocks} blocks, and one at least is trained"):
        freeze_blocks(model, blocks)
    freeze_blocks(model, blocks - 1)
    trained = [name for name, parameter in model.backbone.named_parameters() if parameter.requires_grad]
    assert any(".blocks." in name for name in trained)


def test_checkpointing_changes_memory_and_nothing_else(tmp_path: Path, data: ReIDData) -> None:
    states = []
    for on in (False, True):
        run = settings(tmp_path / str(on), **VIT, grad_checkpointing=on, epochs=1, batches=2)
        trainer = Trainer(run, data)
        assert trainer.model.backbone.body.grad_checkpointing == on
        trainer.run()
        states.append(trainer.model.state_dict())
    assert all(torch.allclose(value, states[1][name], atol=1e-6) for name, value in states[0].items())
    with pytest.raises(ValueError, match="counts batch statistics twice"):
        seeded_model(settings(tmp_path / "x", grad_checkpointing=True), 3)


def test_the_first_epochs_are_grey(tmp_path: Path, data: ReIDData, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[AugmentConfig] = []
    original = PairedAugment.__init__

    def note(self: PairedAugment, config: AugmentConfig) -> None:
        seen.append(config)
        original(self, config)

    monkeypatch.setattr(PairedAugment, "__init__", note)
    Trainer(settings(tmp_path / "run", grey_epochs=1, channel="exchange"), data).run()
    assert [(config.channel, config.channel_prob) for config in seen] == [("grey", 1.0), ("exchange", 0.5)]
    run = settings(tmp_path / "other", erase=0.0)
    trainer = Trainer(run, data)
    batch = next(trainer.pipeline.epoch(0, PairedAugment(augment_config(run, erase=False, grey=True))))
    scale = trainer.pipeline.scale
    visible = batch.images[: batch.layout.visible] * torch.tensor(scale.std).view(3, 1, 1)
    visible = visible + torch.tensor(scale.mean).view(3, 1, 1)
    assert torch.allclose(visible[:, 0], visible[:, 1], atol=2e-2) and visible.std() > 0.05


def test_settings_out_of_range(tmp_path: Path) -> None:
    wrong = {"layer_decay": (0.0, r"layer_decay must be in \(0, 1\]"), "freeze_blocks": (-1, "negative")}
    for changes, match in (({name: value}, text) for name, (value, text) in wrong.items()):
        with pytest.raises(ValueError, match=match):
            settings(tmp_path, **changes)
    assert json.loads(json.dumps(settings(tmp_path, patch_stride=12).fixed()))


def test_a_modality_embedding_is_trained_with_the_first_layer_and_not_frozen(
    tmp_path: Path, data: ReIDData
) -> None:
    run = settings(
        tmp_path / "run", **VIT, stem="embedding", freeze_blocks=1, layer_decay=0.5, epochs=1, ema=0
    )
    trainer = Trainer(run, data)
    name = "backbone.modality_embedding.vector"
    assert layers_of(trainer.model)[name] == 0
    free = {n for n, parameter in trainer.model.named_parameters() if parameter.requires_grad}
    assert name in free and not any(n.startswith("backbone.stems.") for n in free)
    trainer.run()
    vector = load_pretrained(tmp_path / "run").backbone.modality_embedding.vector  # type: ignore[union-attr]
    assert vector.count_nonzero() == len(vector)
