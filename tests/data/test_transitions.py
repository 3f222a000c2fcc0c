"""Transition images on disk: made once, continued, made again when damaged or when anything they depend on changes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtrl.data import array_cache
from mtrl.data import transitions as transition_cache
from mtrl.data.augment import AugmentConfig, PairedAugment, per_image
from mtrl.data.imageset import ImageSet
from mtrl.data.sampler import IdentitySampler
from mtrl.data.transitions import cache_key, transition_images
from mtrl.translate import Learned, Luminance, Spectral, Translator
from mtrl.translate.learned import LearnedConfig
from train.batches.pipeline import BatchPipeline

CPU = torch.device("cpu")
needs_numba = pytest.mark.skipif(not per_image.available(), reason="numba is not installed")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transition_cache, "BATCH", 4)
    monkeypatch.setattr(array_cache, "_BLOCK", 4)


def people(identities: int = 5) -> ImageSet:
    rng = np.random.default_rng(0)
    cameras = np.tile([1, 2, 3, 6], identities)
    return ImageSet(
        rng.integers(0, 256, (len(cameras), 16, 8, 3), dtype=np.uint8),
        np.repeat(np.arange(1, identities + 1), 4),
        cameras,
        np.isin(cameras, (3, 6)).astype(np.uint8),
        tuple(f"{n}.png" for n in range(len(cameras))),
    )


def network(seed: int = 0) -> Learned:
    torch.manual_seed(seed)
    learned = Learned(LearnedConfig(4, 8, 1))
    torch.nn.init.normal_(learned.head.weight, std=0.1)
    return learned.eval().requires_grad_(False)


class Counting(Learned):
    """Counts the images that it translates; stops after `limit`."""

    def __init__(self, limit: int = 10**9) -> None:
        super().__init__(LearnedConfig(4, 8, 1))
        self.load_state_dict(network().state_dict())
        self.eval().requires_grad_(False)
        self.seen, self.limit = 0, limit

    def forward(self, images: Tensor) -> Tensor:
        if self.seen >= self.limit:
            raise KeyboardInterrupt
        self.seen += len(images)
        return super().forward(images)

    def fingerprint(self) -> str:
        return "counts"


def make(folder: Path, translator: Translator, images: ImageSet | None = None) -> NDArray[np.uint8]:
    return transition_images(images or people(), translator, CPU, folder, progress=False)


def test_every_visible_image_is_translated_once(tmp_path: Path) -> None:
    images, counting = people(), Counting()
    kept = make(tmp_path, counting)
    visible = images.images[images.modalities == 0]
    expected = network()(torch.from_numpy(visible).permute(0, 3, 1, 2).float() / 255)
    assert kept.dtype == np.uint8 and kept.shape == visible.shape
    assert np.array_equal(kept, (255 * expected).round().byte().permute(0, 2, 3, 1).numpy())
    assert counting.seen == 10
    with pytest.raises(ValueError, match="read-only"):
        kept[0] = 0
    assert np.array_equal(make(tmp_path, counting), kept) and counting.seen == 10


def test_an_interruption_goes_on_after_the_last_block(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole", network())
    for limit in (0, 4, 8):
        folder = tmp_path / str(limit)
        with pytest.raises(KeyboardInterrupt):
            make(folder, Counting(limit))
        rest = Counting()
        assert np.array_equal(make(folder, rest), whole)
        assert rest.seen == 10 - limit


@pytest.mark.filterwarnings("ignore:.*damaged")
@pytest.mark.parametrize("damage", ["pixel", "short", "index", "no array", "header"])
def test_damage_is_noticed_and_repaired(damage: str, tmp_path: Path) -> None:
    whole = np.array(make(tmp_path, Counting()))
    path = next((tmp_path / "transitions").glob("*.npy"))
    content = bytearray(path.read_bytes())
    if damage == "pixel":
        content[-1] ^= 1
        path.write_bytes(content)
    elif damage == "short":
        path.write_bytes(content[:-100])
    elif damage == "header":
        path.write_bytes(b"no array" + content[8:])
    elif damage == "index":
        path.with_suffix(".json").write_text('{"blocks": ["x"]}')
    else:
        path.unlink()
    again = Counting()
    assert np.array_equal(make(tmp_path, again), whole)
    assert again.seen == 10


def test_the_key_follows_from_pixels_names_weights_and_code(monkeypatch: pytest.MonkeyPatch) -> None:
    images = people()
    keys = {cache_key(images, network()), cache_key(images, network(1)), cache_key(images, Luminance())}
    changed = images.images.copy()
    changed[0, 0, 0, 0] ^= 1
    keys.add(cache_key(dataclasses.replace(images, images=changed), network()))
    keys.add(cache_key(dataclasses.replace(images, names=tuple(f"x{n}" for n in images.names)), network()))
    assert len(keys) == 5 and None not in keys
    assert cache_key(people(), network()) in keys
    infrared = images.images.copy()
    infrared[2] ^= 1
    assert cache_key(dataclasses.replace(images, images=infrared), network()) in keys
    monkeypatch.setattr(transition_cache, "code_digest", lambda *_: "other code")
    assert cache_key(images, network()) not in keys and cache_key(images, Luminance()) not in keys


def darkening(share: float) -> Translator:
    """Translators of one class name: nothing that Python shows of them tells them apart."""

    class Mine(Translator):
        def forward(self, images: Tensor) -> Tensor:
            return images * share

    return Mine()


class Inverted(Learned):
    """Other code with the weights of `Learned`."""

    def forward(self, images: Tensor) -> Tensor:
        return 1 - super().forward(images)


def darkening_learned(share: float) -> Learned:
    """The same, with the weights of `network`."""

    class Mine(Learned):
        def forward(self, images: Tensor) -> Tensor:
            return images * share

    mine = Mine(LearnedConfig(4, 8, 1))
    mine.load_state_dict(network().state_dict())
    return mine


def test_translators_of_ones_own_never_share_an_array(tmp_path: Path) -> None:
    visible = people().images[people().modalities == 0]
    assert np.array_equal(make(tmp_path, darkening(1.0)), visible)
    assert not make(tmp_path, darkening(0.0)).any()
    assert np.array_equal(make(tmp_path, darkening_learned(1.0)), visible)
    assert not make(tmp_path, darkening_learned(0.0)).any()
    learned, inverted = network(), Inverted(LearnedConfig(4, 8, 1))
    inverted.load_state_dict(learned.state_dict())
    kept = make(tmp_path, learned)
    assert np.abs(make(tmp_path, inverted).astype(int) - (255 - kept.astype(int))).max() <= 1
    patched = network()
    patched.forward = lambda images: images  # type: ignore[method-assign]
    assert np.array_equal(make(tmp_path, patched), visible)


def test_a_fingerprint_of_ones_own_is_a_key(tmp_path: Path) -> None:
    class Scaled(Translator):
        calls = 0

        def __init__(self, share: float) -> None:
            super().__init__()
            self.share = share

        def forward(self, images: Tensor) -> Tensor:
            Scaled.calls += 1
            return images * self.share

        def fingerprint(self) -> str:
            return f"share {self.share}"

    class Heir(Scaled):
        def forward(self, images: Tensor) -> Tensor:
            return 1 - super().forward(images)

    first = np.array(make(tmp_path, Scaled(0.5)))
    made = Scaled.calls
    assert np.array_equal(make(tmp_path, Scaled(0.5)), first) and Scaled.calls == made
    assert make(tmp_path, Scaled(0.0)).max() == 0
    assert cache_key(people(), Heir(0.5)) is None, "what its base class says need not hold"
    Scaled.fingerprint = lambda self: 7  # type: ignore[assignment, method-assign, return-value]
    with pytest.raises(ValueError, match="must give a text, not 7"):
        make(tmp_path, Scaled(0.5))


def test_what_draws_at_random_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="random"):
        transition_images(people(), Spectral(), CPU, tmp_path)


@pytest.mark.parametrize(
    ("batched", "resident"), [(True, True), (True, False), pytest.param(False, None, marks=needs_numba)]
)
def test_training_reads_kept_images_where_it_would_translate(
    tmp_path: Path, batched: bool, resident: bool | None
) -> None:
    """Same crop and mirroring as the visible image; a translator that may not run proves that it does not."""
    images = people()
    rows = np.flatnonzero(images.identities > 1)  # rows of the set and of the pipeline differ
    labels = images.identities[rows], images.modalities[rows]
    sampler = IdentitySampler(*labels, num_identities=2, num_instances=2, seed=0)
    kept = make(tmp_path, network())
    source = (sampler, Counting(limit=0), CPU, 0, 2)
    pipeline = BatchPipeline(images, rows, *source, resident=resident, kept=kept, batched=batched)
    augment = PairedAugment(AugmentConfig(pad=2, flip=0.5, erase=0.0))
    double = dataclasses.replace(images, images=_with_kept(images, kept))
    expected = BatchPipeline(double, rows, sampler, None, CPU, 0, 2, resident=resident, batched=batched)
    for got, want in zip(pipeline.epoch(0, augment), expected.epoch(0, augment), strict=True):
        count = got.layout.visible
        assert torch.equal(got.images[count : 2 * count], want.images[:count])
        assert not torch.equal(got.images[:count], want.images[:count])


def _with_kept(images: ImageSet, kept: NDArray[np.uint8]) -> NDArray[np.uint8]:
    result = images.images.copy()
    result[images.modalities == 0] = kept
    return result
