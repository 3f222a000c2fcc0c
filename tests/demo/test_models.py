"""Models that visitors choose: from folders and the Hub, kept, refused in words, and without a trace where public."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch._subclasses.fake_tensor import FakeTensor

from mtrl import MTRL
from mtrl.demo.service import model_cost, models
from mtrl.demo.service.models import Models
from mtrl.demo.service.service import DemoService
from mtrl.hub.client import CONFIG, WEIGHTS
from mtrl.models.config import Modality, ModelConfig
from tests.helpers.hub_stub import TOKEN, Hub, running_hub
from tests.helpers.page import make_model


def test_models_come_from_folders_and_only_the_last_few_stay(service: DemoService, tmp_path: Path) -> None:
    shelf = Models(service)
    for seed in range(1, models.KEPT + 2):
        make_model(seed).save_pretrained(tmp_path / f"m{seed}", card=f"# Model {seed}")
    told: list[float] = []
    first = shelf.get(str(tmp_path / "m1"), lambda share, text: told.append(share))
    assert first.name == "m1" and first.card == "# Model 1" and told[-1] == 1 and told == sorted(told)
    assert first.service.folder == service.folder and first.service.translators == service.translators
    assert torch.equal(
        first.service.features[Modality.VISIBLE],
        DemoService(make_model(1), service.folder, service.translators).features[Modality.VISIBLE],
    )
    assert shelf.get(str(tmp_path / "m1")) is first and shelf.get("").service is service
    for seed in range(2, models.KEPT + 2):
        shelf.get(str(tmp_path / f"m{seed}"))
    assert len(shelf._kept) == models.KEPT and shelf.get(str(tmp_path / "m1")) is not first


def test_a_folder_that_changed_is_read_again(service: DemoService, tmp_path: Path) -> None:
    shelf = Models(service)
    make_model(1).save_pretrained(tmp_path / "m")
    first = shelf.get(str(tmp_path / "m"))
    make_model(2).save_pretrained(tmp_path / "m")
    assert shelf.get(str(tmp_path / "m")).service.model.fingerprint() != first.service.model.fingerprint()


def test_a_public_page_opens_no_folder(service: DemoService, tmp_path: Path, monkeypatch: Any) -> None:
    shelf = Models(service, public=True)
    make_model(1).save_pretrained(tmp_path / "runs" / "m")
    monkeypatch.chdir(tmp_path)
    for source in (str(tmp_path / "runs" / "m"), "./runs/m", "/etc", "~"):
        with pytest.raises(ValueError, match="Hub only"):
            shelf.get(source)
    with running_hub(monkeypatch, str(tmp_path / "cache")), pytest.raises(OSError, match="no model runs/m"):
        shelf.get("runs/m")  # a folder of that name is here, but the Hub is asked


def test_models_that_cannot_be_used_say_why(
    service: DemoService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Models(service)
    with pytest.raises(ValueError, match="no folder"):
        shelf.get("no such thing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="lacks"):
        shelf.get(str(tmp_path / "empty"))
    make_model(1, (512, 16, 16, 24)).save_pretrained(tmp_path / "wide")
    monkeypatch.setattr(model_cost, "MAX_ACTIVATIONS", 1 << 20)
    with pytest.raises(ValueError, match="too much for this page"):
        shelf.get(str(tmp_path / "wide"))
    monkeypatch.setattr(model_cost, "MAX_PIXELS", 100)
    with pytest.raises(ValueError, match="64 × 32"):
        shelf.get(str(tmp_path / "wide"))
    monkeypatch.setitem(models.MAX_BYTES, WEIGHTS, 1000)
    with pytest.raises(ValueError, match="loads up to"):
        shelf.get(str(tmp_path / "wide"))
    assert not shelf._kept


def patches(folder: Path, size: tuple[int, int], patch: int) -> Path:
    """A checkpoint of a small vision transformer that cuts its images into patches of that many pixels."""
    arguments = {"patch_size": patch, "embed_dim": 96, "depth": 2, "num_heads": 3}
    config = ModelConfig("vit_tiny_patch16_224", size, pooling="token", backbone_args=arguments)
    MTRL(config).save_pretrained(folder)
    return folder


def test_a_models_cost_is_known_before_anything_of_it_runs(
    service: DemoService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Models(service)
    ran: list[int] = []
    forward = VisionTransformer.forward_features

    def noted(self: Any, x: torch.Tensor, *rest: Any) -> torch.Tensor:
        if not isinstance(x, FakeTensor):
            ran.append(x.shape[0])
        return forward(self, x, *rest)

    monkeypatch.setattr(VisionTransformer, "forward_features", noted)
    strange = patches(
        tmp_path / "strange", (256, 128), 1
    )  # 32,768 patches, whose pairs take 4 GB in each head
    assert (strange / WEIGHTS).stat().st_size < 20_000_000
    began = time.monotonic()
    with pytest.raises(ValueError, match="MB per picture and layer"):
        shelf.get(str(strange))
    assert ran == [] and time.monotonic() - began < 20
    assert shelf.get(str(patches(tmp_path / "usual", (64, 32), 16))).service.images and sum(ran) >= 30


def test_the_cost_is_that_of_the_formulas() -> None:
    model = make_model()
    cost = model_cost.cost_of(model)
    expected, largest = 0, 0

    def note(module: torch.nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal expected, largest
        if isinstance(module, torch.nn.Conv2d):
            expected += 2 * output.numel() * module.weight[0].numel()
        largest = max(largest, 4 * output.numel())

    for module in model.modules():
        if not list(module.children()):
            module.register_forward_hook(note)
    model.encode(torch.zeros(1, 3, 64, 32))
    assert cost.operations == expected and cost.largest == largest
    assert model_cost.cost_of(make_model(channels=(16, 16, 16, 24))).operations > cost.operations


def test_a_page_with_few_images_takes_no_slower_models(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model()
    seconds = model_cost.cost_of(model).seconds
    model_cost.check_cost(model, 1)
    monkeypatch.setattr(model_cost, "MAX_SECONDS", 20 * seconds)
    model_cost.check_cost(model, 19)
    with pytest.raises(ValueError, match="minutes for the 21 pictures"):
        model_cost.check_cost(model, 21)
    monkeypatch.setattr(model_cost, "MAX_IMAGE_SECONDS", 0.9 * seconds)
    with pytest.raises(ValueError, match="for one picture"):
        model_cost.check_cost(model, 1)
    monkeypatch.setattr(model_cost, "MAX_TRACING", -1.0)
    with pytest.raises(ValueError, match="too many layers"):
        model_cost.cost_of(model)


@pytest.mark.parametrize("public", [False, True])
def test_models_come_from_the_hub(service: DemoService, hub: Hub, public: bool, tmp_path: Path) -> None:
    model = make_model(3)
    model.push_to_hub("ann/reid", token=TOKEN, card="# From the Hub")
    loaded = Models(service, public=public).get("ann/reid@main")
    assert loaded.card == "# From the Hub" and loaded.service.model.fingerprint() == model.fingerprint()
    # A public page leaves nothing on the disk.
    assert any((tmp_path / "cache").rglob(WEIGHTS)) is not public


def test_the_hub_is_asked_for_sizes_first(
    service: DemoService, hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_model(3).push_to_hub("ann/big", token=TOKEN)
    make_model(3).push_to_hub("ann/secret", token=TOKEN, private=True)
    shelf = Models(service, public=True)
    monkeypatch.setitem(models.MAX_BYTES, WEIGHTS, 1000)
    hub.requests.clear()
    with pytest.raises(ValueError, match=r"model.safetensors of ann/big"):
        shelf.get("ann/big")
    assert not [line for line in hub.requests if line.startswith("GET") and line.endswith(WEIGHTS)]
    monkeypatch.setenv("HF_TOKEN", TOKEN)  # the owner's rights are not the visitors'
    with pytest.raises(FileNotFoundError, match="may read"):
        shelf.get("ann/secret")
    with pytest.raises(FileNotFoundError, match="no revision"):
        shelf.get("ann/big@nowhere")
    del hub.repos["ann/big"].commits[hub.repos["ann/big"].branches["main"]][CONFIG]
    with pytest.raises(FileNotFoundError, match="no model of this kind"):
        shelf.get("ann/big")
    assert not (tmp_path / "cache").exists()
