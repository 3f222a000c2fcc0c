"""Training: settings, schedule, state, and runs that can be stopped anywhere."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from mtrl import load_pretrained
from mtrl.data.imageset import ReIDData
from mtrl.data.sources import SOURCES, find_source
from mtrl.files.metrics_log import read_records
from mtrl.models.config import ModelConfig
from mtrl.models.device import pick_device
from tests.helpers.paths import ROOT
from tests.helpers.runs import same, settings
from train import trainer as loop
from train.build import pick_precision, seeded_model
from train.optimizer import build_optimizer, learning_rate, set_learning_rate
from train.presets import METHODS, named_preset
from train.run.log import RunLog, draw_curves
from train.run.skipped_steps import NonFiniteLossError
from train.run.stop import StopRequest
from train.settings import TrainSettings, parse
from train.trainer import Trainer

torch.set_num_threads(1)


@pytest.mark.parametrize("stop_at", [1, 4, 6])
def test_a_stopped_run_continues_to_the_same_bits(
    tmp_path: Path, data: ReIDData, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    translator = "spectral" if stop_at == 6 else "luminance"  # spectral draws anew at every step
    Trainer(settings(whole, translator=translator), data).run()
    step = Trainer._step

    def interrupted(self: Trainer, batch: loop.TrainBatch, number: int) -> dict[str, Tensor]:
        if number == stop_at:
            raise KeyboardInterrupt
        return step(self, batch, number)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Trainer(settings(stopped, translator=translator), data).run()
    load_pretrained(stopped / "last")
    Trainer(settings(stopped, translator=translator, resume=True), data).run()
    assert same(whole, stopped)
    keys = ("kind", "step", "loss_total", "map_ir2vis")
    records = [
        [{k: r.get(k) for k in keys} for r in read_records(f / "metrics.jsonl")] for f in (whole, stopped)
    ]
    assert records[0] == records[1]


def test_a_signal_waits_for_the_step_and_the_second_one_does_not() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with StopRequest() as stop:
            stop.check()
            os.kill(os.getpid(), signal.SIGTERM)
            with pytest.raises(KeyboardInterrupt):
                stop.check()
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(1)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            stop.check()
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_a_killed_process_leaves_what_resume_needs(tmp_path: Path) -> None:
    """`python -m train` itself, interrupted between two steps, ends with 130 and continues."""
    run = tmp_path / "run"
    flags = [
        "--size",
        "tiny",
        "--epochs",
        "400",
        "--eval-every",
        "0",
        "--output",
        str(run),
        "--device",
        "cpu",
    ]
    command = [sys.executable, "-m", "train", *flags]
    root = ROOT
    process = subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True)
    records = run / "metrics.jsonl"
    while process.poll() is None and not (records.exists() and records.stat().st_size):
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "--resume" in errors and "Traceback" not in errors
    reached = json.loads(safe_open(run / "last" / "state.safetensors", "pt").metadata()["facts"])["progress"][
        "step"
    ]
    assert reached > 0
    ended = subprocess.run(
        [*command[:5], "--epochs", "1", *flags[4:], "--resume"], cwd=root, capture_output=True
    )
    assert ended.returncode == 0, ended.stderr


def test_an_epoch_is_never_longer_than_the_images_fill(tmp_path: Path, data: ReIDData) -> None:
    trainer = Trainer(settings(tmp_path / "run", batches=1000, epochs=1), data)
    assert trainer.steps_per_epoch == len(trainer.sampler)
    assert trainer.run()["step"] == len(trainer.sampler)


def test_another_seed_gives_other_weights(tmp_path: Path, data: ReIDData) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        Trainer(settings(tmp_path / name, seed=seed, epochs=1), data).run()
    assert same(tmp_path / "a", tmp_path / "b")
    assert not same(tmp_path / "a", tmp_path / "c")


@pytest.mark.curves
def test_a_run_folder_can_be_repeated_and_loaded(tmp_path: Path, data: ReIDData) -> None:
    run = tmp_path / "run"
    Trainer(settings(run), data).run()
    # The pooling that "auto" stood for is written down.
    assert parse(["--config", str(run / "settings.yaml")]) == dataclasses.replace(
        settings(run), pooling="gem"
    )
    environment = json.loads((run / "environment.json").read_text())
    assert (
        environment["packages"]["torch"] == torch.__version__.split("+")[0]
        or environment["packages"]["torch"]
    )
    records = read_records(run / "metrics.jsonl")
    assert {record["kind"] for record in records} == {"train", "eval"}
    assert {"loss_total", "loss_identity", "loss_mtc", "loss_center", "loss_mqr"} <= set(records[-2])
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    model = load_pretrained(run)
    features = model.encode(torch.from_numpy(data.test.images[:3]).permute(0, 3, 1, 2))
    assert torch.allclose(features.norm(dim=1), torch.ones(3), atol=1e-5)
    assert not list(run.rglob("*.pt")) and not list(run.rglob(".*.[0-9]*"))


def test_every_method_trains_the_tensors_of_the_baseline(tmp_path: Path, data: ReIDData) -> None:
    shapes = []
    for method in METHODS:
        run = tmp_path / method
        Trainer(
            settings(run, epochs=1, batches=1, eval_every=0, method=method, **METHODS[method]), data
        ).run()
        shapes.append({name: tensor.shape for name, tensor in load_file(run / "model.safetensors").items()})
    assert all(shape == shapes[0] for shape in shapes)


def test_an_existing_run_is_not_overwritten(tmp_path: Path, data: ReIDData) -> None:
    run = tmp_path / "run"
    Trainer(settings(run, epochs=1), data).run()
    with pytest.raises(ValueError, match="already holds a run"):
        Trainer(settings(run, epochs=1), data).run()


def test_resume_without_a_state_or_with_a_damaged_or_foreign_one(tmp_path: Path, data: ReIDData) -> None:
    run = tmp_path / "run"
    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        Trainer(settings(run, resume=True), data).run()
    Trainer(settings(run, epochs=1), data).run()
    with pytest.raises(ValueError, match="hold_out 3, not 2"):
        Trainer(settings(run, resume=True, backbone="test_resnet", hold_out=2), data).run()
    state = run / "last" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="damaged"):
        Trainer(settings(run, resume=True), data).run()


def test_a_loss_that_is_not_finite_stops_and_names_the_batch(
    tmp_path: Path, data: ReIDData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> tuple[Tensor, dict[str, Tensor]]:
        loss = torch.tensor(float("nan"), requires_grad=True)
        return loss, {"total": loss.detach()}

    monkeypatch.setattr(loop, "total_loss", broken)
    with pytest.raises(NonFiniteLossError, match=r"epoch 1 at step 1: total; images: cam\d/"):
        Trainer(settings(tmp_path / "run"), data).run()


def test_learning_rate_by_hand() -> None:
    cosine = TrainSettings(lr=1.0, epochs=10, lr_warmup=2.0)
    assert [learning_rate(cosine, s, 2) for s in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert learning_rate(cosine, 12, 2) == pytest.approx(0.5)
    assert learning_rate(cosine, 20, 2) == pytest.approx(0.0)
    steps = dataclasses.replace(cosine, schedule="step", lr_warmup=0.0, lr_steps=(2, 5))
    assert [learning_rate(steps, s, 1) for s in (1, 2, 4, 5)] == pytest.approx([1.0, 0.1, 0.1, 0.01])


def test_optimizer_groups(tmp_path: Path) -> None:
    chosen = settings(tmp_path, backbone_lr=0.1, weight_decay=0.3)
    model = seeded_model(chosen, 4)
    optimizer = build_optimizer(model, chosen)
    set_learning_rate(optimizer, 2.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(trained)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            assert group["lr"] == pytest.approx(0.2 if names[id(parameter)].startswith("backbone.") else 2.0)
            assert group["weight_decay"] == (0.3 if parameter.ndim > 1 else 0.0)


def test_records_survive_a_cut_line_and_resume_drops_later_ones(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    for step in (1, 2, 3):
        log.write("train", step, {"loss_total": 1.0 / step})
    log.close()
    with log.path.open("a") as file:
        file.write('{"kind": "train", "st')
    assert [record["step"] for record in read_records(log.path)] == [1, 2, 3]
    RunLog(tmp_path, step=2).close()
    assert [record["step"] for record in read_records(log.path)] == [1, 2]
    with pytest.raises(FileNotFoundError, match="run folder"):
        draw_curves(tmp_path / "nothing")


def test_presets_and_methods_are_valid_settings() -> None:
    for dataset in (name for name in SOURCES if find_source(name).training):
        for size in find_source(dataset).sizes or ("small",):
            _, preset = named_preset("training", {"dataset": dataset, "size": size})
            assert preset
            for method in METHODS.values():
                dataclasses.replace(TrainSettings(), **preset, **method)
    assert parse(["--method", "baseline"]).transition is False
    assert parse(["--method", "mtrl", "--mtc", "9"]).mtc == 9
    assert parse(["--size", "tiny"]).image_size == (64, 32)


def test_pretrained_weights_bring_their_normalisation() -> None:
    vit = parse(["--backbone", "vit_tiny_patch16_224", "--pretrained"])
    assert vit.model_config(3).mean == (0.5, 0.5, 0.5)
    assert dataclasses.replace(vit, pretrained=False).model_config(3).mean == ModelConfig().mean


@pytest.mark.parametrize("flags", [["--epochs", "0"], ["--ema", "1"], ["--image-size", "64"]])
def test_impossible_settings(flags: list[str]) -> None:
    with pytest.raises(ValueError):
        parse(flags)


def test_devices() -> None:
    assert pick_device("cpu").type == "cpu"
    with pytest.raises(ValueError, match="abacus"):
        pick_device("abacus")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="cuda"):
            pick_device("cuda")
    assert pick_precision("fp32", torch.device("cpu")) == "fp32"


@pytest.mark.parametrize("stem", ["shared", "dual"])
def test_tokens_of_position_and_class_do_not_decay(tmp_path: Path, stem: str) -> None:
    chosen = settings(tmp_path, backbone="vit_tiny_patch16_224", pooling="token", stem=stem, weight_decay=0.3)
    model = seeded_model(chosen, 4)
    decay = {
        id(parameter): group["weight_decay"]
        for group in build_optimizer(model, chosen).param_groups
        for parameter in group["params"]
    }
    kept = {
        name
        for name, parameter in model.named_parameters()
        if parameter.ndim > 1 and not decay[id(parameter)]
    }
    assert kept == {"backbone.body.pos_embed", "backbone.body.cls_token"}


def test_a_run_goes_on_with_the_pooling_that_it_was_begun_with(tmp_path: Path, data: ReIDData) -> None:
    """Weights fit any pooling, so nothing else would show the change."""
    begun = settings(tmp_path / "run")
    Trainer(begun, data).run()
    with pytest.raises(ValueError, match="belongs to a run with pooling gem, not avg"):
        Trainer(dataclasses.replace(begun, resume=True, pooling="avg"), data).run()
    Trainer(dataclasses.replace(begun, resume=True), data).run()
