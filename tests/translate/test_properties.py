"""The photometric formulas behind translators and augmentation, against loops and on whole families of images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mtrl.translate import Luminance, Spectral
from mtrl.translate.photometric import soft_blur
from mtrl.translate.spectral import EVAL_BLUR, EVAL_WEIGHTS

FIXED = settings(max_examples=20, deadline=None, derandomize=True)
COUNT = 200


def slow_blur(image: np.ndarray, amount: float) -> np.ndarray:
    """Taps (a, 1-2a, a) down the columns, then along the rows, of one [H,W]; borders repeated."""
    for _ in range(2):
        padded = np.pad(image, ((1, 1), (0, 0)), mode="edge")
        image = (amount * padded[:-2] + (1 - 2 * amount) * padded[1:-1] + amount * padded[2:]).T
    return image


@st.composite
def images(draw: st.DrawFn) -> Tensor:
    shape = draw(st.integers(1, 4)), 3, draw(st.integers(1, 7)), draw(st.integers(1, 7))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    return torch.rand(shape, generator=generator, dtype=torch.float64)


@FIXED
@given(images(), st.integers(0, 10**6))
def test_blur_equals_loops(images: Tensor, seed: int) -> None:
    amounts = torch.rand(len(images), generator=torch.Generator().manual_seed(seed), dtype=torch.float64) / 4
    blurred = soft_blur(images, amounts)
    for image, amount, result in zip(images, amounts, blurred, strict=True):
        for plane, output in zip(image.numpy(), result.numpy(), strict=True):
            np.testing.assert_allclose(output, slow_blur(plane, float(amount)), atol=1e-12)


@FIXED
@given(images())
def test_fixed_translators_equal_loops_and_move_nothing(images: Tensor) -> None:
    for translator, weights, amount in (
        (Luminance(), (0.299, 0.587, 0.114), 0.0),
        (Spectral().eval(), EVAL_WEIGHTS, EVAL_BLUR),
    ):
        output = translator(images)
        for image, result in zip(images.numpy(), output.numpy(), strict=True):
            grey = slow_blur(sum(w * plane for w, plane in zip(weights, image, strict=True)), amount)
            np.testing.assert_allclose(result, np.stack([grey] * 3), atol=1e-6)  # the weights are float32
        for axis in (2, 3):
            assert torch.allclose(translator(images.flip(axis)), output.flip(axis), atol=1e-12)
    # The end of the spectrum next to infrared weighs most.
    assert EVAL_WEIGHTS[0] > EVAL_WEIGHTS[1] > EVAL_WEIGHTS[2] and sum(EVAL_WEIGHTS) == pytest.approx(1)


def flat(*values: float, side: int = 1) -> Tensor:
    """COUNT grey images whose columns have these values."""
    return torch.tensor(values, dtype=torch.float64).repeat_interleave(side).expand(COUNT, 3, side, -1)


def test_random_tone_is_a_power_mixed_with_an_s_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtrl.translate.spectral.NOISE", 0.0)
    monkeypatch.setattr("mtrl.translate.spectral.BLUR", 0.0)
    x = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    with monkeypatch.context() as patch:
        patch.setattr("mtrl.translate.spectral.S_CURVE", 0.0)
        powers = Spectral().train()(flat(*x.tolist()))[:, 0, 0].log() / x.log()
    assert torch.allclose(powers, powers[:, :1].expand(-1, 9), atol=1e-5)
    assert 0.6 - 1e-4 < powers.min() < 0.63 and 1.6 < powers.max() < 1.7 + 1e-4
    with monkeypatch.context() as patch:
        patch.setattr("mtrl.translate.spectral.GAMMA", (1.0, 1.0))
        bend = Spectral().train()(flat(*x.tolist()))[:, 0, 0] - x
    shares = (bend @ (3 * x**2 - 2 * x**3 - x)) / (3 * x**2 - 2 * x**3 - x).square().sum()
    assert torch.allclose(bend, shares[:, None] * (3 * x**2 - 2 * x**3 - x), atol=1e-6)
    assert 0 <= shares.min() < 0.03 and 0.57 < shares.max() <= 0.6 + 1e-6


def test_random_noise_and_blur_have_their_strength(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtrl.translate.spectral.GAMMA", (1.0, 1.0))
    monkeypatch.setattr("mtrl.translate.spectral.S_CURVE", 0.0)
    strength = Spectral().train()(flat(0.5, side=40)).flatten(1).std(dim=1)
    assert strength.min() < 0.002 and 0.027 < strength.max() < 0.032
    assert abs(strength.mean().item() - 0.015) < 0.002
    monkeypatch.setattr("mtrl.translate.spectral.NOISE", 0.0)
    # One tap crosses the edge between black and white.
    amounts = Spectral().train()(flat(0, 0, 1, 1))[:, 0, 0, 1]
    assert 0 <= amounts.min() < 0.01 and 0.14 < amounts.max() <= 0.15 + 1e-6
    assert abs(amounts.mean().item() - 0.075) < 0.01
