"""What must hold of every loss on any batch, the degenerate ones above all: invariances, signs, bounds, optima."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtrl.losses import (
    direct_contrastive,
    identity_loss,
    modality_center,
    modality_query_regularization,
    modality_transition_contrastive,
    weighted_triplet,
)
from tests.helpers.losses import LOSSES, Case, D, every_loss
from tests.reference import losses as slow

UNIT = [
    name for name in LOSSES if name not in ("triplet", "triplet_squared", "identity")
]  # these normalise rows themselves
every_unit_loss = pytest.mark.parametrize("name", UNIT)
labels = st.lists(st.integers(0, 2), max_size=5)
some_labels = st.lists(st.integers(0, 2), min_size=1, max_size=5)
seeds = st.integers(0, 10**6)


def few(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None, derandomize=True)


@st.composite
def batches(draw: st.DrawFn, y: st.SearchStrategy = labels, yr: st.SearchStrategy = labels) -> Case:
    """Visible, transition, infrared in general position, and their labels."""
    y, yr, generator = draw(y), draw(yr), torch.Generator().manual_seed(draw(seeds))
    v, t, r = (torch.randn(n, D, generator=generator, dtype=torch.float64) for n in (len(y), len(y), len(yr)))
    return v, t, r, torch.tensor(y, dtype=torch.int64), torch.tensor(yr, dtype=torch.int64)


@st.composite
def degenerate(draw: st.DrawFn) -> Case:
    """The same in float32 with coordinates -1, 0 and 1 in the plane: zero, equal and opposite rows are common."""
    v, t, r, y, yr = draw(batches())
    scale = draw(st.sampled_from([1.0, 1e-20, 1e15]))
    return (
        *(scale * x.sign().float() * torch.tensor([1, 1, 0, 0, 0]) * (x.abs() > 0.7) for x in (v, t, r)),
        y,
        yr,
    )


@every_loss
@few(30)
@given(degenerate())
def test_value_and_gradient_of_a_degenerate_batch_are_finite_and_the_value_is_not_negative(
    name: str, case: Case
) -> None:
    v, t, r, y, yr = case
    leaves = [x.clone().requires_grad_() for x in (v, t, r)]
    loss = LOSSES[name](*leaves, y, yr)
    assert loss.isfinite() and loss.item() >= -1e-6
    for gradient in torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True):
        assert gradient.isfinite().all()


@every_loss
@few(30)
@given(batches(), seeds)
def test_order_and_axes_do_not_matter(name: str, case: Case, seed: int) -> None:
    """Permuting the images, renaming the identities and turning all features together change no value."""
    v, t, r, y, yr = case
    generator = torch.Generator().manual_seed(seed)
    p, q = torch.randperm(len(y), generator=generator), torch.randperm(len(yr), generator=generator)
    value = LOSSES[name](*case).item()
    assert LOSSES[name](v[p], t[p], r[q], y[p], yr[q]).item() == pytest.approx(value, abs=1e-9)
    if name == "identity":
        return  # its features are logits, whose axes are the identities
    turn = torch.linalg.qr(torch.randn(D, D, generator=generator, dtype=torch.float64))[0]
    assert LOSSES[name](v @ turn, t @ turn, r @ turn, 7 - 3 * y, 7 - 3 * yr).item() == pytest.approx(
        value, abs=1e-9
    )


@every_unit_loss
@few(30)
@given(batches(), seeds)
def test_length_of_each_feature_does_not_matter(name: str, case: Case, seed: int) -> None:
    """So that the gradient is at right angles to each feature."""
    *features, y, yr = case
    generator = torch.Generator().manual_seed(seed)
    scaled = [
        x * torch.exp(3 * torch.randn(len(x), 1, generator=generator, dtype=torch.float64)) for x in features
    ]
    value = LOSSES[name](*features, y, yr)
    assert LOSSES[name](*scaled, y, yr).item() == pytest.approx(value.item(), abs=1e-9)
    leaves = [x.requires_grad_() for x in features]
    gradients = torch.autograd.grad(
        LOSSES[name](*leaves, y, yr), leaves, allow_unused=True, materialize_grads=True
    )
    for x, gradient in zip(leaves, gradients, strict=True):
        assert torch.allclose((x * gradient).sum(dim=1), torch.zeros(len(x), dtype=x.dtype), atol=1e-9)


@few(40)
@given(
    batches(),
    st.floats(0.05, 2),
    st.floats(0, 1),
    st.sampled_from(["instance", "identity"]),
    st.floats(0, 0.9),
)
def test_constants_enter_as_the_loops_say(
    case: Case, temperature: float, margin: float, hop1: str, smoothing: float
) -> None:
    v, t, r, y, yr = case
    rows = [part.tolist() for part in case]
    logits, targets = torch.cat([v, r]), torch.cat([y, yr])
    pairs = {
        "infonce": (
            modality_transition_contrastive(*case, temperature=temperature, hop1=hop1, direct_weight=margin),
            slow.transition(*rows, temperature, hop1, direct_weight=margin),
        ),
        "margin": (
            modality_transition_contrastive(*case, form="margin", hop1=hop1, margin=margin),
            slow.transition(*rows, hop1=hop1, margin=margin),
        ),
        "direct": (
            direct_contrastive(v, r, y, yr, temperature=temperature),
            slow.direct(rows[0], rows[2], rows[3], rows[4], temperature),
        ),
        "center": (modality_center(*case, margin=margin), slow.center(*rows, margin)),
        "mqr": (
            modality_query_regularization(v, t, r, temperature=temperature),
            slow.query(*rows[:3], temperature),
        ),
        "mqr, better teachers": (
            modality_query_regularization(*case, temperature=temperature),
            slow.query(*rows[:3], temperature, *rows[3:]),
        ),
        "identity": (
            identity_loss(logits, targets, smoothing),
            slow.identity(logits.tolist(), targets.tolist(), smoothing),
        ),
    }
    for name, (value, expected) in pairs.items():
        assert value.item() == pytest.approx(expected, abs=1e-9), name


@few(30)
@given(batches())
def test_both_directions_count_alike(case: Case) -> None:
    v, t, r, y, yr = case
    close, none = pytest.approx, (r[:0], y, yr[:0])
    assert direct_contrastive(v, r, y, yr).item() == close(direct_contrastive(r, v, yr, y).item(), abs=1e-12)
    for options in ({}, {"hop1": "identity"}, {"form": "margin"}):
        first = modality_transition_contrastive(v, t, *none, **options).item()
        assert first == close(modality_transition_contrastive(t, v, *none, **options).item(), abs=1e-12)
    # The two hops are a sum, and the second is the direct contrast of transitions with infrared images.
    first = modality_transition_contrastive(v, t, *none).item()
    both = modality_transition_contrastive(*case).item()
    assert both == close(first + direct_contrastive(t, r, y, yr).item() / 2, abs=1e-12)
    # A chain read from its other end.
    forth, back = modality_center(v, t, v.flip(1), y), modality_center(v.flip(1), t, v, y)
    assert forth.item() == close(back.item(), abs=1e-12)


@few(30)
@given(batches(some_labels, some_labels), st.integers(2, 3))
def test_how_often_an_image_is_there_matters_only_where_it_should(case: Case, times: int) -> None:
    v, t, r, y, yr = case
    close = pytest.approx
    # Centres are means and identities count once: repeating all images of one identity in one modality is nothing.
    often, seen = (torch.where(x == y[0], times, 1) for x in (y, yr))
    value = modality_center(*case).item()
    repeated = [x.repeat_interleave(often, 0) for x in (v, t)]
    assert modality_center(*repeated, r, y.repeat_interleave(often), yr).item() == close(value, abs=1e-9)
    sensed = r.repeat_interleave(seen, 0), y, yr.repeat_interleave(seen)
    assert modality_center(v, t, *sensed).item() == close(value, abs=1e-9)
    # Repeating every candidate halves every probability of an answer, the teacher's and the student's alike.
    value = modality_query_regularization(v, t, r).item()
    assert modality_query_regularization(v, t, torch.cat([r] * times)).item() == close(value, abs=1e-9)
    assert modality_query_regularization(
        torch.cat([v] * times), torch.cat([t] * times), r
    ).item() == close(value, abs=1e-9)  # fmt: skip


@few(30)
@given(batches(some_labels, some_labels))
def test_bounds(case: Case) -> None:
    v, t, r, y, yr = case
    x, people = torch.cat([v, t, r]), torch.cat([y, y, yr])
    farthest = torch.cdist(x, x).max().item()
    value, alone = weighted_triplet(x, people).item(), len(set(people.tolist())) == 1
    assert value == 0 if alone else math.log1p(math.exp(-farthest)) <= value <= math.log1p(math.exp(farthest))
    assert modality_transition_contrastive(*case, form="margin", margin=0.3).item() <= 2.3
    assert modality_center(*case, margin=0.3).item() <= 4 + 4.3
    value = modality_query_regularization(v, t, r, temperature=0.5).item()
    assert modality_query_regularization(*case, temperature=0.5).item() <= value <= 2 * 2 / 0.5
    # Nothing scores better than the smoothed targets themselves; a constant added to the logits is nothing.
    logits, share = x[:, :3], 0.2
    target = torch.nn.functional.one_hot(people, 3).double() * (1 - share) + share / 3
    best = identity_loss(target.log(), people, share).item()
    assert best == pytest.approx(-(target * target.log()).sum(1).mean().item(), abs=1e-12)
    value = identity_loss(logits, people, share).item()
    assert value >= best - 1e-12
    assert identity_loss(logits + 9, people, share).item() == pytest.approx(value, abs=1e-9)


@few(30)
@given(some_labels, seeds)
def test_zero_at_the_stated_optimum_and_above_it_beside(y: list[int], seed: int) -> None:
    people = torch.tensor(y)
    corners = torch.eye(D, dtype=torch.float64)[people]  # identities are sqrt(2) apart in every modality
    case = corners, corners, corners, people
    several = len(set(y)) > 1
    assert modality_center(*case, margin=1.4).item() == 0
    assert (modality_center(*case, margin=1.5).item() > 0) == several
    assert modality_transition_contrastive(*case, form="margin", margin=1.4).item() == 0
    assert (modality_transition_contrastive(*case, form="margin", margin=1.5).item() > 0) == several
    assert modality_query_regularization(*case[:3]).item() == pytest.approx(0, abs=1e-12)
    # Contrast reaches the logarithm of the number of images that share the answer.
    counts = torch.bincount(people)[people].double()
    optimum = counts.log().mean().item()
    assert direct_contrastive(corners, corners, people, temperature=0.02).item() == pytest.approx(
        optimum, abs=1e-9
    )
    hops = modality_transition_contrastive(*case, temperature=0.02).item()
    assert hops == pytest.approx(optimum / 2, abs=1e-9)
    moved = corners.clone()
    moved[0] += 0.1 * torch.randn(D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert modality_center(corners, moved, corners, people).item() > 0
