"""What a translator's training draws visible images towards: edges by a loop, and similar images found by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mtrl.data.imageset import ImageSet
from mtrl.files.metrics_log import read_records
from tests.train.test_translator import people, settings
from train.translator.loop import TranslatorTrainer
from train.translator.targets import EDGE, GRID, SimilarImages, edge_directions

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


def both() -> ImageSet:
    """Six people in red, and in infrared the same outlines the other way round, bright; 4 and 5 are mirrored there."""
    shapes = outlines(0)
    night = drawn(shapes[::-1], (230, 230, 230), 20)
    night[:2] = night[:2, :, ::-1]
    kinds = np.repeat([0, 1], 6)
    return ImageSet(
        np.concatenate([drawn(shapes, (90, 20, 20), 120), night]),
        np.arange(12),
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
        floor = length + EDGE * EDGE
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


def test_each_of_the_similar_images_is_drawn() -> None:
    images = both()
    target = SimilarImages(images, np.arange(6), np.arange(6, 12), 3, CPU)
    rows = np.full(60, 2)
    first = target(rows, torch.Generator().manual_seed(5))
    assert np.array_equal(first, target(rows, torch.Generator().manual_seed(5)))
    assert len({image.tobytes() for image in first}) == 3


def test_a_run_comes_closer_to_the_similar_images(tmp_path: Path) -> None:
    run = settings(
        tmp_path,
        match=20.0,
        matches=2,
        epochs=12,
        lr=3e-3,
        ema=0.5,
        adversarial=0.1,
        contrast=0.0,
        hold_out=0,
    )
    TranslatorTrainer(run, people()).run()
    records = [r["loss_match"] for r in read_records(tmp_path / "metrics.jsonl") if r["kind"] == "train"]
    assert np.mean(records[-5:]) < 0.8 * np.mean(records[:5])
    assert run.terms()["match"] == 20.0 and "truth" not in run.terms()


def test_a_run_with_similar_images_resumes_bit_for_bit(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    def state(name: str) -> dict[str, torch.Tensor]:
        return load_file(tmp_path / name / "last" / "state.safetensors")

    changes = {"match": 20.0, "matches": 3, "lr": 1e-3}
    TranslatorTrainer(settings(tmp_path / "whole", **changes), people()).run()
    cut = TranslatorTrainer(settings(tmp_path / "cut", **changes), people())
    step, real = [0], cut._step

    def stopping(*arguments: object) -> object:
        step[0] += 1
        if step[0] == 4:
            raise KeyboardInterrupt
        return real(*arguments)

    cut._step = stopping  # type: ignore[assignment, method-assign]
    with pytest.raises(KeyboardInterrupt):
        cut.run()
    TranslatorTrainer(settings(tmp_path / "cut", resume=True, **changes), people()).run()
    whole, again = state("whole"), state("cut")
    assert whole.keys() == again.keys() and all(
        torch.equal(value, again[name]) for name, value in whole.items()
    )
