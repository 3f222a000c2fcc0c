"""Batches: cut out as bytes, held or mapped, the same bits; and the compiled forward that falls back."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mtrl.data.augment import AugmentConfig, PairedAugment, Scale, per_image
from mtrl.data.augment.batched import crop, pad_columns
from mtrl.data.augment.per_image import render_rows
from mtrl.data.augment.plan import Colours, Geometry, draw_plan
from mtrl.data.imageset import ImageSet
from mtrl.data.sampler import IdentitySampler
from mtrl.translate import load_translator
from train import compile as compiling
from train.batches.pipeline import BatchPipeline
from train.bench.data import random_people
from train.bench.step import batch_hard_loop
from train.run.distributed import DistributedContext

CONFIG = AugmentConfig(pad=3, flip=0.5, erase=0.5, channel="mix", brightness=0.2, noise=0.1)
CPU = torch.device("cpu")
needs_numba = pytest.mark.skipif(not per_image.available(), reason="numba is not installed")
BATCHED = [True, pytest.param(False, marks=needs_numba)]


@pytest.fixture(scope="module")
def people() -> ImageSet:
    return random_people(96, (12, 8), per_identity=12)


def pipeline(
    people: ImageSet, resident: bool = True, world: DistributedContext | None = None, batched: bool = True
) -> BatchPipeline:
    """With `batched` as on a GPU, where `resident` decides who reads; without, as on a CPU."""
    sampler = IdentitySampler(people.identities, people.modalities, 4, 2)
    translator = load_translator("spectral").train()
    return BatchPipeline(
        people, np.arange(96), sampler, translator, CPU, 5, CONFIG.pad, world, resident, batched=batched
    )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_crop_by_hand(dtype: torch.dtype) -> None:
    """Against the crop of an image whose borders are repeated, pixel by pixel."""
    images = (255 * torch.rand(3, 3, 6, 5)).to(dtype).to(memory_format=torch.channels_last)
    config, draws = dataclasses.replace(CONFIG, erase=0.0), torch.Generator().manual_seed(2)
    geometry = draw_plan(config, 4, 0, (6, 5), draws).visible.geometry
    positions = torch.tensor([2, 0, 2, 1])
    found = crop(pad_columns(images, CONFIG.pad), 5, positions, geometry)
    for number, position in enumerate(positions.tolist()):
        for y in range(6):
            for x in range(5):
                at = 4 - x if number in geometry.mirrored.tolist() else x
                column = min(max(int(geometry.left[number]) - CONFIG.pad + at, 0), 4)
                row = min(max(int(geometry.top[number]) - CONFIG.pad + y, 0), 5)
                expected = images[position, :, row, column]
                assert torch.equal(found[number, :, y, x], expected)


@pytest.mark.parametrize("batched", BATCHED)
def test_held_and_mapped_images_give_the_same_batches(
    people: ImageSet, tmp_path: Path, batched: bool
) -> None:
    np.save(tmp_path / "images.npy", people.images)
    mapped = dataclasses.replace(people, images=np.load(tmp_path / "images.npy", mmap_mode="r"))
    augment = PairedAugment(CONFIG)
    both = [
        list(pipeline(images, resident, batched=batched).epoch(1, augment, 2))
        for images, resident in ((people, True), (mapped, False))
    ]
    assert len(both[0]) == len(both[1]) == 4
    for held, read in zip(*both, strict=True):
        assert torch.equal(held.images, read.images) and np.array_equal(held.rows, read.rows)
        assert held.modality.tolist() == [0] * 8 + [1] * 16
        assert held.images.min() >= 0 and held.images.max() <= 1 and held.images.std() > 0.1


@needs_numba
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("channel", ["none", "exchange", "mix", "blend"])
def test_per_image_equals_batched(
    people: ImageSet, channel: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Geometry, colours, boxes, normalisation and transition: the same draws, equal up to rounding."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    config = AugmentConfig(pad=3, erase_fill="random", channel=channel, brightness=0.4, contrast=1.0)
    sampler = IdentitySampler(people.identities, people.modalities, 4, 2)
    scale = Scale((0.4, 0.5, 0.6), (0.2, 0.3, 0.25))
    both = []
    for batched in (False, True):
        translator = load_translator("luminance")
        how = (people, np.arange(96), sampler, translator, CPU, 5, 3)
        made = BatchPipeline(*how, resident=True, scale=scale, batched=batched)
        both.append(list(made.epoch(0, PairedAugment(config))))
    for one, many in zip(*both, strict=True):
        assert one.images.shape == many.images.shape
        assert (one.images - many.images).abs().max() < 1e-5


def geometry_of(count: int, pad: int) -> Geometry:
    draws = torch.Generator().manual_seed(pad)
    return draw_plan(AugmentConfig(pad=pad, erase=0.0), count, 0, (12, 8), draws).visible.geometry


@needs_numba
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("pad", [0, 2, 11])
def test_render_repeats_borders(people: ImageSet, pad: int, dtype: torch.dtype) -> None:
    """Against NumPy's padding, farther than an image is wide too."""
    rows = torch.tensor([0, 95, 7, 95, 0, 3] * 20)
    geometry = geometry_of(len(rows), pad)
    found = torch.full((120, 12, 8, 3), torch.nan)
    images = torch.from_numpy(people.images)
    images = images if dtype == torch.uint8 else images.float() / 255
    render_rows(images, rows, geometry, pad, Colours(), Scale(), found)
    wide = np.pad(people.images, [(0, 0), (pad, pad), (pad, pad), (0, 0)], "edge")
    for number, row in enumerate(rows.tolist()):
        top, left = int(geometry.top[number]), int(geometry.left[number])
        expected = wide[row, top : top + 12, left : left + 8]
        if number in geometry.mirrored:
            expected = expected[:, ::-1]
        assert np.allclose(255 * found[number].numpy(), expected, rtol=0, atol=1e-4)


@needs_numba
def test_render_copies_a_channel_exactly_and_cuts_what_is_too_bright(people: ImageSet) -> None:
    rows, images = torch.arange(6), torch.from_numpy(people.images)
    green = torch.tensor([[0.0, 1.0, 0.0]] * 3).expand(6, 3, 3)
    plain, copied, bright = torch.empty(3, 6, 12, 8, 3)
    levels = torch.tensor([[2.0], [1.0]]).expand(2, 6)
    for colours, out in ((None, None), plain), ((green, None), copied), ((None, levels), bright):
        render_rows(images, rows, geometry_of(6, 0), 0, Colours(*colours), Scale(), out)
    assert torch.equal(copied, plain[..., 1:2].expand_as(copied))
    assert torch.allclose(bright, (2 * plain).clamp(max=1)) and (bright == 1).any()


@needs_numba
def test_render_refuses_what_does_not_fit(people: ImageSet) -> None:
    """The loops would write beside it."""
    images, geometry, how = torch.from_numpy(people.images), geometry_of(2, 1), (1, Colours(), Scale())
    rows, out = torch.tensor([0, 95]), torch.empty(2, 12, 8, 3)
    render_rows(images, rows[:0], geometry_of(0, 1), *how, out[:0])  # nothing to do
    with pytest.raises(IndexError, match="rows 0 to 96 of 96 images"):
        render_rows(images, torch.tensor([0, 96]), geometry, *how, out)
    for wrong in (torch.empty(2, 12, 9, 3), out.double(), out.transpose(1, 2), torch.empty(2, 8, 12, 3)):
        with pytest.raises(ValueError, match="go into float32"):
            render_rows(images, rows, geometry, *how, wrong)
    with pytest.raises(ValueError, match=r"of \[1, 2, 2, 2\] images for 2"):
        render_rows(images, rows[:1], geometry, *how, out)
    for colours in (Colours(torch.eye(3)[None]), Colours(None, torch.ones(2, 1))):
        with pytest.raises(ValueError, match=r"of \[2, 2, 2, 2, 1\] images for 2"):
            render_rows(images, rows, geometry, 1, colours, Scale(), out)


@needs_numba
def test_boxes_end_where_their_image_does(people: ImageSet) -> None:
    geometry = dataclasses.replace(geometry_of(2, 0), boxes=((0, 10, 6, 5, 5), (1, 2, 3, 1, 2)))
    expected, found = torch.empty(2, 2, 12, 8, 3)
    for boxes, out in ((), expected), (geometry.boxes, found):
        where = dataclasses.replace(geometry, boxes=boxes)
        render_rows(torch.from_numpy(people.images), torch.tensor([0, 95]), where, 0, Colours(), Scale(), out)
    expected[0, 10:, 6:], expected[1, 2, 3:5] = geometry.fill
    assert torch.equal(found, expected)


def test_without_numba_whole_batches_are_augmented(people: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(per_image.importlib.util, "find_spec", lambda name: None)
    sampler = IdentitySampler(people.identities, people.modalities, 4, 2)
    how = (people, np.arange(96), sampler, None, CPU, 5, CONFIG.pad)
    with pytest.warns(UserWarning, match="pip install numba"):
        without = BatchPipeline(*how)
    expected = BatchPipeline(*how, batched=True).epoch(0, PairedAugment(CONFIG))
    for made, batch in zip(without.epoch(0, PairedAugment(CONFIG)), expected, strict=True):
        assert torch.equal(made.images, batch.images)


@needs_numba
def test_loops_are_compiled_where_nothing_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def njit(cache: bool = False, **how: Any) -> Callable[[Any], Any]:
        if cache:
            raise RuntimeError("no locator available")
        return lambda function: (function, how)

    from mtrl.data.augment import kernels

    monkeypatch.setattr(kernels, "njit", njit)
    assert kernels._compiled(len) == (len, {"nogil": True, "error_model": "numpy"})


@pytest.mark.parametrize("batched", BATCHED)
def test_a_reader_that_fails_says_so_and_leaves_no_thread(people: ImageSet, batched: bool) -> None:
    broken = pipeline(people, False, batched=batched)
    broken.rows = broken.rows + 90
    with pytest.raises(IndexError):
        list(broken.epoch(0, PairedAugment(CONFIG)))
    for thread in threading.enumerate():
        if thread.name.startswith("read-batches"):
            thread.join(10)
            assert not thread.is_alive()
    with pytest.raises(ValueError, match="padded by 3"):
        next(broken.epoch(0, PairedAugment(dataclasses.replace(CONFIG, pad=1))))


def test_processes_see_parts_of_the_same_batches(people: ImageSet) -> None:
    augment = PairedAugment(CONFIG)
    whole = list(pipeline(people).epoch(0, augment))
    parts = [list(pipeline(people, world=DistributedContext(rank, 2)).epoch(0, augment)) for rank in range(2)]
    for batch, first, second in zip(whole, *parts, strict=True):
        assert sorted(batch.rows) == sorted([*first.rows, *second.rows])
        assert not set(first.layout.identities.tolist()) & set(second.layout.identities.tolist())


def test_compile_is_for_long_runs_on_a_gpu() -> None:
    gpu = torch.device("cuda")
    assert compiling.worth_compiling("on", CPU, 1) and not compiling.worth_compiling("off", gpu, 10**6)
    assert not compiling.worth_compiling("auto", CPU, 10**6)
    assert compiling.worth_compiling("auto", gpu, 10**6) and not compiling.worth_compiling("auto", gpu, 100)


def test_without_a_compiler_training_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(module: nn.Module) -> nn.Module:
        raise RuntimeError("no compiler found\nand more")

    class Pair(nn.Module):
        def forward(self, images: Tensor, modality: Tensor) -> Tensor:
            return images + modality

    monkeypatch.setattr(torch, "compile", broken)
    forward = compiling.CompiledForward(Pair())
    with pytest.warns(UserWarning, match="no compiler found"):
        assert forward(torch.ones(1), torch.ones(1)).item() == 2
    assert forward(torch.ones(1), torch.ones(1)).item() == 2 and forward.failed  # and does not warn again


def test_the_baselines_triplet_is_batch_hard() -> None:
    features = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    # anchors 0, 1 | 2, 3: farthest positives 1, 1, 4, 4; nearest negatives 3, 2, 2, 6
    expected = (0 + 0 + (0.3 + 4 - 2) + 0) / 4
    assert batch_hard_loop(features, torch.tensor([0, 0, 1, 1])).item() == pytest.approx(expected, abs=1e-5)
