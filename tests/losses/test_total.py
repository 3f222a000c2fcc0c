"""The objective: which feature feeds which term, how weights and ramp enter, and what a batch must hold."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mtrl.losses import (
    LossWeights,
    TriLayout,
    direct_contrastive,
    identity_loss,
    modality_center,
    modality_query_regularization,
    modality_transition_contrastive,
    total_loss,
    weighted_triplet,
)


@dataclasses.dataclass(frozen=True)
class Rows:
    """Stands for the model's output."""

    pooled: Tensor
    embedding: Tensor
    logits: Tensor | None


Y = torch.arange(4).repeat_interleave(3)
PLAIN = LossWeights(mtc=0, center=0, mqr=0)


def rows(count: int, dtype: torch.dtype = torch.float64) -> Rows:
    generator = torch.Generator().manual_seed(0)

    def draw(width: int) -> Tensor:
        return torch.randn(count, width, generator=generator, dtype=dtype).requires_grad_()

    return Rows(draw(8), draw(8), draw(4))


def expected_parts(features: Rows, weights: LossWeights) -> dict[str, Tensor]:
    chosen = features.embedding if weights.feature == "embedding" else features.pooled
    v, t, r = chosen.chunk(3)
    embedding = F.normalize(features.embedding, dim=1)
    return {
        "identity": identity_loss(features.logits, Y.repeat(3), 0.2),
        "triplet": weighted_triplet(
            embedding if weights.triplet_feature == "embedding" else features.pooled, Y.repeat(3)
        ),
        "mtc": modality_transition_contrastive(v, t, r, Y, temperature=0.2, hop1="identity"),
        "center": modality_center(v, t, r, Y, margin=0.4),
        "mqr": modality_query_regularization(
            v, t, r, Y if weights.query_teacher == "better" else None, temperature=0.3
        ),
        "direct": direct_contrastive(v, r, Y, temperature=0.2),
    }


@pytest.mark.parametrize("feature", ["embedding", "pooled"])
@pytest.mark.parametrize("triplet_feature", ["embedding", "pooled"])
@pytest.mark.parametrize("teacher", ["better", "all"])
def test_weights_ramp_and_features(feature: str, triplet_feature: str, teacher: str) -> None:
    weights = LossWeights(
        identity=0.5, triplet=2.0, mtc=3.0, center=5.0, mqr=7.0, direct=11.0, smoothing=0.2, temperature=0.2,
        query_temperature=0.3, margin=0.4, hop1="identity", feature=feature, triplet_feature=triplet_feature,
        query_teacher=teacher,
    )  # fmt: skip
    features = rows(36)
    expected = expected_parts(features, weights)
    loss, parts = total_loss(features, TriLayout.balanced(Y), weights, ramp=0.25, triplet_scale=0.1)
    factors = {"identity": 0.5, "triplet": 0.2, "mtc": 0.75, "center": 1.25, "mqr": 1.75, "direct": 2.75}
    total = sum(factors[name] * value for name, value in expected.items())
    assert loss.item() == pytest.approx(total.item(), abs=1e-9)
    assert parts.keys() == {*expected, "total"} and parts["total"].item() == loss.item()
    for name, value in expected.items():
        assert parts[name].item() == pytest.approx(value.item(), abs=1e-9)
    assert not any(part.requires_grad for part in parts.values())
    loss.backward()
    assert features.embedding.grad is not None or (feature, triplet_feature) == ("pooled", "pooled")


def test_defaults_are_full_mtrl() -> None:
    weights = LossWeights()
    assert (weights.identity, weights.triplet, weights.mtc, weights.center, weights.mqr, weights.direct) == (
        1.0, 1.0, 1.5, 0.5, 1.0, 0.0,
    )  # fmt: skip
    _, parts = total_loss(rows(36), TriLayout.balanced(Y), weights)
    assert parts.keys() == {"identity", "triplet", "mtc", "center", "mqr", "total"}


def test_baseline_without_transitions() -> None:
    layout = TriLayout.balanced(Y, transition=False)
    features = rows(24)
    loss, parts = total_loss(features, layout, PLAIN)
    assert parts.keys() == {"identity", "triplet", "total"}
    expected = identity_loss(features.logits, Y.repeat(2)) + weighted_triplet(
        F.normalize(features.embedding, dim=1), Y.repeat(2)
    )
    assert loss.item() == pytest.approx(expected.item())
    _, parts = total_loss(features, layout, dataclasses.replace(PLAIN, direct=1.0))
    assert "direct" in parts
    for term in ("mtc", "center", "mqr"):
        with pytest.raises(ValueError, match="transition"):
            total_loss(features, layout, dataclasses.replace(PLAIN, **{term: 0.1}))


def test_ramp_of_zero_leaves_the_baseline() -> None:
    features = rows(36)
    with_ramp, parts = total_loss(features, TriLayout.balanced(Y), LossWeights(), ramp=0.0)
    plain, _ = total_loss(features, TriLayout.balanced(Y), PLAIN)
    assert with_ramp.item() == pytest.approx(plain.item()) and parts["mtc"].item() > 0


def test_bfloat16_features_give_a_float32_loss() -> None:
    features = rows(36, torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = total_loss(features, TriLayout.balanced(Y), LossWeights(direct=1.0))
    assert loss.dtype == torch.float32
    loss.backward()
    assert features.embedding.grad is not None and features.embedding.grad.isfinite().all()


def test_layout_splits_in_order() -> None:
    layout = TriLayout(2, 2, 3, torch.zeros(7, dtype=torch.int64))
    v, t, r = layout.split(torch.arange(7))
    assert (v.tolist(), t.tolist(), r.tolist()) == ([0, 1], [2, 3], [4, 5, 6])
    assert TriLayout.balanced(Y).identities.tolist() == Y.repeat(3).tolist()


@pytest.mark.parametrize("bad", [(2, 1, 3, 6), (2, 2, 3, 6), (-1, 0, 3, 2)])
def test_layout_refuses_counts_that_do_not_add_up(bad: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError):
        TriLayout(*bad[:3], torch.zeros(bad[3], dtype=torch.int64))


def test_missing_logits_are_named() -> None:
    features = dataclasses.replace(rows(36), logits=None)
    with pytest.raises(ValueError, match="logits"):
        total_loss(features, TriLayout.balanced(Y), LossWeights())
    total_loss(features, TriLayout.balanced(Y), LossWeights(identity=0))


@pytest.mark.parametrize(
    "bad",
    [{"mtc": -1.0}, {"center": float("nan")}, {"temperature": 0.0}, {"smoothing": 1.0}, {"hop1": "x"},
     {"mtc_form": "x"}, {"feature": "logits"}, {"triplet_feature": "x"}, {"margin": float("inf")}],
)  # fmt: skip
def test_impossible_weights_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        LossWeights(**bad)
