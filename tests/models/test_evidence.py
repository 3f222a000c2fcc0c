"""Where a similarity comes from, and embeddings in the plane."""

from __future__ import annotations

import copy
import threading

import pytest
import torch
from torch import Tensor, nn

from mtrl import MTRL
from mtrl.models.config import ModelConfig
from mtrl.models.evidence import evidence_maps
from mtrl.retrieval.embedding_map import project_2d

torch.set_num_threads(1)
SIZE = (64, 32)


class Colours(nn.Module):
    """A body whose map is known: four by four pixels become a place, the channels are red, green, blue."""

    num_features = 3

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.AvgPool2d(4)

    def forward_features(self, images: Tensor) -> Tensor:
        return self.cells(images)


@pytest.fixture
def colours() -> MTRL:
    model = MTRL(ModelConfig("test_resnet", SIZE, mean=(0, 0, 0), std=(1, 1, 1), pooling="avg"))
    model.backbone.body, model.backbone.dim, model.dim = Colours(), 3, 3
    model.neck.norm = nn.BatchNorm1d(3)
    return model.eval()


def patch(channel: int, top: int, left: int) -> Tensor:
    image = torch.zeros(3, *SIZE)
    image[channel, top : top + 8, left : left + 8] = 1
    return image


def test_the_patch_that_both_share_is_found(colours: MTRL) -> None:
    first = torch.maximum(
        patch(0, 8, 4), patch(1, 48, 20)
    )  # red is what both have; green and blue are distractors
    second = torch.maximum(patch(0, 40, 16), patch(2, 4, 4))
    for found, own, other in zip(
        evidence_maps(colours, first, second), (first, second), ((48, 20), (4, 4)), strict=True
    ):
        inside = own[0] > 0
        assert found.shape == SIZE and found.dtype == torch.float32
        assert found.max() == 1 and found[inside].min() > 0.3
        assert found[inside].sum() > 0.6 * found.sum()  # the rest is the rim of the resize
        assert found[other[0] : other[0] + 8, other[1] : other[1] + 8].max() == 0


def test_maps_follow_the_formula_through_gem_and_neck(colours: MTRL) -> None:
    """dS/dA of a generalised mean and a normalisation, written out."""
    generator = torch.Generator().manual_seed(0)
    colours.backbone.pooling = "gem"
    norm = colours.neck.norm
    norm.running_mean, norm.running_var = torch.tensor([0.45, 0.5, 0.6]), torch.tensor([0.01, 0.02, 0.03])
    norm.weight.data = torch.tensor([1.0, 2.0, 0.5])
    images = torch.rand(2, 3, *SIZE, generator=generator)
    found = evidence_maps(colours, images[0], images[1])
    places = nn.functional.avg_pool2d(images, 4)
    pooled = places.pow(3).mean((2, 3)).pow(1 / 3)
    scale = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
    unit = nn.functional.normalize(scale * (pooled - norm.running_mean))
    for own, other in ((0, 1), (1, 0)):
        share = places[own].pow(3) / (places[own][0].numel() * pooled[own].square())[:, None, None]
        expected = ((unit[other] * scale)[:, None, None] * share).sum(0).clamp(min=0)
        expected = nn.functional.interpolate(expected[None, None], SIZE, mode="bilinear")[0, 0]
        torch.testing.assert_close(found[own], expected / expected.max(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("backbone", "size", "pooling", "stem"),
    [
        ("resnet10t", (64, 32), "gem", "dual"),
        ("test_vit", (128, 64), "token", "shared"),
        ("test_vit", (128, 64), "gem", "dual"),
        ("test_mambaout", (64, 32), "gem", "shared"),  # gives [B,h,w,C]
    ],
)
def test_the_model_stays_as_it_was(backbone: str, size: tuple[int, int], pooling: str, stem: str) -> None:
    torch.manual_seed(0)
    arguments = {"channels": [8, 16, 24, 32]} if backbone == "resnet10t" else {}
    model = MTRL(ModelConfig(backbone, size, pooling=pooling, stem=stem, backbone_args=arguments)).train()
    model.requires_grad_(False)  # as a frozen model on the page
    before = copy.deepcopy(model.state_dict())
    images = torch.rand(3, 40, 20), torch.rand(3, *size)
    random = torch.get_rng_state()
    with torch.inference_mode():  # as a page may call it
        first, second = evidence_maps(model, *images)
    assert first.shape == second.shape == size
    for found in (first, second):
        assert found.min() >= 0 and found.max() == 1 and not found.requires_grad
        assert len(found.unique()) > 1  # a map with places
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training and not module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(random, torch.get_rng_state())


def test_threads_get_their_own_maps() -> None:
    torch.manual_seed(0)
    model = MTRL(ModelConfig("resnet10t", SIZE, backbone_args={"channels": [8, 16, 24, 32]})).eval()
    pairs = torch.rand(6, 2, 3, *SIZE)
    expected = [evidence_maps(model, *pair) for pair in pairs]
    found: dict[int, tuple[Tensor, Tensor]] = {}

    def work(number: int) -> None:
        found[number] = evidence_maps(model, *pairs[number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, maps in enumerate(expected):
        torch.testing.assert_close(found[number], maps)


def test_an_image_without_evidence_and_a_wrong_one(colours: MTRL) -> None:
    first, second = evidence_maps(colours, patch(0, 0, 0), patch(1, 0, 0))
    assert first.max() == 0 and second.max() == 0
    with pytest.raises(ValueError, match="modality"):
        evidence_maps(colours, patch(0, 0, 0), patch(1, 0, 0), "thermal")
    with pytest.raises(OSError, match=r"nothing\.png"):
        evidence_maps(colours, "nothing.png", patch(1, 0, 0))


def groups(count: int, each: int, noise: float = 0.5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(count, 32, generator=generator).repeat_interleave(each, 0)
    return centres + noise * torch.randn(centres.shape, generator=generator), torch.arange(
        count
    ).repeat_interleave(each)


def test_neighbours_stay_neighbours_in_the_plane() -> None:
    features, labels = groups(8, 10)
    place = project_2d(features)
    assert place.shape == (80, 2) and place.dtype == torch.float32 and place.abs().max() == 1
    near = torch.cdist(place, place).fill_diagonal_(torch.inf).topk(5, largest=False).indices
    assert (labels[near] == labels[:, None]).float().mean() > 0.95
    assert torch.equal(place, project_2d(features)) and torch.equal(place, project_2d(4 * features))
    equal = torch.ones(12, 4)
    assert torch.isfinite(project_2d(equal)).all() and not torch.equal(
        project_2d(equal), project_2d(equal, 1)
    )


@pytest.mark.parametrize("count", [0, 1, 2, 4, 5])
def test_few_points(count: int) -> None:
    place = project_2d(torch.randn(count, 3, generator=torch.Generator().manual_seed(count)))
    assert place.shape == (count, 2) and bool(torch.isfinite(place).all())


def test_what_cannot_be_projected() -> None:
    with pytest.raises(ValueError, match="N, D"):
        project_2d(torch.zeros(3))
    with pytest.raises(ValueError, match="finite"):
        project_2d(torch.full((3, 2), torch.nan))
