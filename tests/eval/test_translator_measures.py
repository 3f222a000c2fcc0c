"""Measures of translators against loops, and what they must say of simple cases."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from eval.translation.alignment import alignment, edges
from eval.translation.frechet import frechet_distance
from eval.translation.infrared_score import score_images, train_classifier
from eval.translation.sheet import write_sheet
from eval.translation.similarity import psnr, ssim


def grey(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 1, height, width, generator=generator, dtype=torch.float64)


def slow_edges(image: np.ndarray) -> np.ndarray:
    height, width = image.shape
    result = np.zeros((height - 2, width - 2))
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            gx = sum(w * (image[y + d, x + 1] - image[y + d, x - 1]) for d, w in ((-1, 1), (0, 2), (1, 1)))
            gy = sum(w * (image[y + 1, x + d] - image[y - 1, x + d]) for d, w in ((-1, 1), (0, 2), (1, 1)))
            result[y - 1, x - 1] = math.hypot(gx, gy)
    return result


def slow_ssim(a: np.ndarray, b: np.ndarray) -> float:
    taps = np.array([math.exp(-((i - 5) ** 2) / (2 * 1.5**2)) for i in range(11)])
    window = np.outer(taps, taps) / np.outer(taps, taps).sum()
    values = []
    for y in range(a.shape[0] - 10):
        for x in range(a.shape[1] - 10):
            p, q = a[y : y + 11, x : x + 11], b[y : y + 11, x : x + 11]
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
            both = (window * (p - mp) * (q - mq)).sum()
            top = (2 * mp * mq + 1e-4) * (2 * both + 9e-4)
            values.append(top / ((mp * mp + mq * mq + 1e-4) * (vp + vq + 9e-4)))
    return float(np.mean(values))


def test_alignment_equals_loops() -> None:
    a, b = grey(3, 9, 7), grey(3, 9, 7, seed=1)
    for i in range(3):
        expected = slow_edges(a[i, 0].numpy())
        assert np.allclose(edges(a)[i, 0].numpy(), expected, atol=1e-12)
        other = slow_edges(b[i, 0].numpy())
        r = np.corrcoef(expected.ravel(), other.ravel())[0, 1]
        assert abs(float(alignment(a, b)[i]) - r) < 1e-10


def test_alignment_knows_moved_content_and_ignores_inversion() -> None:
    a = torch.nn.functional.interpolate(grey(4, 8, 4), scale_factor=4.0, mode="bilinear")
    assert torch.allclose(alignment(a, a), torch.ones(4, dtype=torch.float64))
    assert torch.allclose(alignment(a, 0.9 - 0.5 * a), torch.ones(4, dtype=torch.float64))
    assert (alignment(a, a.roll(3, dims=3)) < 0.5).all()
    assert torch.equal(alignment(a, torch.full_like(a, 0.5)), torch.zeros(4, dtype=torch.float64))


def test_ssim_and_psnr_equal_loops() -> None:
    a = grey(2, 16, 13)
    b = (a + 0.2 * grey(2, 16, 13, seed=1)).clamp(0, 1)
    for i in range(2):
        x, y = a[i, 0].numpy(), b[i, 0].numpy()
        assert abs(float(ssim(a, b)[i]) - slow_ssim(x, y)) < 1e-9
        error = sum((x.ravel()[k] - y.ravel()[k]) ** 2 for k in range(x.size)) / x.size
        assert abs(float(psnr(a, b)[i]) - 10 * math.log10(1 / error)) < 1e-9
    assert torch.allclose(ssim(a, a), torch.ones(2, dtype=torch.float64))
    assert torch.equal(psnr(a, a), torch.full((2,), 100.0, dtype=torch.float64))


def test_frechet_distance_of_gaussians() -> None:
    """Diagonal covariances have a closed form: sum (m1 - m2)^2 + (s1 - s2)^2."""
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(4000, 3, generator=generator, dtype=torch.float64)
    base = base - base.mean(dim=0)
    base = base @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(base.T))).T  # exactly white
    one = base * torch.tensor([1.0, 2.0, 0.5]) + torch.tensor([0.0, 1.0, -1.0])
    two = base * torch.tensor([3.0, 0.2, 0.5]) + torch.tensor([0.5, 1.0, 1.0])
    expected = 0.25 + 4 + (1 - 3) ** 2 + (2 - 0.2) ** 2
    assert frechet_distance(one, two) == pytest.approx(expected, abs=1e-6)
    assert frechet_distance(two, one) == pytest.approx(expected, abs=1e-6)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-6)
    matrix = torch.tensor([[1.0, 0.3, 0.0], [0.2, 1.0, 0.5], [0.0, 0.0, 0.7]], dtype=torch.float64)
    mixed = base @ matrix.T
    cross = torch.linalg.eigvals(torch.cov(mixed.T) @ torch.cov(two.T)).real.sqrt().sum()
    trace = torch.cov(mixed.T).trace() + torch.cov(two.T).trace()
    gap = (mixed.mean(dim=0) - two.mean(dim=0)).square().sum()
    assert frechet_distance(mixed, two) == pytest.approx(float(gap + trace - 2 * cross), abs=1e-6)
    with pytest.raises(ValueError, match="two images"):
        frechet_distance(one[:1], two)


def test_the_classifier_tells_grain_not_colour() -> None:
    """Infrared here is grey with grain; what it says of a visible image does not depend on colour alone."""
    generator = torch.Generator().manual_seed(0)

    def images(count: int, noise: float, colours: int) -> Tensor:
        base = torch.rand(count, colours, 4, 2, generator=generator)
        base = torch.nn.functional.interpolate(base, scale_factor=8.0, mode="bilinear")
        base = base + noise * torch.randn(count, 1, 32, 16, generator=generator)
        return (255 * base.clamp(0, 1)).byte().expand(-1, 3, -1, -1)

    visible, infrared = images(48, 0.0, 3), images(48, 0.15, 1)
    state = torch.get_rng_state()
    network = train_classifier(visible, infrared, seed=0, steps=80, batch=16)
    assert torch.equal(state, torch.get_rng_state())
    smooth, features = score_images(network, images(24, 0.0, 1)[:, :1].float() / 255)
    grainy, _ = score_images(network, images(24, 0.15, 1)[:, :1].float() / 255)
    assert smooth.mean() < 0.3 and grainy.mean() > 0.7
    assert features.shape == (24, 64)
    again = train_classifier(visible, infrared, seed=0, steps=80, batch=16)
    assert all(
        torch.equal(a, b)
        for a, b in zip(network.state_dict().values(), again.state_dict().values(), strict=True)
    )


def test_a_sheet_is_written(tmp_path: Path) -> None:
    visible = torch.rand(9, 3, 16, 8)
    write_sheet(tmp_path / "new" / "sheet.png", visible, {"grey": visible[:, :1]}, visible[:, :1])
    assert (tmp_path / "new" / "sheet.png").stat().st_size > 1000
