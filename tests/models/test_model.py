"""The model: any backbone, one trunk, no trace of the training losses; `encode` is preprocess and forward."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import threading
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn.functional import interpolate, normalize

from mtrl import MTRL, load_pretrained
from mtrl.models.backbone import default_config
from mtrl.models.config import Modality, ModelConfig
from mtrl.models.head import gem, pool
from mtrl.translate import load_translator

SMALL = ModelConfig("resnet10t", (64, 32), backbone_args={"channels": [8, 16, 24, 32]}, num_identities=5)


def build(config: ModelConfig, seed: int = 0) -> MTRL:
    """A model whose normalisation layers have seen data, so that each of them matters."""
    if not timm.is_model(config.backbone):
        pytest.skip(f"this timm has no {config.backbone}")
    torch.manual_seed(seed)
    model = MTRL(config)
    model.train()
    with torch.no_grad():
        model(torch.randn(8, 3, *config.image_size), torch.arange(8) % 2)
    return model.eval()


def pil_images(count: int, seed: int = 0) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    return [
        Image.fromarray(rng.integers(0, 256, (20 + 7 * i % 50, 15 + 3 * i % 20, 3), dtype=np.uint8))
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def model() -> MTRL:
    return build(SMALL)


@pytest.mark.parametrize(
    ("backbone", "size", "pooling", "arguments"),
    [
        ("resnet10t", (96, 48), "gem", {"channels": [32, 64, 128, 256]}),
        ("test_resnet", (64, 32), "avg", {}),
        ("test_efficientnet", (64, 32), "gem", {}),
        ("test_convnext", (64, 32), "gem", {}),
        ("test_mambaout", (64, 32), "gem", {}),  # gives [B,h,w,C]
        ("test_byobnet", (64, 32), "gem", {}),
        ("test_maxvit", (128, 64), "gem", {}),
        ("test_vit", (128, 64), "token", {}),
        ("test_vit", (128, 64), "gem", {}),
        ("test_vit_relpos", (128, 64), "token", {}),  # has no class token
        ("vit_tiny_patch16_224", (128, 64), "token", {"depth": 2}),
        ("eva02_tiny_patch14_224", (112, 56), "token", {"depth": 2}),
        ("swin_tiny_patch4_window7_224", (128, 64), "avg", {"depths": [1, 1, 1, 1], "embed_dim": 24}),
    ],
)
def test_backbones_and_shapes(backbone: str, size: tuple[int, int], pooling: str, arguments: dict) -> None:
    model = build(ModelConfig(backbone, size, pooling=pooling, backbone_args=arguments, num_identities=4))
    images = torch.randn(3, 3, *size)
    features = model(images)
    assert features.pooled.shape == features.embedding.shape == (3, model.dim)
    assert features.logits is not None and features.logits.shape == (3, 4)
    body = model.backbone.body.forward_features(images)
    if body.ndim == 3:
        has_class = getattr(model.backbone.body, "cls_token", None) is not None
        patches = body[:, 1:] if has_class else body
        tokens = body[:, 0] if has_class else patches.mean(1)
        wanted = tokens if pooling == "token" else patches.clamp(min=1e-6).pow(3).mean(1).pow(1 / 3)
    else:
        flat = (body.permute(0, 3, 1, 2) if body.shape[3] == model.dim else body).flatten(2)
        wanted = flat.mean(2) if pooling == "avg" else flat.clamp(min=1e-6).pow(3).mean(2).pow(1 / 3)
    assert torch.allclose(features.pooled, wanted, atol=1e-5)
    norm = model.neck.norm
    neck = (wanted - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight
    assert torch.allclose(features.embedding, neck, atol=1e-4)
    assert torch.allclose(features.logits, features.embedding @ model.neck.classifier.weight.T, atol=1e-5)


def test_every_parameter_is_used() -> None:
    for config in (
        SMALL,
        ModelConfig("test_vit", (128, 64), num_identities=2),
        ModelConfig("test_convnext", (64, 32)),
    ):
        model = build(config)
        features = model(torch.randn(2, 3, *config.image_size))
        (
            features.embedding.square().sum() + (0 if features.logits is None else features.logits.sum())
        ).backward()
        unused = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert unused in ([], ["backbone.body.cls_token"])  # gem pools the patches
        assert not model.neck.norm.bias.requires_grad


def test_gem_is_finite_and_between_mean_and_maximum() -> None:
    x = torch.rand(4, 5, 6, 3)
    assert (gem(x, (2, 3)) >= x.mean((2, 3)) - 1e-6).all() and (gem(x, (2, 3)) <= x.amax((2, 3)) + 1e-6).all()
    zeros = torch.zeros(1, 2, 3, 3, requires_grad=True)
    gem(zeros, (2, 3)).sum().backward()
    assert torch.isfinite(zeros.grad).all()
    assert torch.isfinite(gem(torch.full((1, 1, 2, 2), 1e10), (2, 3))).all()


RESNETS = [
    "resnet18",
    "resnet50",
    "resnet50d",
    "resnetblur18",
    "resnetaa50",
    "res2net50_26w_4s",
    "resnest14d",
    "skresnet18",
    "resnet10t",
]


@pytest.mark.parametrize("name", RESNETS)
def test_last_stride_one_doubles_the_map_and_keeps_the_weights(name: str) -> None:
    x = torch.zeros(2, 3, 64, 32, device="meta")
    with torch.device("meta"):
        fine = MTRL(ModelConfig(name, (64, 32))).backbone.body
        coarse = MTRL(ModelConfig(name, (64, 32), last_stride=2)).backbone.body
    assert fine.forward_features(x).shape[2:] == (4, 2)
    assert coarse.forward_features(x).shape[2:] == (2, 1)
    shapes = {n: v.shape for n, v in coarse.state_dict().items() if not n.endswith("filt")}
    assert {n: v.shape for n, v in fine.state_dict().items() if not n.endswith("filt")} == shapes


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_last_stride_one_computes_the_same_function_on_a_finer_grid(name: str) -> None:
    arguments = {"channels": [8, 16, 24, 32]}
    fine = build(ModelConfig(name, (64, 32), backbone_args=arguments)).backbone.body
    coarse = build(ModelConfig(name, (64, 32), backbone_args=arguments, last_stride=2)).backbone.body
    coarse.load_state_dict(fine.state_dict())
    x = torch.randn(2, fine.layer4[0].conv1.in_channels, 8, 6)
    assert torch.allclose(fine.layer4[0](x)[:, :, ::2, ::2], coarse.layer4[0](x), atol=1e-5)


def test_the_losses_leave_no_trace(model: MTRL) -> None:
    """Nothing about the training method is in a model's configuration, so the tensors cannot depend on it."""
    names = set(inspect.signature(ModelConfig).parameters)
    assert names == {
        "backbone", "image_size", "mean", "std", "stem", "pooling", "last_stride", "patch_stride", "backbone_args",
            "num_identities",
    }  # fmt: skip
    plain = timm.create_model("resnet10t", num_classes=0, channels=[8, 16, 24, 32]).state_dict()
    neck = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
    wanted = (
        {f"backbone.body.{n}" for n in plain} | {f"neck.norm.{n}" for n in neck} | {"neck.classifier.weight"}
    )
    assert set(model.state_dict()) == wanted


@pytest.mark.parametrize(
    "backbone", ["test_resnet", "test_efficientnet", "test_convnext", "test_vit", "test_maxvit"]
)
def test_dual_stem_copies_the_stem_alone(backbone: str) -> None:
    size = (128, 64)
    shared = build(ModelConfig(backbone, size))
    torch.manual_seed(0)
    dual = MTRL(ModelConfig(backbone, size, stem="dual")).eval()
    count = {n: sum(p.numel() for p in m.parameters()) for n, m in (("shared", shared), ("dual", dual))}
    assert count["dual"] == count["shared"] + sum(p.numel() for p in dual.backbone.stems[1].parameters())
    # With the weights of the shared model in both stems it computes the same.
    for stem in dual.backbone.stems:
        for name, module in stem.named_children():
            module.load_state_dict(getattr(shared.backbone.body, name).state_dict())
    trunk = dict(shared.backbone.body.state_dict())
    left = dual.backbone.body.load_state_dict(trunk, strict=False)
    assert not left.missing_keys
    dual.neck.load_state_dict(shared.neck.state_dict())
    images, modality = torch.randn(6, 3, *size), torch.tensor([1, 0, 0, 1, 1, 0])
    assert torch.allclose(dual(images, modality).embedding, shared(images).embedding, atol=1e-5)
    # A changed infrared stem changes infrared rows, and no others.
    before = dual(images, modality).embedding
    with torch.no_grad():
        next(iter(dual.backbone.stems[1].parameters())).mul_(-1.5)
    changed = (dual(images, modality).embedding - before).abs().amax(1) > 1e-4
    assert changed.tolist() == modality.bool().tolist()
    assert torch.allclose(dual(images[:3], Modality.VISIBLE).embedding[1:], before[1:3], atol=1e-5)
    assert torch.allclose(dual(images[1:3], modality[1:3]).embedding, before[1:3], atol=1e-5)


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"])
def test_a_modality_embedding_is_added_in_training_alone(backbone: str) -> None:
    size = (128, 64)
    shared = build(ModelConfig(backbone, size))
    model = MTRL(ModelConfig(backbone, size, stem="embedding"))
    (stem,) = model.backbone.stems  # type: ignore[misc]
    for name, module in stem.named_children():
        module.load_state_dict(getattr(shared.backbone.body, name).state_dict())
    model.backbone.body.load_state_dict(shared.backbone.body.state_dict(), strict=False)
    model.neck.load_state_dict(shared.neck.state_dict())
    vector = model.backbone.modality_embedding.vector  # type: ignore[union-attr]
    more = sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in shared.parameters())
    assert more == len(vector) > 1 and vector.count_nonzero() == 0
    with torch.no_grad():
        vector.copy_(torch.linspace(-0.5, 0.5, len(vector)))
    images, modality = torch.rand(4, 3, *size), torch.tensor([1, 0, 0, 1])
    # In evaluation it is the network with a shared stem, whatever the modality, and without one.
    wanted = shared(images).embedding
    model.eval()
    for kind in (modality, Modality.INFRARED, None):
        torch.testing.assert_close(model(images, kind).embedding, wanted, rtol=1e-5, atol=1e-5)
    # In training it adds the vector to visible images and subtracts it from infrared ones, channel by channel.
    seen: list[torch.Tensor] = []
    model.train()
    hook = model.backbone.modality_embedding.register_forward_hook(  # type: ignore[union-attr]
        lambda module, inputs, output: seen.extend([inputs[0], output])
    )
    model(images, modality).pooled.sum().backward()
    hook.remove()
    signs = [-1, 1, 1, -1]
    for row, sign in enumerate(signs):
        added = (seen[1] - seen[0])[row]
        moved = added.movedim(added.shape.index(len(vector)), -1)
        torch.testing.assert_close(moved, (sign * vector).expand_as(moved), rtol=1e-4, atol=1e-5)
    assert vector.grad is not None and vector.grad.count_nonzero() > 0
    for kind, message in ((None, 'stem="embedding" needs the modality'), (modality[:3], "one entry")):
        with pytest.raises(ValueError, match=message):
            model(images, kind)


@pytest.mark.parametrize("backbone", ["swin_tiny_patch4_window7_224", "test_vit", "resnet10t"])
def test_a_modality_embedding_finds_the_channels(backbone: str) -> None:
    """Maps are as high as there are channels: only the axis tells the two apart."""
    arguments = {"depths": [1, 1], "embed_dim": 32, "num_heads": [1, 1]} if "swin" in backbone else {}
    size = {"swin_tiny_patch4_window7_224": (128, 64), "test_vit": (1024, 64), "resnet10t": (256, 64)}[
        backbone
    ]
    model = MTRL(ModelConfig(backbone, size, stem="embedding", pooling="avg", backbone_args=arguments))
    embedding, (stem,) = model.backbone.modality_embedding, model.backbone.stems
    with torch.no_grad():
        embedding.vector.copy_(torch.arange(len(embedding.vector)))
        x = stem(torch.rand(2, 3, *size))
        added = embedding(x, torch.tensor([0, 1])) - x
    axis = 1 if backbone == "resnet10t" else added.ndim - 1
    assert x.shape[axis] == len(embedding.vector)
    moved = added.movedim(axis, -1)
    for row, sign in enumerate((1, -1)):
        torch.testing.assert_close(
            moved[row], (sign * embedding.vector).expand_as(moved[row]), atol=1e-4, rtol=0
        )


@pytest.mark.parametrize("backbone", ["pvt_v2_b0", "mambaout_femto", "hiera_tiny_224"])
def test_a_modality_embedding_refuses_stems_whose_channels_are_not_known(backbone: str) -> None:
    with pytest.raises(ValueError, match="is known for"), torch.device("meta"):
        MTRL(ModelConfig(backbone, (128, 64), stem="embedding", pooling="avg"))


def test_a_modality_embedding_is_saved_and_loaded(tmp_path: Path) -> None:
    model = MTRL(ModelConfig("test_vit", (64, 32), stem="embedding"))
    with torch.no_grad():
        model.backbone.modality_embedding.vector.fill_(0.25)  # type: ignore[union-attr]
    model.save_pretrained(tmp_path)
    again = load_pretrained(tmp_path)
    assert torch.equal(again.backbone.modality_embedding.vector, torch.full((64,), 0.25))  # type: ignore[union-attr]
    images = pil_images(2)
    assert torch.equal(again.encode(images, "infrared"), model.encode(images, "visible"))


def test_dual_stem_errors() -> None:
    dual = MTRL(ModelConfig("test_resnet", (64, 32), stem="dual")).eval()
    images = torch.zeros(2, 3, 64, 32)
    for modality, message in (
        (None, "needs the modality"),
        (torch.zeros(3), "one entry"),
        (torch.tensor([0, 2]), "0 "),
    ):
        with pytest.raises(ValueError, match=message):
            dual(images, modality)
    with torch.device("meta"), pytest.raises(ValueError, match="is known for"):
        MTRL(ModelConfig("densenet121", (64, 32), stem="dual"))
    tuples = MTRL(ModelConfig("xcit_nano_12_p16_224", (64, 32), stem="dual", backbone_args={"depth": 1}))
    with pytest.raises(ValueError, match="is known for"):
        tuples(images, Modality.INFRARED)


def test_encode_is_preprocess_and_forward(model: MTRL) -> None:
    images = pil_images(7)
    mean, std = torch.tensor(SMALL.mean).view(1, 3, 1, 1), torch.tensor(SMALL.std).view(1, 3, 1, 1)
    rows = []
    for image in images:
        x = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
        x = interpolate(x, SMALL.image_size, mode="bilinear", antialias=True).float() / 255
        rows.append(normalize(model((x - mean) / std).embedding)[0])
    wanted = torch.stack(rows).detach()
    features = model.encode(images, "visible", batch_size=3)
    assert features.dtype == torch.float32 and features.device.type == "cpu"
    assert not features.requires_grad and not features.is_inference()
    assert torch.allclose(features, wanted, atol=1e-5)
    assert torch.allclose(features.norm(dim=1), torch.ones(7), atol=1e-6)
    manual = normalize(model(model.preprocess(images)).embedding)
    assert torch.allclose(features, manual, atol=1e-5)


def test_encode_takes_paths_arrays_and_tensors_alike(model: MTRL, tmp_path: Path) -> None:
    images = [image.resize((40, 60)) for image in pil_images(9)]
    paths = [tmp_path / f"{row}.png" for row in range(9)]
    for image, path in zip(images, paths, strict=True):
        image.save(path)
    wanted = model.encode(images)
    tensor = torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in images])
    for other in (
        paths,
        [str(p) for p in paths],
        [np.array(i) for i in images],
        tensor,
        tensor.float() / 255,
    ):
        assert torch.allclose(model.encode(other, "infrared", 4), wanted, atol=1e-5)
    assert torch.equal(model.encode(images, batch_size=4), model.encode(images, batch_size=4))
    same = [Image.open(paths[0])] * 12  # one lazy image many times, decoded by one thread only
    assert torch.allclose(model.encode(same), wanted[:1].expand(12, -1), atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(count=st.integers(0, 9), batch_size=st.integers(1, 10))
def test_order_and_batches_do_not_matter(count: int, batch_size: int) -> None:
    model = MODEL
    images = torch.randint(
        0, 256, (9, 3, 30, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    wanted = model.encode(images)[:count]
    features = model.encode(images[:count], batch_size=batch_size)
    assert features.shape == (count, model.dim)
    assert torch.allclose(features, wanted, atol=1e-5)


MODEL = build(SMALL)


def test_encode_leaves_the_mode_of_every_part(model: MTRL) -> None:
    wanted = model.encode(pil_images(2))
    model.train()
    model.backbone.body.bn1.eval()
    statistics = model.neck.norm.running_mean.clone()
    assert torch.equal(model.encode(pil_images(2)), wanted)
    assert model.training and model.neck.norm.training and not model.backbone.body.bn1.training
    assert torch.equal(model.neck.norm.running_mean, statistics)
    with pytest.raises(ValueError, match="image 1"):
        model.encode([pil_images(1)[0], np.zeros(3)])
    assert model.training
    model.eval()


def test_encode_from_many_threads(model: MTRL) -> None:
    images = pil_images(6)
    wanted = model.encode(images)
    results: list[torch.Tensor] = []
    threads = [
        threading.Thread(target=lambda: results.append(model.encode(images, batch_size=2))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4 and all(torch.allclose(r, wanted, atol=1e-5) for r in results)


def test_bad_input_to_encode(model: MTRL, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_text("x")
    cases = [
        ([tmp_path / "bad.jpg"], {}, r"bad\.jpg"),
        (["none.jpg"], {}, r"none\.jpg"),
        ("photo.jpg", {}, "list of images"),
        ([None], {}, "image 0"),
        (torch.full((1, 3, 8, 8), float("nan")), {}, "finite"),
        (torch.full((1, 3, 8, 8), 255.0), {}, "uint8"),
        (torch.zeros(3, 8, 8), {}, r"\[N,3,H,W\]"),
        (pil_images(1), {"modality": "thermal"}, "visible"),
        (pil_images(1), {"batch_size": 0}, "batch_size"),
    ]
    for images, options, message in cases:
        with pytest.raises((ValueError, OSError), match=message):
            model.encode(images, **options)


def test_degenerate_images_give_finite_features(model: MTRL) -> None:
    images = torch.stack([torch.zeros(3, 64, 32), torch.ones(3, 64, 32)])
    assert torch.isfinite(model.encode(images)).all()
    fresh = MTRL(SMALL)
    with torch.no_grad():
        for parameter in fresh.backbone.parameters():
            parameter.zero_()
    assert torch.isfinite(fresh.encode(images)).all()


@pytest.mark.parametrize(
    "name, stem", [("test_resnet", "shared"), ("test_resnet", "dual"), ("test_vit", "shared")]
)
def test_models_of_every_precision_encode(name: str, stem: str) -> None:
    torch.manual_seed(0)
    model = build(default_config(name, (64, 32), stem=stem))
    wanted = model.encode(pil_images(3), "infrared")
    for convert, least in ((MTRL.half, 0.9999), (MTRL.bfloat16, 0.999), (MTRL.double, 0.99999)):
        other = convert(copy.deepcopy(model))
        for bf16 in (False, True):
            features = other.encode(pil_images(3), "infrared", bf16=bf16)
            assert features.dtype == torch.float32
            assert torch.allclose(features.norm(dim=1), torch.ones(3), atol=1e-5)
            assert ((features * wanted).sum(1) > least).all()
        assert other.preprocess(pil_images(1)).dtype == next(other.parameters()).dtype
    exact = copy.deepcopy(model).half().preprocess(pil_images(2)).float()
    assert (
        exact - model.preprocess(pil_images(2))
    ).abs().max() < 0.002  # mean and std themselves are not rounded


def test_bf16_is_close(model: MTRL) -> None:
    coarse = model.encode(pil_images(3), bf16=True)
    assert coarse.dtype == torch.float32
    assert ((coarse * model.encode(pil_images(3))).sum(1) > 0.99).all()
    with torch.autocast("cpu", torch.bfloat16):
        features = model(torch.randn(2, 3, 64, 32))
    assert features.pooled.dtype == features.embedding.dtype == features.logits.dtype == torch.float32


def test_impossible_models_are_refused() -> None:
    for config, message in [
        (ModelConfig("resnet51"), "timm knows no model"),
        (ModelConfig("hf-hub:user/repo"), "timm knows no model"),
        (ModelConfig("resnet18", backbone_args={"chanels": 3}), "timm cannot build resnet18"),
        (ModelConfig("resnet18", backbone_args={"checkpoint_path": "x.pth"}), "may not set"),
        (ModelConfig("resnet18", backbone_args={"pretrained_cfg": {"file": "x"}}), "may not set"),
    ]:
        with pytest.raises(ValueError, match=message):
            MTRL(config)
    with pytest.raises(ValueError, match="needs a backbone with tokens"):
        MTRL(ModelConfig("test_resnet", (64, 32), pooling="token"))(torch.zeros(2, 3, 64, 32))


def test_pretrained_offline_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(OSError, match="pretrained=False"):
        MTRL(ModelConfig("test_resnet", (64, 32)), pretrained=True)
    with pytest.raises(FileNotFoundError, match="safetensors"):
        MTRL(ModelConfig("test_resnet", (64, 32)), pretrained=tmp_path / "none.safetensors")


def test_pretrained_from_a_local_file(tmp_path: Path) -> None:
    torch.manual_seed(3)
    source = timm.create_model("test_resnet", num_classes=1000)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    model = MTRL(ModelConfig("test_resnet", (64, 32)), pretrained=tmp_path / "w.safetensors")
    assert torch.equal(model.backbone.body.layer1[0].conv1.weight, source.layer1[0].conv1.weight)
    wrong = ModelConfig("test_resnet", (64, 32), backbone_args={"channels": [8, 8, 8, 8]})
    with pytest.raises(ValueError, match="do not fit"):
        MTRL(wrong, pretrained=tmp_path / "w.safetensors")


def test_default_config_takes_the_weights_own_normalisation() -> None:
    assert default_config("resnet50").mean == (0.485, 0.456, 0.406)
    vit = default_config("vit_small_patch16_224.augreg_in21k", (256, 128), num_identities=3)
    assert (vit.mean, vit.std, vit.num_identities) == ((0.5,) * 3, (0.5,) * 3, 3)
    with pytest.raises(ValueError, match="timm knows no model"):
        default_config("resnet51")


def test_convolutions_lie_channels_last(tmp_path: Path) -> None:
    """New and read again: on a CPU that is a third of their time. Files hold them as everybody expects."""
    MTRL(default_config("test_resnet")).save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    for network in (load_pretrained(tmp_path), load_pretrained(), load_translator("learned")):
        kernels = [weight for weight in network.parameters() if weight.ndim == 4]
        assert kernels and all(w.is_contiguous(memory_format=torch.channels_last) for w in kernels)
    assert all(value.is_contiguous() for value in stored.values())


SWIN = {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 2}


@pytest.mark.parametrize(
    ("backbone", "arguments", "pooling"),
    [
        ("test_resnet", {}, "gem"),
        ("resnetv2_18", {"channels": [8, 16, 24, 32], "stem_chs": 8}, "gem"),
        ("mobilenetv2_050", {}, "gem"),
        ("test_efficientnet", {}, "avg"),  # SiLU
        ("test_nfnet", {}, "avg"),
        ("test_convnext", {}, "avg"),
        ("swin_tiny_patch4_window7_224", SWIN, "avg"),  # [B,h,w,C]
        ("test_vit", {}, "token"),
        ("test_vit2", {}, "avg"),  # a register in front, no class token
        ("eva02_tiny_patch14_224", {"depth": 1}, "avg"),  # a class token, but timm takes the mean
        ("deit_tiny_distilled_patch16_224", {"depth": 1}, "token"),
        ("pit_ti_224", {"depth": [1, 1, 1]}, "token"),  # gives no patch tokens
    ],
)
def test_the_default_pooling_follows_the_backbone(
    backbone: str, arguments: dict, pooling: str, tmp_path: Path
) -> None:
    size = (64, 32) if "patch14" not in backbone else (56, 28)
    stem = "dual" if backbone in ("test_resnet", "test_vit", "test_convnext") else "shared"
    model = build(ModelConfig(backbone, size, stem=stem, backbone_args=arguments))
    assert model.config.pooling == model.backbone.pooling == pooling
    random = torch.Generator().manual_seed(5)
    images = torch.rand(4, 3, *size, generator=random)
    with torch.no_grad():
        x = model.backbone.body.forward_features(
            images if model.backbone.stems is None else model.backbone.stems[0](images)
        )
    negative = float((x < 0).float().mean())
    assert (negative == 0) == (pooling == "gem") and (negative == 0 or negative > 0.25)
    embedding = model.encode(images)
    named = build(dataclasses.replace(model.config, pooling=pooling))
    assert torch.equal(named.encode(images), embedding)  # looking at features changes nothing
    model.save_pretrained(tmp_path)
    assert f'"pooling": "{pooling}"' in (tmp_path / "config.json").read_text()
    assert torch.equal(load_pretrained(tmp_path).encode(images), embedding)


def test_the_default_pooling_needs_weights_and_a_size_that_fits() -> None:
    with torch.device("meta"):
        assert MTRL(ModelConfig("test_resnet", (64, 32))).config.pooling == "auto"
    with pytest.raises(ValueError, match="name its pooling"):
        pool(torch.zeros(2, 8, 4, 2), "auto", channels_last=False, prefix_tokens=0, class_token=False)
    with pytest.raises(ValueError, match="needs patch tokens"):
        pool(torch.zeros(2, 1, 8), "avg", channels_last=False, prefix_tokens=1, class_token=True)
    with pytest.raises(ValueError, match="inception_v3 cannot work on images of 64 x 32"):
        MTRL(ModelConfig("inception_v3", (64, 32)))


def test_building_leaves_the_random_state_and_the_mode_as_they_were() -> None:
    states = []
    for pooling in ("auto", "gem"):
        torch.manual_seed(3)
        model = MTRL(ModelConfig("test_resnet", (64, 32), pooling=pooling))
        assert all(module.training for module in model.modules())
        states.append((torch.random.get_rng_state(), model.state_dict()))
    assert torch.equal(states[0][0], states[1][0])
    assert all(torch.equal(states[1][1][name], value) for name, value in states[0][1].items())
