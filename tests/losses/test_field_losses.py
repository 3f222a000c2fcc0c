"""The field's losses: values that their docstrings promise, and gradients that stay away."""

from __future__ import annotations

import math

import pytest
import torch

from mtrl.losses import (
    center_pair_mining,
    discriminative_center,
    hetero_center_triplet,
    modality_shared_enhancement,
    weighted_triplet,
)
from mtrl.losses.total import LossWeights, TriLayout, total_loss
from mtrl.models.reid import Features
from mtrl.translate import load_translator
from train.presets import METHODS

Y = torch.tensor([0, 0, 1, 1])
APART = torch.eye(2, 5, dtype=torch.float64)[Y]


def test_zero_where_identities_are_apart_and_modalities_agree() -> None:
    assert hetero_center_triplet(APART, APART, Y) == 0
    assert modality_shared_enhancement(APART, APART, Y) == 0
    assert discriminative_center(APART, APART, Y) == 0
    assert center_pair_mining(APART, APART, APART, Y) == pytest.approx(
        0.2
    )  # of the first bracket the margin stays


def test_identical_features() -> None:
    same = torch.ones(4, 5, dtype=torch.float64)
    assert hetero_center_triplet(same, same, Y) == pytest.approx(0.3)
    assert modality_shared_enhancement(same, same, Y) == 0
    assert discriminative_center(same, same, Y) == pytest.approx(0, abs=1e-6)
    assert center_pair_mining(same, same, same, Y) == pytest.approx(0.4)
    assert weighted_triplet(same, Y, squared=True) == pytest.approx(math.log(2))


def test_one_identity_alone() -> None:
    y = torch.zeros(4, dtype=torch.int64)
    v, t, r = torch.randn(3, 4, 5, dtype=torch.float64)
    assert hetero_center_triplet(v, r, y) == discriminative_center(v, r, y) == 0
    assert modality_shared_enhancement(v, r, y) > 0
    assert center_pair_mining(v, t, r, y) >= 0


def test_the_visible_side_of_the_first_bracket_has_no_gradient() -> None:
    y = torch.zeros(2, dtype=torch.int64)
    v, t, r = (x.requires_grad_() for x in torch.randn(3, 2, 5, dtype=torch.float64))
    center_pair_mining(v, t, r, y, margin=5.0).backward()
    assert v.grad is None or not v.grad.any()
    assert r.grad is not None and r.grad.any() and t.grad is not None and t.grad.any()


def test_the_squared_triplet_moves_where_released_code_stands_still() -> None:
    """Beyond a gap of about nine the released form is clamped, without a gradient."""
    x = torch.tensor([[0.0], [20.0], [1.0], [21.0]], requires_grad=True)
    loss = weighted_triplet(x, torch.tensor([0, 0, 1, 1]), squared=True)
    loss.backward()
    assert loss > 88 and x.grad is not None and x.grad.abs().max() > 1


@pytest.mark.parametrize("method", ["hctri", "pmt", "cpm", "caj", "mtrl+hctri"])
def test_methods_of_the_field(method: str) -> None:
    row = METHODS[method]
    names = {name: value for name, value in row.items() if name in LossWeights.__dataclass_fields__}
    weights = LossWeights(**names)
    layout = TriLayout.balanced(Y, row["transition"])
    rows = torch.randn(len(layout.identities), 5)
    _, parts = total_loss(Features(rows, rows, rows[:, :2]), layout, weights)
    expected = {
        "hctri": {"hctri"}, "pmt": {"msel", "dcl"}, "cpm": {"cpm"}, "caj": set(),
        "mtrl+hctri": {"mtc", "center", "mqr", "hctri"},
    }[method]  # fmt: skip
    assert parts.keys() - {"identity", "triplet", "total"} == expected
    if method == "caj":
        plain = weighted_triplet(torch.nn.functional.normalize(rows), layout.identities, squared=True)
        assert parts["triplet"] == pytest.approx(plain.item())


def test_the_second_view_is_a_channel_or_grey_and_visible() -> None:
    exchange = load_translator(METHODS["caj"]["translator"])
    images = torch.rand(64, 3, 2, 2)
    grey = (images * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    choices = torch.cat([images, grey], dim=1)  # [64,4,2,2]
    assert exchange.modality == 0 and torch.allclose(exchange(images), grey.expand_as(images), atol=1e-6)
    exchange.train()
    exchange.reseed(3)
    views = exchange(images)
    assert torch.equal(views[:, 0], views[:, 2])
    drawn = (choices - views[:, :1]).abs().amax(dim=(2, 3)).argmin(dim=1)
    assert torch.allclose(choices[torch.arange(64), drawn], views[:, 0], atol=1e-6)
    assert set(drawn.tolist()) == {0, 1, 2, 3} and drawn.bincount().min() > 5
    exchange.reseed(3)
    assert torch.equal(exchange(images), views)
