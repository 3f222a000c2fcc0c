"""The losses against loops, against their derivatives, and in every corner of a batch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mtrl.losses import (
    TriLayout,
    direct_contrastive,
    identity_loss,
    modality_center,
    modality_query_regularization,
    modality_transition_contrastive,
    weighted_triplet,
)
from tests.helpers.losses import LOSSES, Case, D, every_loss
from tests.reference import losses as slow

REFERENCES: dict[str, Callable[..., float]] = {
    "mtc": slow.transition,
    "mtc_identity": lambda *a: slow.transition(*a, hop1="identity"),
    "mtc_direct": lambda *a: slow.transition(*a, direct_weight=0.7),
    "mtc_margin": lambda *a: slow.transition(*a, margin=0.3),
    "mtc_margin_identity": lambda *a: slow.transition(*a, margin=0.3, hop1="identity"),
    "direct": lambda v, t, r, y, yr: slow.direct(v, r, y, yr, 0.1),
    "center": lambda v, t, r, y, yr: slow.center(v, t, r, y, yr, 0.3),
    "mqr": lambda v, t, r, y, yr: slow.query(v, t, r, 0.1, y, yr),
    "mqr_all": lambda v, t, r, y, yr: slow.query(v, t, r, 0.1),
    "triplet": lambda v, t, r, y, yr: slow.triplet([*v, *t, *r], [*y, *y, *yr]),
    "triplet_squared": lambda v, t, r, y, yr: slow.triplet([*v, *t, *r], [*y, *y, *yr], squared=True),
    "hctri": lambda v, t, r, y, yr: slow.hetero_triplet(v, r, y, yr, 0.3),
    "msel": lambda v, t, r, y, yr: slow.shared_enhancement(v, r, y, yr),
    "dcl": lambda v, t, r, y, yr: slow.discriminative(v, r, y, yr),
    "cpm": lambda v, t, r, y, yr: slow.center_pairs(v, t, r, y, yr, 0.2),
    "identity": lambda v, t, r, y, yr: slow.identity([*v, *r], [label % D for label in [*y, *yr]], 0.1),
}


def make(y: list[int], yr: list[int], seed: int = 0, dtype: torch.dtype = torch.float64) -> Case:
    generator = torch.Generator().manual_seed(seed)
    v, t, r = (torch.randn(n, D, generator=generator, dtype=dtype) for n in (len(y), len(y), len(yr)))
    return v, t, r, torch.tensor(y, dtype=torch.int64), torch.tensor(yr, dtype=torch.int64)


CORNERS = {
    "balanced": ([0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 2, 2]),
    "uneven": ([7, 3, 3, 7, 7, 5], [5, 3, 9, 7]),
    "one identity": ([4, 4, 4], [4, 4]),
    "one image each": ([0, 1, 2], [2, 0, 1]),
    "no infrared": ([0, 0, 1], []),
    "no visible": ([], [0, 1, 1]),
    "nothing": ([], []),
    "no common identity": ([0, 0, 1], [2, 3]),
    "single images": ([0], [0]),
}
NAMED = ["mtc", "mtc_identity", "mtc_margin", "direct", "center", "triplet", "hctri", "msel", "dcl", "cpm"]
every_corner = pytest.mark.parametrize("corner", CORNERS)


@every_loss
@every_corner
def test_equals_the_loop_written_reference(name: str, corner: str) -> None:
    for seed in range(3):
        case = make(*CORNERS[corner], seed=seed)
        expected = REFERENCES[name](*(part.tolist() for part in case))
        actual = LOSSES[name](*case)
        assert actual.dtype == torch.float64 and actual.shape == ()
        assert actual.item() == pytest.approx(expected, abs=1e-9)


@every_loss
@settings(max_examples=15, deadline=None)
@given(
    y=st.lists(st.integers(0, 3), max_size=6),
    yr=st.lists(st.integers(0, 3), max_size=6),
    seed=st.integers(0, 10**6),
)
def test_equals_the_reference_on_any_batch(name: str, y: list[int], yr: list[int], seed: int) -> None:
    case = make(y, yr, seed)
    expected = REFERENCES[name](*(part.tolist() for part in case))
    assert LOSSES[name](*case).item() == pytest.approx(expected, abs=1e-9)


@every_loss
def test_gradient_is_the_derivative(name: str) -> None:
    v, t, r, y, yr = make(*CORNERS["uneven"], seed=3)
    inputs = [v.requires_grad_(), t.requires_grad_("mqr" not in name), r.requires_grad_()]
    if name == "cpm":  # d(v,t) is a constant: only the infrared side is a derivative in full
        v.requires_grad_(False)
        t.requires_grad_(False)
    if "mqr" in name:  # the teacher's share of r is a constant: its gradient has its own test below
        r.requires_grad_(False)
    wanted = [x for x in inputs if x.requires_grad]

    def loss(*moving: Tensor) -> Tensor:
        parts = iter(moving)
        return LOSSES[name](*(next(parts) if x.requires_grad else x for x in inputs), y, yr)

    assert torch.autograd.gradcheck(loss, wanted, eps=1e-6, atol=1e-6)


def test_gradient_into_the_infrared_side_of_the_query_term() -> None:
    v, t, r, _, _ = make(*CORNERS["uneven"], seed=4)
    teacher = r.clone()  # held fixed while r moves, as the stop-gradient says

    def frozen(moving: Tensor) -> Tensor:
        unit = [torch.nn.functional.normalize(x, dim=1) for x in (v, t, moving, teacher)]
        student, target = unit[0] @ unit[2].T / 0.1, unit[1] @ unit[3].T / 0.1
        sides = [
            torch.nn.functional.kl_div(
                a.log_softmax(1), b.log_softmax(1), log_target=True, reduction="batchmean"
            )
            for a, b in ((student, target), (student.T, target.T))
        ]
        return sum(sides) / 2

    moving = r.clone().requires_grad_()
    (expected,) = torch.autograd.grad(frozen(moving), moving)
    r.requires_grad_()
    (actual,) = torch.autograd.grad(modality_query_regularization(v, t, r), r)
    assert torch.allclose(actual, expected, atol=1e-9)


@every_loss
def test_the_order_of_the_batch_does_not_matter(name: str) -> None:
    v, t, r, y, yr = make(*CORNERS["uneven"])
    generator = torch.Generator().manual_seed(1)
    p, q = torch.randperm(len(y), generator=generator), torch.randperm(len(yr), generator=generator)
    shuffled = LOSSES[name](v[p], t[p], r[q], y[p], yr[q])
    assert shuffled.item() == pytest.approx(LOSSES[name](v, t, r, y, yr).item(), abs=1e-12)


@pytest.mark.parametrize("name", NAMED)
def test_identity_numbers_are_only_names(name: str) -> None:
    v, t, r, y, yr = make(*CORNERS["uneven"])
    renamed = LOSSES[name](v, t, r, 1000 - 7 * y, 1000 - 7 * yr)
    assert renamed.item() == pytest.approx(LOSSES[name](v, t, r, y, yr).item(), abs=1e-12)


@every_loss
@every_corner
@pytest.mark.parametrize("features", ["random", "identical", "zero", "large"])
def test_value_and_gradient_are_finite(name: str, corner: str, features: str) -> None:
    v, t, r, y, yr = make(*CORNERS[corner], dtype=torch.float32)
    change = {
        "random": lambda x: x,
        "identical": torch.ones_like,
        "zero": torch.zeros_like,
        "large": lambda x: 1e4 * x,
    }[features]
    leaves = [change(x).requires_grad_() for x in (v, t, r)]
    loss = LOSSES[name](*leaves, y, yr)
    assert loss.dtype == torch.float32 and loss.isfinite()
    gradients = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
    assert all(gradient.isfinite().all() for gradient in gradients)


@every_loss
def test_autocast_and_half_precision_compute_in_float32(name: str) -> None:
    v, t, r, y, yr = make(*CORNERS["balanced"], dtype=torch.bfloat16)
    wide = [x.float() for x in (v, t, r)]
    expected = LOSSES[name](*wide, y, yr)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow, same = LOSSES[name](v, t, r, y, yr), LOSSES[name](*wide, y, yr)
    assert narrow.dtype == same.dtype == torch.float32
    assert narrow.item() == same.item() == expected.item()


@every_loss
def test_float32_keeps_close_to_float64(name: str) -> None:
    case = make([i // 4 for i in range(32)], [i // 4 for i in range(32)])
    narrow = [x.float() if x.is_floating_point() else x for x in case]
    assert LOSSES[name](*narrow).item() == pytest.approx(LOSSES[name](*case).item(), rel=1e-5)


class HostReads(TorchDispatchMode):
    """Collects the operations that make a GPU wait, because the host needs their values or their sizes."""

    WAITING = (
        "_local_scalar_dense",
        "nonzero",
        "masked_select",
        "_unique2",
        "unique_dim",
        "equal",
        "is_nonzero",
    )

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name = func.__name__.split(".")[0]
        masks = name in ("index", "index_put", "index_put_") and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if name in self.WAITING or masks:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@every_loss
def test_no_loss_waits_for_the_device(name: str) -> None:
    v, t, r, y, yr = make(*CORNERS["uneven"])
    with HostReads() as reads:
        LOSSES[name](v.requires_grad_(), t, r.requires_grad_(), y, yr).backward()
    assert reads.found == []
    with HostReads() as reads:  # the detector detects
        v[y > 3].sum().item()
    assert reads.found


def documented(name: str, corner: str, same: bool = True) -> float:
    v, t, r, y, yr = make(*CORNERS[corner])
    if same:
        v, t, r = torch.ones_like(v), torch.ones_like(t), torch.ones_like(r)
    return LOSSES[name](v, t, r, y, yr).item()


def test_values_that_the_docstrings_promise() -> None:
    close = pytest.approx
    # identical features
    assert documented("triplet", "balanced") == close(math.log(2))
    assert documented("center", "balanced") == close(0.3)
    assert documented("mqr", "balanced") == 0
    assert documented("mtc", "balanced") == close((math.log(5) + math.log(6)) / 2)  # 1 own + 4 others; all 6
    assert documented("mtc_margin", "balanced") == close(0.3)
    # one identity alone
    assert documented("triplet", "one identity", same=False) == 0
    assert documented("mtc_margin", "one identity", same=False) == 0
    assert documented("mtc", "one identity") == close((math.log(3) + math.log(2)) / 4)
    assert documented("direct", "one identity") == close((math.log(3) + math.log(2)) / 2)
    assert documented("center", "one identity") == close(0)
    # a modality missing
    for corner in ("no infrared", "no visible", "nothing"):
        assert documented("direct", corner, same=False) == documented("mqr", corner, same=False) == 0
    assert documented("mtc", "no visible", same=False) == documented("mtc", "nothing", same=False) == 0
    assert documented("mtc", "no infrared", same=False) > 0  # hop 1 remains
    assert documented("center", "nothing") == 0
    # no partner anywhere
    assert documented("direct", "no common identity", same=False) == 0


def test_triplet_is_right_at_large_distances() -> None:
    """The field's common code shifts the negative softmax by a masked row's extreme; beyond 14 its weights vanish."""
    x = torch.tensor([[0.0], [1.0], [40.0], [41.0]], requires_grad=True)
    loss = weighted_triplet(30 * x, torch.tensor([0, 1, 0, 1]))
    expected = slow.triplet((30 * x).tolist(), [0, 1, 0, 1])
    assert loss.item() == pytest.approx(expected, rel=1e-6) and expected > 1000
    (gradient,) = torch.autograd.grad(loss, x)
    assert gradient.abs().max() > 1


def test_triplet_of_one_image_each_pushes_apart() -> None:
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    assert weighted_triplet(x, torch.tensor([0, 1])).item() == pytest.approx(math.log1p(math.exp(-5)))


@pytest.mark.parametrize("name", ["mtc", "mtc_identity", "mtc_margin", "mtc_margin_identity"])
def test_mtc_falls_as_a_transition_moves_from_a_wrong_identity_to_its_own(name: str) -> None:
    y = torch.tensor([0, 1, 2])
    points = torch.eye(3, D, dtype=torch.float64)
    values = []
    for share in torch.linspace(0, 1, 11):
        moved = points.clone()
        moved[0] = (1 - share) * points[1] + share * points[0]
        values.append(LOSSES[name](points, moved, points, y, y).item())
    falls = [earlier - later for earlier, later in itertools.pairwise(values)]
    assert min(falls) > 0 or (
        "margin" in name and min(falls) == 0 and values[-1] == 0
    )  # a hinge may be done early
    assert values[0] - values[-1] > 0.1


def test_center_is_zero_iff_centres_coincide_and_identities_are_apart() -> None:
    y = torch.tensor([0, 0, 1, 1])
    points = torch.eye(2, D, dtype=torch.float64)[y]
    assert modality_center(points, points, points, y).item() == 0
    assert modality_center(points, points, points, y, margin=1.5).item() > 0  # they are sqrt(2) apart
    for moved in range(3):
        parts = [points.clone() for _ in range(3)]
        parts[moved][0, 3] = 0.1
        assert modality_center(*parts, y).item() > 0
    spread = points.clone()
    spread[0, 3], spread[1, 3] = 0.5, -0.5  # images differ, but the same way in every modality
    assert modality_center(spread, spread, spread, y).item() == pytest.approx(0, abs=1e-12)


def test_query_term_is_zero_iff_both_answer_alike() -> None:
    v, t, r, _, _ = make(*CORNERS["balanced"])
    assert modality_query_regularization(v, v, r).item() == 0
    assert modality_query_regularization(v, 3 * v, r).item() == pytest.approx(0, abs=1e-12)
    assert modality_query_regularization(v, t, r).item() > 0.1
    # different features, but every infrared image sees them alike
    flat = r.clone()
    flat[:, D - 1] = 0
    above, below = v.clone(), v.clone()
    below[:, D - 1] *= -1
    assert modality_query_regularization(above, below, flat).item() == pytest.approx(0, abs=1e-12)


def test_query_term_needs_identities_of_both_sides() -> None:
    v, t, r, y, _ = make(*CORNERS["balanced"])
    with pytest.raises(ValueError, match="no identities to compare them with"):
        modality_query_regularization(v, t, r, infrared_identities=y)


def test_only_a_transition_that_knows_better_teaches() -> None:
    """Two people, one image each: a transition nearer to the right infrared image teaches, a farther one does not."""
    y = torch.tensor([0, 1])
    r = torch.eye(2, dtype=torch.float64)
    good, bad = (
        torch.tensor([[1.0, 0.2], [0.2, 1.0]]).double(),
        torch.tensor([[1.0, 0.8], [0.8, 1.0]]).double(),
    )
    assert (
        modality_query_regularization(bad, good, r, y).item()
        == modality_query_regularization(bad, good, r).item()
    )
    assert modality_query_regularization(bad, good, r).item() > 0.1
    assert modality_query_regularization(good, bad, r).item() > 0.1
    assert modality_query_regularization(good, bad, r, y).item() == 0
    # One row of each kind: half of the queries' mean is left, of the gallery's side what its own rows say.
    mixed, other = torch.stack([bad[0], good[1]]), torch.stack([good[0], bad[1]])
    value = modality_query_regularization(mixed, other, r, y).item()
    assert 0 < value < modality_query_regularization(mixed, other, r).item()
    assert value == pytest.approx(
        slow.query(mixed.tolist(), other.tolist(), r.tolist(), 0.1, [0, 1], [0, 1]), abs=1e-12
    )


def test_no_gradient_reaches_the_teacher() -> None:
    v, t, r, _, _ = make(*CORNERS["balanced"])
    for x in (v, t, r):
        x.requires_grad_()
    modality_query_regularization(v, t, r).backward()
    assert t.grad is None
    assert v.grad is not None and v.grad.abs().sum() > 0
    assert r.grad is not None and r.grad.abs().sum() > 0


def test_no_shortcut_from_visible_to_infrared_by_default() -> None:
    """Infrared features get the same gradient whatever the visible ones are: only transitions reach them."""
    v, t, r, y, yr = make(*CORNERS["balanced"])
    r.requires_grad_()
    (one,) = torch.autograd.grad(modality_transition_contrastive(v, t, r, y, yr), r)
    (two,) = torch.autograd.grad(modality_transition_contrastive(-v, t, r, y, yr), r)
    assert torch.equal(one, two) and one.abs().sum() > 0


def test_hop_by_instance_ignores_other_images_of_the_identity() -> None:
    y, yr = torch.tensor([0, 0, 1]), torch.tensor([0, 1])
    v, t, r, _, _ = make(y.tolist(), yr.tolist())
    v.requires_grad_()
    pair = modality_transition_contrastive(v[:1], t[:1], r[:0], y[:1], yr[:0])
    assert pair.item() == 0  # nobody else to confuse it with
    both = modality_transition_contrastive(v[:2], t[:2], r[:0], y[:2], yr[:0])
    assert both.item() == 0  # the other image has the same identity: neither positive nor negative


@pytest.mark.parametrize(
    "name", [name for name in LOSSES if name not in ("triplet", "triplet_squared", "identity")]
)
def test_scale_of_features_does_not_matter_where_rows_are_normalised(name: str) -> None:
    v, t, r, y, yr = make(*CORNERS["uneven"])
    scaled = LOSSES[name](100 * v, 0.01 * t, 7 * r, y, yr)
    assert scaled.item() == pytest.approx(LOSSES[name](v, t, r, y, yr).item(), rel=1e-9)


def test_smoothing_of_the_identity_loss() -> None:
    logits, y = torch.tensor([[50.0, 0.0]]), torch.tensor([0])
    assert identity_loss(logits, y, smoothing=0).item() == pytest.approx(0)
    assert identity_loss(logits, y, smoothing=0.1).item() == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda v, t, r, y, yr: modality_transition_contrastive(v, t[1:], r, y, yr), "aligned"),
        (lambda v, t, r, y, yr: modality_transition_contrastive(v, t, r, y, yr[1:]), "infrared_identities"),
        (lambda v, t, r, y, yr: modality_transition_contrastive(v, t, r, y, yr, hop1="pixel"), "hop1"),
        (
            lambda v, t, r, y, yr: modality_transition_contrastive(v, t, r, y, yr, temperature=0),
            "temperature",
        ),
        (lambda v, t, r, y, yr: modality_center(v, t[1:], r, y, yr), "aligned"),
        (lambda v, t, r, y, yr: modality_center(v, t, r[:, 1:], y, yr), "width"),
        (lambda v, t, r, y, yr: modality_query_regularization(v, t[1:], r), "aligned"),
        (lambda v, t, r, y, yr: modality_query_regularization(v, t, r, y[1:], yr), "identities must be"),
        (
            lambda v, t, r, y, yr: modality_query_regularization(v, t, r, y, yr[1:]),
            "infrared_identities must be",
        ),
        (lambda v, t, r, y, yr: direct_contrastive(v, r, y.float(), yr), "integers"),
        (lambda v, t, r, y, yr: weighted_triplet(v[0], y), "N,D"),
        (lambda v, t, r, y, yr: weighted_triplet(v, yr), "identities"),
        (lambda v, t, r, y, yr: identity_loss(v, y, smoothing=1), "smoothing"),
    ],
)
def test_wrong_input_is_named(call: Callable[..., Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(*make(*CORNERS["uneven"]))


@pytest.mark.parametrize(
    "kind",
    [list, tuple, np.array, lambda y: np.array(y, np.uint8), lambda y: torch.tensor(y, dtype=torch.int32)],
    ids=["list", "tuple", "int64", "uint8", "int32 tensor"],
)
def test_labels_of_any_integer_sequence(kind: Any) -> None:
    ids = [0, 0, 1, 2]
    v, t, r = (torch.randn(4, 6, generator=torch.Generator().manual_seed(seed)) for seed in range(3))
    y = torch.tensor(ids)
    for loss in (
        lambda y: identity_loss(v, y),
        lambda y: weighted_triplet(v, y),
        lambda y: direct_contrastive(v, r, y),
        lambda y: direct_contrastive(v, r, y, y),
        lambda y: modality_center(v, t, r, y),
        lambda y: modality_transition_contrastive(v, t, r, y, y),
        lambda y: modality_query_regularization(v, t, r, y),
    ):
        assert torch.equal(loss(kind(ids)), loss(y))
    assert torch.equal(
        TriLayout.balanced(kind(ids)).identities, TriLayout.balanced(y).identities.to(torch.int64)
    )


@pytest.mark.parametrize(
    "wrong",
    [["a", "b"], [0.5, 1.0], [0], [[0, 1]], [True, False], None, [2**70, 1], np.array([2**63, 0], np.uint64),
     torch.tensor([1j, 0]), [None, 1]],
    ids=str,
)  # fmt: skip
def test_labels_that_are_no_integers_are_refused(wrong: Any) -> None:
    features = torch.randn(2, 3)
    with pytest.raises(ValueError, match="identities must be"):
        weighted_triplet(features, wrong)
    with pytest.raises(ValueError, match="must be a tensor, not ndarray"):
        weighted_triplet(features.numpy(), [0, 1])
