"""Augmentation: paired geometry, statistics of every draw, reproducibility, range."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mtrl.data.augment import CHANNEL_MODES, AugmentConfig, PairedAugment

NOTHING = AugmentConfig(pad=0, flip=0, erase=0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def coordinates(count: int, height: int, width: int) -> Tensor:
    """Images whose red is the row, green the column, blue the image, each scaled into [0, 1]."""
    y = torch.arange(height).view(1, height, 1).expand(count, height, width) / 256
    x = torch.arange(width).view(1, 1, width).expand(count, height, width) / 256
    n = torch.arange(count).view(count, 1, 1).expand(count, height, width) / 256
    return torch.stack([y, x, n], dim=1)


def noise(count: int, height: int = 12, width: int = 8, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, height, width, generator=generator(seed))


def augment_visible(config: AugmentConfig, images: Tensor, seed: int = 0) -> Tensor:
    return PairedAugment(config)(images, None, images[:1], generator(seed))[0]


@pytest.mark.parametrize("fill", ["mean", "random"])
def test_visible_and_transition_share_their_geometry(fill: str) -> None:
    images = coordinates(64, 24, 12)
    config = AugmentConfig(pad=3, flip=0.5, erase=0.7, erase_fill=fill)
    visible, transition, infrared = PairedAugment(config)(images, images.clone(), images, generator())
    assert torch.equal(visible, transition)
    assert not torch.equal(visible, infrared)  # infrared images are others, and move on their own
    assert not torch.equal(visible, images)


def test_geometry_is_shared_even_when_photometry_is_not() -> None:
    images = coordinates(64, 24, 12)
    config = AugmentConfig(pad=3, brightness=0.1, contrast=0.1, channel="mix", channel_prob=1.0)
    visible, transition, _ = PairedAugment(config)(images, images.clone(), images, generator())
    assert not torch.equal(visible, transition)
    fill = torch.tensor(config.mean).view(1, 3, 1, 1)
    erased = [(x == fill).all(dim=1) for x in (visible, transition)]
    assert erased[0].any() and torch.equal(*erased)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 12),
    st.integers(0, 2**32),
    st.sampled_from([0.0, 1.0]),
)
def test_pixels_are_moved_never_made(height: int, width: int, pad: int, seed: int, flip: float) -> None:
    """Every output image is the input shifted by up to `pad`, borders repeated, mirrored or not: found by search."""
    images = coordinates(3, height, width)
    moved = augment_visible(AugmentConfig(pad=pad, flip=flip, erase=0), images, seed)
    for before, after in zip(images.numpy(), moved.numpy(), strict=True):
        padded = np.pad(before, ((0, 0), (pad, pad), (pad, pad)), mode="edge")
        if flip:
            after = after[:, :, ::-1]
        assert any(
            np.array_equal(after, padded[:, y : y + height, x : x + width])
            for y in range(2 * pad + 1)
            for x in range(2 * pad + 1)
        )


def test_crop_shifts_are_uniform_and_mirroring_has_its_probability() -> None:
    images = coordinates(6000, 9, 9)
    moved = augment_visible(AugmentConfig(pad=2, flip=0.3, erase=0), images)
    centre = (moved[:, :2, 4, 4] * 256).round() - 4
    for axis in range(2):
        shares = torch.bincount((centre[:, axis] + 2).long(), minlength=5) / len(images)
        assert len(shares) == 5 and (shares - 0.2).abs().max() < 0.03
    joint = torch.bincount(((centre[:, 0] + 2) * 5 + centre[:, 1] + 2).long(), minlength=25) / len(images)
    assert (joint - 0.04).abs().max() < 0.015
    mirrored = moved[:, 1, 4, 3] > moved[:, 1, 4, 5]
    assert abs(mirrored.float().mean().item() - 0.3) < 0.03


def test_erased_boxes() -> None:
    height, width, count = 48, 24, 4000
    config = AugmentConfig(pad=0, flip=0, erase=0.6, erase_area=(0.1, 0.3), erase_aspect=(0.5, 2.0))
    images = torch.zeros(count, 3, height, width)
    output = augment_visible(config, images)
    fill = torch.tensor(config.mean).view(1, 3, 1, 1)
    assert ((output == fill) | (output == 0)).all()
    mask = output[:, 0] > 0
    has = mask.any(dim=(1, 2))
    assert abs(has.float().mean().item() - 0.6) < 0.03
    tall, wide = mask.any(dim=2).sum(1), mask.any(dim=1).sum(1)
    area = mask.sum(dim=(1, 2))
    assert torch.equal(area, tall * wide)  # one full rectangle each
    share = (area[has] / (height * width)).numpy()
    assert share.min() > 0.08 and share.max() < 0.32
    assert abs(share.mean() - 0.2) < 0.01
    aspect = (tall[has] / wide[has]).log()
    assert aspect.abs().max() < 0.85 and abs(aspect.mean().item()) < 0.05
    cover = mask[has].float().mean(dim=0)
    assert (cover - cover.flip(0)).abs().max() < 0.08 and (cover - cover.flip(1)).abs().max() < 0.08
    assert cover[0, 0] > 0  # boxes reach the corner


def test_random_fill_differs_between_images_and_is_one_colour_each() -> None:
    config = AugmentConfig(pad=0, flip=0, erase=1.0, erase_area=(1.0, 1.0), erase_fill="random")
    output = augment_visible(config, torch.zeros(50, 3, 6, 6))
    colours = output.amax(dim=(2, 3))
    assert len({tuple(c) for c in colours.tolist()}) == 50
    assert ((output == colours[:, :, None, None]) | (output == 0)).all()


def test_a_box_larger_than_the_image_is_cut() -> None:
    config = AugmentConfig(pad=0, flip=0, erase=1.0, erase_area=(1.0, 1.0), erase_aspect=(20.0, 30.0))
    output = augment_visible(config, torch.zeros(20, 3, 8, 8))
    assert (output[:, 0] > 0).any(dim=2).all()  # full height, some columns


def test_switched_off_it_changes_nothing() -> None:
    images = noise(5)
    for output in PairedAugment(NOTHING)(images, images, images, generator()):
        assert torch.equal(output, images)


def distinct_channels(count: int) -> Tensor:
    return torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1).expand(count, 3, 4, 4).contiguous()


def outcomes(mode: str, probability: float, count: int = 6000) -> Tensor:
    config = dataclasses.replace(NOTHING, channel=mode, channel_prob=probability)
    output = augment_visible(config, distinct_channels(count))
    assert torch.equal(output, output[:, :, :1, :1].expand_as(output))
    return output[:, :, 0, 0]


def share_of(colours: Tensor, colour: tuple[float, ...]) -> float:
    return torch.isclose(colours, torch.tensor(colour)).all(dim=1).float().mean().item()


UNCHANGED, GREY = (0.2, 0.5, 0.9), (0.299 * 0.2 + 0.587 * 0.5 + 0.114 * 0.9,) * 3


def test_exchange_copies_one_channel_exactly() -> None:
    colours = outcomes("exchange", 1.0)
    for value in UNCHANGED:
        exact = (colours == torch.tensor(value)).all(dim=1).float().mean().item()
        assert exact == pytest.approx(1 / 3, abs=0.03)


def test_channel_probability() -> None:
    assert share_of(outcomes("exchange", 0.25), UNCHANGED) == pytest.approx(0.75, abs=0.03)
    assert share_of(outcomes("exchange", 0.0), UNCHANGED) == 1


def test_adapt_and_adapt_gray_have_the_outcomes_of_the_field() -> None:
    colours = outcomes("adapt", 1.0)
    for colour in [(v, v, v) for v in UNCHANGED] + [UNCHANGED]:
        assert share_of(colours, colour) == pytest.approx(0.25, abs=0.03)
    colours = outcomes("adapt_gray", 1.0)
    for value in UNCHANGED:
        assert share_of(colours, (value,) * 3) == pytest.approx(0.25, abs=0.03)
    for colour in (GREY, UNCHANGED):
        assert share_of(colours, colour) == pytest.approx(0.125, abs=0.02)


def test_mix_is_a_grey_between_the_channels() -> None:
    colours = outcomes("mix", 1.0)
    assert torch.allclose(colours, colours[:, :1].expand_as(colours))
    assert colours.min() >= 0.2 and colours.max() <= 0.9
    assert colours.mean().item() == pytest.approx(sum(UNCHANGED) / 3, abs=0.01)
    assert len(colours[:, 0].unique()) > 5000


def test_blend_lies_between_a_copy_and_the_image() -> None:
    colours = outcomes("blend", 1.0)
    kept = torch.isclose(colours, torch.tensor(UNCHANGED))
    assert kept.any(dim=1).all()  # the chosen channel stays
    assert kept.sum(dim=1).float().mean().item() < 1.1
    assert colours.min() >= 0.2 - 1e-6 and colours.max() <= 0.9 + 1e-6


def test_channel_changes_are_for_visible_images_alone() -> None:
    images = distinct_channels(50)
    config = dataclasses.replace(NOTHING, channel="exchange", channel_prob=1.0)
    visible, transition, infrared = PairedAugment(config)(images, images, images, generator())
    assert torch.equal(transition, images) and torch.equal(infrared, images)
    assert not torch.equal(visible, images)


def test_jitter_equals_its_formula() -> None:
    images = 0.4 + 0.2 * noise(4000, 4, 4)
    output = augment_visible(dataclasses.replace(NOTHING, brightness=0.2), images)
    factor = output / images
    assert (factor.amax(dim=(1, 2, 3)) - factor.amin(dim=(1, 2, 3))).max() < 1e-4
    factor = factor.mean(dim=(1, 2, 3))
    assert 0.8 <= factor.min() < 0.81 and 1.19 < factor.max() <= 1.2
    assert factor.std().item() == pytest.approx(0.4 / 12**0.5, abs=0.005)
    output = augment_visible(dataclasses.replace(NOTHING, contrast=0.2), images)
    assert torch.allclose(output.mean(dim=(1, 2, 3)), images.mean(dim=(1, 2, 3)), atol=1e-5)
    spread = output.std(dim=(1, 2, 3)) / images.std(dim=(1, 2, 3))
    assert 0.8 - 1e-4 <= spread.min() < 0.81 and 1.19 < spread.max() <= 1.2 + 1e-4


def test_blur_and_noise() -> None:
    images = noise(500, 16, 16)
    blurred = augment_visible(dataclasses.replace(NOTHING, blur=0.4), images)
    changed = (blurred != images).flatten(1).any(dim=1)
    assert abs(changed.float().mean().item() - 0.4) < 0.08
    assert (blurred.std(dim=(1, 2, 3)) <= images.std(dim=(1, 2, 3)) + 1e-6).all()
    flat = torch.full((500, 3, 16, 16), 0.5)
    assert torch.equal(augment_visible(dataclasses.replace(NOTHING, blur=1.0), flat), flat)
    grainy = augment_visible(dataclasses.replace(NOTHING, noise=0.05), flat)
    assert torch.equal(grainy[:, 0], grainy[:, 1]) and torch.equal(grainy[:, 0], grainy[:, 2])
    deviation = grainy[:, 0].std(dim=(1, 2))
    assert deviation.max() < 0.06 and deviation.mean().item() == pytest.approx(0.025, abs=0.003)


EVERYTHING = AugmentConfig(
    pad=2, erase=0.5, erase_fill="random", channel="blend", brightness=0.5, contrast=0.5, blur=0.5, noise=0.3
)


@pytest.mark.parametrize("mode", CHANNEL_MODES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_shape_type_and_range_are_kept(mode: str, dtype: torch.dtype) -> None:
    config = dataclasses.replace(EVERYTHING, channel=mode)
    images = noise(16).to(dtype)
    extremes = torch.cat([images, torch.zeros_like(images), torch.ones_like(images)])
    for output in PairedAugment(config)(extremes, extremes, images, generator()):
        assert output.dtype == dtype and output.min() >= 0 and output.max() <= 1


def test_same_seed_same_bits_and_no_other_source_of_chance() -> None:
    images = noise(16)
    one = PairedAugment(EVERYTHING)(images, images, images, generator(3))
    torch.manual_seed(99)
    state = torch.get_rng_state()
    two = PairedAugment(EVERYTHING)(images, images, images, generator(3))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    other = PairedAugment(EVERYTHING)(images, images, images, generator(4))
    assert not any(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_inputs_are_left_alone() -> None:
    images = noise(16)
    copy = images.clone()
    PairedAugment(EVERYTHING)(images, images, images, generator())
    assert torch.equal(images, copy)


def test_visible_and_infrared_do_not_depend_on_transitions() -> None:
    """So that a baseline without transitions sees the same images."""
    images = noise(16)
    with_t = PairedAugment(EVERYTHING)(images, images, images, generator())
    without = PairedAugment(EVERYTHING)(images, None, images, generator())
    assert torch.equal(with_t[0], without[0]) and torch.equal(with_t[2], without[2]) and without[1] is None


def test_batches_may_be_empty_or_differ_in_size() -> None:
    visible, transition, infrared = PairedAugment(EVERYTHING)(
        noise(0), noise(0), noise(3, 20, 10), generator()
    )
    assert visible.shape == transition.shape == (0, 3, 12, 8) and infrared.shape == (3, 3, 20, 10)


@pytest.mark.parametrize(
    ("visible", "transition", "message"),
    [
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), None, "255"),
        (torch.zeros(2, 1, 4, 4), None, "N,3,H,W"),
        (torch.zeros(3, 4, 4), None, "N,3,H,W"),
        (torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4, dtype=torch.uint8), "255"),
        (torch.zeros(2, 3, 4, 4), torch.zeros(1, 3, 4, 4), "match"),
    ],
)
def test_wrong_images_are_refused(visible: Tensor, transition: Tensor | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PairedAugment(AugmentConfig())(visible, transition, torch.zeros(2, 3, 4, 4), generator())


@pytest.mark.parametrize(
    "bad",
    [
        {"pad": -1}, {"flip": 1.5}, {"erase": -0.1}, {"erase_area": (0.4, 0.1)}, {"erase_area": (0.0, 0.1)},
        {"erase_aspect": (0.0, 1.0)}, {"erase_fill": "black"}, {"channel": "rgb"}, {"mean": (0.5, 0.5)},
        {"brightness": 2.0}, {"noise": float("nan")},
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        AugmentConfig(**bad)
