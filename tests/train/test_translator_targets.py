"""What a translator's training draws visible images towards: edges by a loop, and similar images found by hand."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mtrl.data.imageset import ImageSet
from tests.helpers.translators import people, settings
from train.translator.loop import TranslatorTrainer
from train.translator.targets import GRID, NOISE, SimilarImages, edge_directions

CPU = torch.device("cpu")


def outlines(seed: int, count: int = 6) -> NDArray[np.bool_]:
    """Silhouettes [count,64,32] of a leaning bar with an arm to one side, each its own."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:64, 0:32]
    shapes = []
    for _ in range(count):
        lean, width, arm = rng.uniform(-0.2, 0.2), rng.uniform(4, 7), rng.integers(12, 50)
        body = np.abs(x - 15.5 - lean * (y - 32)) < width
        shapes.append(body | ((np.abs(y - arm) < 4) & (x > 15)))
    return np.stack(shapes)


def drawn(shapes: NDArray[np.bool_], inside: tuple[int, int, int], outside: int) -> NDArray[np.uint8]:
    """uint8 [N,64,32,3]: silhouettes of one colour before a grey ground."""
    return np.where(shapes[..., None], np.array(inside), outside).astype(np.uint8)


def both(identities: NDArray[np.int64] | None = None) -> ImageSet:
    """Six people in red, and in infrared the same outlines the other way round, bright; 4 and 5 are mirrored there."""
    shapes = outlines(0)
    night = drawn(shapes[::-1], (230, 230, 230), 20)
    night[:2] = night[:2, :, ::-1]
    kinds = np.repeat([0, 1], 6)
    return ImageSet(
        np.concatenate([drawn(shapes, (90, 20, 20), 120), night]),
        np.arange(12) if identities is None else identities,
        np.repeat([1, 3], 6),
        kinds.astype(np.uint8),
        tuple(f"{n}.png" for n in range(12)),
    )


def test_edge_directions_equal_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(1, 3, *GRID, generator=generator, dtype=torch.float64)
    found = edge_directions(images).view(2, *GRID)
    pixels = images[0].tolist()
    height, width = GRID
    for i, j in ((0, 0), (5, 7), (31, 15), (16, 0)):
        even = odd = length = 0.0
        for channel in pixels:
            x = channel[i][min(j + 1, width - 1)] - channel[i][max(j - 1, 0)]
            y = channel[min(i + 1, height - 1)][j] - channel[max(i - 1, 0)][j]
            even, odd, length = even + x * x - y * y, odd + 2 * x * y, length + x * x + y * y
        floor = length + NOISE * NOISE
        assert found[:, i, j].tolist() == pytest.approx([even / floor, odd / floor], abs=1e-12)
        assert math.hypot(even, odd) <= length + 1e-12


def test_edges_are_the_same_whichever_side_is_bright() -> None:
    image = torch.rand(2, 3, 128, 64, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(edge_directions(image), edge_directions(1 - image), atol=1e-5)
    assert not edge_directions(torch.full((1, 3, 48, 24), 0.3)).any()


def test_the_same_outline_is_found_mirrored_or_not() -> None:
    images = both()
    target = SimilarImages(images, np.arange(6), np.arange(6, 12), 1, CPU)
    given = target(np.array([0, 5, 3, 4]), torch.Generator().manual_seed(0))
    expected = drawn(outlines(0)[[0, 5, 3, 4]], (230, 230, 230), 20)
    assert np.array_equal(given, expected)
    assert target.found[:, 0].tolist() == [5, 4, 3, 2, 6 + 1, 6 + 0]


def test_only_the_given_images_are_looked_at_and_labels_are_not() -> None:
    images = both()
    target = SimilarImages(images, np.array([5, 0]), np.array([8, 9]), 99, CPU)
    assert target.found.shape == (2, 4)  # two images, and both mirrored
    assert sorted(target.found[0]) == [0, 1, 2, 3]
    nearest = SimilarImages(images, np.array([3, 5, 0]), np.arange(6, 12), 1, CPU)
    given = nearest(np.array([0, 3]), torch.Generator())
    assert np.array_equal(given, drawn(outlines(0)[[0, 3]], (230, 230, 230), 20))
    others = both(np.tile([3, 8, 1], 4))
    assert np.array_equal(
        SimilarImages(others, np.array([5, 0]), np.array([8, 9]), 99, CPU).found, target.found
    )


@pytest.mark.parametrize("size", [(33, 17), (16, 16), (200, 100)])
def test_images_of_any_size_are_compared(size: tuple[int, int]) -> None:
    images = people(3, *(8 * (side // 8) for side in size))
    images = dataclasses.replace(images, images=np.resize(images.images, (len(images), *size, 3)))
    rows = np.flatnonzero(images.modalities == 0)
    target = SimilarImages(images, rows, np.flatnonzero(images.modalities), 4, CPU)
    assert target.found.shape == (12, 4)
    assert target(rows[:5], torch.Generator().manual_seed(0)).shape == (5, *size, 3)


def test_held_out_images_are_no_targets(tmp_path: Path) -> None:
    images = people()
    target = TranslatorTrainer(settings(tmp_path, hold_out=2), images).batches.target
    assert isinstance(target, SimilarImages)
    assert set(images.identities[target.infrared]) == {1, 2, 3, 4}
    assert (target.place[images.identities > 4] == -1).all()
    assert TranslatorTrainer(settings(tmp_path, match=0.0), images).batches.target is None


def test_the_truth_and_paired_belong_together(tmp_path: Path) -> None:
    images = people()
    day = images.take(np.flatnonzero(images.modalities == 0))
    for run, truth in ((settings(tmp_path, paired=True), None), (settings(tmp_path), day)):
        with pytest.raises(ValueError, match="--paired"):
            TranslatorTrainer(run, images, truth)


@pytest.mark.parametrize("kind", [0, 1])
def test_a_spectrum_that_is_missing_is_named(kind: int, tmp_path: Path) -> None:
    images = people()
    with pytest.raises(ValueError, match="missing"):
        TranslatorTrainer(settings(tmp_path), images.take(np.flatnonzero(images.modalities == kind)))


def test_runs_without_similar_images_resume_as_earlier_versions_began_them(tmp_path: Path) -> None:
    for run in (settings(tmp_path, match=0.0), settings(tmp_path, paired=True)):
        assert run.fixed()["match"] is None and run.fixed()["matches"] is None
    assert settings(tmp_path).fixed()["match"] == 20.0


def test_each_of_the_similar_images_is_drawn() -> None:
    images = both()
    target = SimilarImages(images, np.arange(6), np.arange(6, 12), 3, CPU)
    rows = np.full(60, 2)
    first = target(rows, torch.Generator().manual_seed(5))
    assert np.array_equal(first, target(rows, torch.Generator().manual_seed(5)))
    assert len({image.tobytes() for image in first}) == 3


def test_a_run_learns_what_similar_outlines_have_in_common(tmp_path: Path) -> None:
    """Bright figures before a dark ground, from red ones before a bright ground. Unrelated images teach less of it."""
    images, errors = both(), []
    run = settings(
        tmp_path, match=20.0, matches=1, ema=0.5, adversarial=0.0, contrast=0.0, structure=0.0, identity=0.0,
        hold_out=0, image_size=(64, 32), batch_size=6,
    )  # fmt: skip
    wanted = torch.from_numpy(drawn(outlines(0), (230, 230, 230), 20)).permute(0, 3, 1, 2).float() / 255
    for shuffled in (False, True):
        trainer = TranslatorTrainer(run, images)
        target = trainer.batches.target
        assert isinstance(target, SimilarImages)
        if shuffled:
            target.found = np.roll(target.found, 2, axis=0)
        losses = [
            float(trainer._step(batch, 1e-2)["match"])
            for epoch in range(40)
            for batch in trainer.batches.epoch(epoch)
        ]
        with torch.inference_mode():
            given = trainer.generator()(torch.from_numpy(images.images[:6]).permute(0, 3, 1, 2).float() / 255)
        errors.append(float((given - wanted).abs().mean()))
        assert shuffled or np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    assert errors[0] < 0.8 * errors[1]
    assert run.terms()["match"] == 20.0 and "truth" not in run.terms()
