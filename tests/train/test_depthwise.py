"""Depthwise convolutions on a CPU: what they compute stays, on a padded map and in float32."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import timm
import torch

from mtrl.data.imageset import ReIDData
from tests.helpers.runs import colour_people, settings
from train.depthwise import faster_depthwise
from train.trainer import Trainer


def test_depthwise_convolutions_compute_in_float32_on_a_cpu() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 1), torch.nn.Conv2d(8, 8, 3, groups=8), torch.nn.Conv2d(8, 4, 1)
    )
    names, images = list(model.state_dict()), torch.rand(2, 3, 8, 8)
    before = model(images)
    faster_depthwise(model, "bf16")
    assert torch.equal(model(images), before) and list(model.state_dict()) == names
    assert type(model[0]) is torch.nn.Conv2d is not type(model[1])
    with torch.autocast("cpu", torch.bfloat16):
        inside = model[0](images)
        assert inside.dtype == model[1](inside).dtype == torch.bfloat16
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        exact = torch.nn.functional.conv2d(inside.float(), model[1].weight, model[1].bias, groups=8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model[1](inside), exact.to(torch.bfloat16))
    model(images).sum().backward()
    assert model[1].weight.grad is not None and isinstance(model[1], torch.nn.Conv2d)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(3, 2), (8, 2), (2, 9), (8, 8)])
def test_a_kernel_larger_than_the_map_computes_the_same_on_a_padded_map(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], stride: int
) -> None:
    plain = torch.nn.Sequential(
        torch.nn.Conv2d(6, 6, 5, stride, padding=(2, 3), groups=6), torch.nn.Conv2d(6, 4, 1)
    ).double()
    faster = copy.deepcopy(plain)
    faster_depthwise(faster, "fp32")
    padded: list[tuple[int, ...]] = []
    whole = type(faster[0])._padded  # type: ignore[attr-defined]
    monkeypatch.setattr(
        type(faster[0]), "_padded", lambda self, x: (padded.append(tuple(x.shape[2:])), whole(self, x))[1]
    )
    results = []
    for model in (plain, faster):
        images = torch.rand(3, 6, *size, dtype=torch.double, generator=torch.Generator().manual_seed(1))
        images.requires_grad_()
        out = model(images)
        out.square().sum().backward()
        results.append([out, images.grad, model[0].weight.grad, model[0].bias.grad])
    assert padded == ([] if min(size) >= 5 else [size])
    for ours, theirs in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_depthwise_kernels_in_timms_network_are_found_and_copies_keep_them() -> None:
    model = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    faster_depthwise(model, "fp32")
    changed = [name for name, module in model.named_modules() if type(module).__name__ == "Depthwise"]
    assert len(changed) == 16
    again = copy.deepcopy(model)
    assert [type(module) for module in again.modules()] == [type(module) for module in model.modules()]
    images = torch.rand(2, 3, 96, 48)
    assert torch.equal(model.eval()(images), again.eval()(images))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_training_on_a_cpu_uses_them(tmp_path: Path, precision: str) -> None:
    data = ReIDData("synthetic", "sysu", colour_people(6, 0), colour_people(3, 1, first=100))
    run = settings(tmp_path / "run", backbone="test_efficientnet", precision=precision, hold_out=0)
    names = {type(module).__name__ for module in Trainer(run, data).model.modules()}
    assert "Depthwise" in names
