"""Training a translator: each term against a loop, runs that go on where they stopped, batches, publishing."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mtrl.data.augment import AugmentConfig
from mtrl.files.metrics_log import read_records
from mtrl.translate import load_translator
from tests.helpers.translators import people, settings
from train.translator import loop
from train.translator.batches import Batches, split_last
from train.translator.loop import TranslatorTrainer
from train.translator.networks import Networks
from train.translator.objective import (
    discriminator_loss,
    generator_loss,
    mean_difference,
    patch_contrast,
    structure_loss,
)
from train.translator.publish import describe
from train.translator.settings import parse
from train.translator.targets import TrueViews

torch.set_num_threads(1)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_adversarial_and_difference_equal_loops() -> None:
    real, fake = draw(2, 1, 3, 2), draw(2, 1, 3, 2, seed=1)
    r, f = real.flatten().tolist(), fake.flatten().tolist()
    expected = (sum((x - 1) ** 2 for x in r) + sum(x**2 for x in f)) / len(r) / 2
    assert float(discriminator_loss(real, fake)) == pytest.approx(expected, abs=1e-9)
    assert float(generator_loss(fake)) == pytest.approx(sum((x - 1) ** 2 for x in f) / len(f), abs=1e-9)
    expected = sum(abs(x - y) for x, y in zip(r, f, strict=True)) / len(r)
    assert float(mean_difference(real, fake)) == pytest.approx(expected, abs=1e-9)


def test_patch_contrast_equals_a_loop_and_teaches_one_side() -> None:
    q = torch.nn.functional.normalize(draw(2, 5, 3) - 0.5, dim=2).requires_grad_()
    k = torch.nn.functional.normalize(draw(2, 5, 3, seed=1) - 0.5, dim=2).requires_grad_()
    total = 0.0
    for n in range(2):
        for s in range(5):
            logits = [float((q[n, s] @ k[n, u]).detach()) / 0.07 for u in range(5)]
            total += math.log(sum(math.exp(x - logits[s]) for x in logits))
    loss = patch_contrast(q, k)
    assert float(loss.detach()) == pytest.approx(total / 10, rel=1e-9)
    loss.backward()
    assert q.grad is not None and k.grad is None
    assert float(patch_contrast(k, k)) < float(patch_contrast(k, k.roll(1, dims=1)))


def test_structure_equals_a_loop() -> None:
    a, b, e = draw(1, 1, 5, 6), draw(1, 1, 5, 6, seed=1), 0.05
    x, y = a[0, 0].tolist(), b[0, 0].tolist()
    values = []
    for i in range(1, 4):
        for j in range(1, 5):
            g = x[i][j + 1] - x[i][j - 1], x[i + 1][j] - x[i - 1][j]
            h = y[i][j + 1] - y[i][j - 1], y[i + 1][j] - y[i - 1][j]
            product = g[0] * h[0] + g[1] * h[1] + e * e
            length = (g[0] ** 2 + g[1] ** 2 + e * e) * (h[0] ** 2 + h[1] ** 2 + e * e)
            values.append(1 - product**2 / length)
    assert float(structure_loss(a, b)) == pytest.approx(sum(values) / len(values), abs=1e-9)


def test_structure_allows_tone_and_sign_but_not_other_edges() -> None:
    bars = (torch.arange(16) // 4 % 2).double().expand(1, 1, 16, 16) * 0.6 + 0.2
    assert float(structure_loss(bars, bars)) == pytest.approx(0, abs=1e-6)
    inverted, turned = 1 - bars, bars.transpose(2, 3)
    assert float(structure_loss(inverted, bars)) < 0.02
    assert float(structure_loss(turned, bars)) > 0.3
    assert float(structure_loss(torch.full_like(bars, 0.5), bars)) > 0.2


def test_terms_have_exact_gradients() -> None:
    q, k = draw(1, 4, 3), draw(1, 4, 3, seed=1)
    a, b = draw(1, 1, 5, 5).requires_grad_(), draw(1, 1, 5, 5, seed=1)
    for function, value in (
        (lambda x: structure_loss(x, b), a),
        (lambda x: patch_contrast(x, k), q.requires_grad_()),
        (generator_loss, b.clone().requires_grad_()),
        (lambda x: discriminator_loss(x, 1 - x), b.clone().requires_grad_()),
    ):
        assert torch.autograd.gradcheck(function, value)


def test_batches_follow_from_seed_and_epoch_alone() -> None:
    images, rows = people(), np.arange(36)
    batches = Batches(images, rows, None, 4, AugmentConfig(pad=2, erase=0.0), torch.device("cpu"), seed=3)
    whole = list(batches.epoch(1))
    assert len(whole) == len(batches) == 6
    assert whole[0].visible.shape == (4, 3, 32, 16) and whole[0].infrared.shape == (4, 1, 32, 16)
    for first, second in zip(whole[2:], batches.epoch(1, start=2), strict=True):
        assert torch.equal(first.visible, second.visible) and torch.equal(first.infrared, second.infrared)
    assert not torch.equal(whole[0].visible, next(batches.epoch(2)).visible)


def test_the_truth_belongs_to_its_visible_image() -> None:
    images = people()
    day = images.take(np.flatnonzero(images.modalities == 0))
    truth = dataclasses.replace(day, images=day.images // 2, modalities=np.ones(24, np.uint8))
    rows, held_out = split_last(images, 2)
    assert set(images.identities[held_out]) == {5, 6} and len(rows) == 24
    augment = AugmentConfig(pad=2, erase=0.0)
    target = TrueViews(images, truth)
    for batch in Batches(images, rows, target, 4, augment, torch.device("cpu"), seed=0).epoch(0):
        assert batch.target is not None
        expected = (255 * batch.visible[:, :1]).round().int() // 2
        assert torch.equal((255 * batch.target).round().int(), expected)


def same(first: Path, second: Path) -> bool:
    a, b = (load_file(folder / "last" / "state.safetensors") for folder in (first, second))
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


def test_a_run_trains_every_part_and_resumes_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = TranslatorTrainer(settings(tmp_path / "whole"), people())
    before = {name: value.clone() for name, value in whole.networks.state_dict().items()}
    assert whole.run()["step"] == 2 * 5
    after = whole.networks.state_dict()
    assert all(not torch.equal(value, after[name]) for name, value in before.items())

    real, calls = TranslatorTrainer._step, []

    def interrupted(self: TranslatorTrainer, batch: loop.Batch, rate: float) -> dict[str, Tensor]:
        calls.append(1)
        if len(calls) == 7:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, batch, rate)

    monkeypatch.setattr(TranslatorTrainer, "_step", interrupted)
    # A shell's background job ignores the signal.
    before_signal = signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt):
        TranslatorTrainer(settings(tmp_path / "cut"), people()).run()
    signal.signal(signal.SIGINT, before_signal)
    monkeypatch.undo()
    again = parse(["--config", str(tmp_path / "cut" / "settings.yaml"), "--resume"])
    renamed = dataclasses.replace(people(), names=tuple(f"other/{name}" for name in people().names))
    with pytest.raises(ValueError, match="training images changed"):
        TranslatorTrainer(again, renamed).run()
    resumed = TranslatorTrainer(again, people())
    assert resumed.run()["step"] == 10
    assert same(tmp_path / "whole", tmp_path / "cut")
    batch = draw(1, 3, 20, 10).float()
    assert torch.equal(load_translator(tmp_path / "whole")(batch), load_translator(tmp_path / "cut")(batch))
    steps = [r["step"] for r in read_records(tmp_path / "cut" / "metrics.jsonl") if r["kind"] == "train"]
    assert steps == list(range(1, 11))
    assert (tmp_path / "whole" / "samples-002.jpg").stat().st_size > 1000
    with pytest.raises(ValueError, match="already holds a run"):
        TranslatorTrainer(settings(tmp_path / "whole"), people()).run()


def test_pairs_pull_the_output_to_the_truth(tmp_path: Path) -> None:
    images = people()
    day = images.take(np.flatnonzero(images.modalities == 0))
    truth = dataclasses.replace(day, images=255 - day.images, modalities=np.ones(24, np.uint8))
    run = settings(
        tmp_path, paired=True, epochs=12, lr=3e-3, ema=0.5, adversarial=0.1, contrast=0.0, hold_out=0
    )
    trainer = TranslatorTrainer(run, images, truth)
    trainer.run()
    records = [r["loss_truth"] for r in read_records(tmp_path / "metrics.jsonl") if r["kind"] == "train"]
    assert np.mean(records[-5:]) < 0.7 * np.mean(records[:5])


def test_only_the_side_whose_turn_it_is_moves() -> None:
    torch.manual_seed(0)
    trainer = TranslatorTrainer(settings(Path("unused"), adversarial=1.0), people())
    batch = next(trainer.batches.epoch(0))
    seen: list[dict[str, Tensor]] = []
    real = trainer._optimize

    def watched(loss: Tensor, *more: object) -> None:
        seen.append({n: v.clone() for n, v in trainer.networks.state_dict().items()})
        real(loss, *more)

    trainer._optimize = watched  # type: ignore[method-assign]
    trainer._step(batch, 1e-3)
    trainer._step(batch, 1e-3)
    moved = [{n.split(".")[0] for n in a if not torch.equal(a[n], b[n])} for a, b in itertools.pairwise(seen)]
    assert moved == [{"generator", "projection"}, {"discriminator"}, {"generator", "projection"}]


def test_networks_see_one_channel_and_keep_positions() -> None:
    networks = Networks(TranslatorTrainer(settings(Path("unused")), people()).generator())
    logits = networks.discriminator(torch.rand(2, 1, 32, 16))
    assert logits.shape == (2, 1, 4, 2)
    shapes = [tuple(x.shape[1:]) for x in networks.stages(torch.rand(2, 1, 32, 16))]
    assert shapes == [(8, 16, 8), (16, 8, 4), (8, 4, 2)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs"),
        ({"image_size": (8, 8)}, "image_size"),
        ({"ema": 1.0}, "ema"),
        ({"width": 1000}, "width"),
        ({"paired": True, "dataset": "sysu"}, "pairs"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        settings(tmp_path, **change)


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "structure_loss", lambda *_: torch.tensor(math.nan, requires_grad=True))
    with pytest.raises(ValueError, match=r"not finite in epoch 1 at step 1: .*structure.*images: "):
        TranslatorTrainer(settings(tmp_path), people()).run()


def test_the_run_folder_records_how_it_was_made(tmp_path: Path) -> None:
    TranslatorTrainer(settings(tmp_path, epochs=1), people()).run()
    assert "packages" in json.loads((tmp_path / "environment.json").read_text())
    TranslatorTrainer(settings(tmp_path, epochs=2, lr=1e-4, resume=True), people()).run()
    facts = describe(tmp_path, settings(tmp_path, epochs=4), "x", None).training
    assert facts["epochs"] == "2 of 4, then it was stopped"
    assert facts["continued"].startswith("from step 5 with epochs 2, lr 0.0001 instead of")
    assert parse(["--config", str(tmp_path / "settings.yaml")]).deep == 8
