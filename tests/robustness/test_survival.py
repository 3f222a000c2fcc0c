"""Training against faults: kills, full and closed disks, vanished folders, numbers that are not finite, torn states."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import mtrl.files.atomic as writing
from mtrl import load_pretrained
from mtrl.console import cli
from mtrl.data.imageset import ImageSet, ReIDData
from mtrl.files.metrics_log import read_records
from tests.helpers.paths import ROOT
from tests.helpers.runs import colour_people, same, settings
from train import trainer as loop
from train.__main__ import main
from train.build import augment_config
from train.run.run_lock import run_lock
from train.run.skipped_steps import MOST_IN_A_ROW, NonFiniteLossError, SkippedStep, StepGuard, StepInfo
from train.settings import TrainSettings
from train.trainer import Trainer

torch.set_num_threads(1)


def kill(*flags: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.robustness.kill", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_twenty_kills_end_with_the_bits_of_a_run_that_nobody_touched() -> None:
    shown = kill("--times", "20")
    assert "20 kills: the same bits each time" in shown
    for phase in ("cache", "step", "evaluation", "save"):
        assert shown.count(f"killed in {phase}") == 5


@pytest.fixture(scope="module")
def one_epoch(tmp_path_factory: pytest.TempPathFactory, data: ReIDData) -> Path:
    run = tmp_path_factory.mktemp("one") / "run"
    Trainer(settings(run, epochs=1, eval_every=0), data).run()
    return run


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory: pytest.TempPathFactory, data: ReIDData, one_epoch: Path) -> Path:
    run = shutil.copytree(one_epoch, tmp_path_factory.mktemp("two") / "run")
    Trainer(settings(run, epochs=2, eval_every=0, resume=True), data).run()
    return run


@pytest.mark.parametrize("fails_at", range(6))
def test_a_disk_that_fills_up_in_a_save_keeps_the_state_before(
    tmp_path: Path,
    data: ReIDData,
    monkeypatch: pytest.MonkeyPatch,
    one_epoch: Path,
    two_epochs: Path,
    fails_at: int,
) -> None:
    """At each flush and each rename of the second save."""
    run = shutil.copytree(one_epoch, tmp_path / "run")
    before = (run / "last" / "state.safetensors").read_bytes()
    trainer = Trainer(settings(run, epochs=2, eval_every=0, resume=True), data)
    calls = [0]

    def failing(action: Any) -> Any:
        def counted(*given: Any) -> Any:
            if calls[0] >= 0:
                calls[0] += 1
                if calls[0] > fails_at:
                    raise OSError(errno.ENOSPC, "No space left on device")
            return action(*given)

        return counted

    save = Trainer._save

    def watched(self: Trainer, log: Any = None) -> None:
        monkeypatch.setattr(writing.os, "fsync", failing(os.fsync))
        monkeypatch.setattr(Path, "replace", failing(Path.replace))
        monkeypatch.setattr(writing, "flush_folder", lambda folder: None)
        save(self)

    monkeypatch.setattr(Trainer, "_save", watched)
    with pytest.raises(OSError, match=r"the disk is full: free some space.*unchanged") as caught:
        trainer.run()
    monkeypatch.undo()
    assert caught.value.errno == errno.ENOSPC
    assert (run / "last" / "state.safetensors").read_bytes() == before
    load_pretrained(run / "last")
    assert not list(run.rglob(".*.safetensors.*"))
    Trainer(settings(run, epochs=2, eval_every=0, resume=True), data).run()
    assert same(two_epochs, run)


def in_mount(script: str, options: str) -> subprocess.CompletedProcess[str]:
    """A shell script with a small file system of its own at $DISK; skips where that is not allowed."""
    lines = f'set -e; DISK=$(mktemp -d); mount -t tmpfs -o {options} none "$DISK"; export DISK; echo mounted; {script}'
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", lines], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    if "mounted" not in done.stdout:
        pytest.skip("no file system can be mounted here")
    return done


COMMAND = (
    f"{sys.executable} -m train --size tiny --epochs 40 --batches 2 --eval-every 0 --log-every 1 --device cpu"
)
NETWORK = "--backbone test_resnet --backbone-args {} --image-size 32 16"


@pytest.mark.slow
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """Weights and state fit once and not twice, so a save fails; what was saved before can be loaded."""
    check = "import os, mtrl; mtrl.load_pretrained(os.environ['DISK'] + '/run/last'); print('loads')"
    script = f'{COMMAND} {NETWORK} --output $DISK/run || echo "exit $?"; {sys.executable} -c "{check}"'
    script += "; ls -A $DISK/run/last"
    done = in_mount(script, "size=9500k")
    assert "exit 2" in done.stdout and "loads" in done.stdout, done.stdout + done.stderr
    assert "the disk is full" in done.stderr and "Traceback" not in done.stderr.split("error:")[-1]
    assert ".safetensors." not in done.stdout  # nothing half-written is left


@pytest.mark.slow
def test_a_disk_that_may_not_be_written() -> None:
    done = in_mount(
        f"mount -o remount,ro $DISK; {COMMAND} {NETWORK} --output $DISK/run || echo exit $?", "size=1m"
    )
    assert "exit 2" in done.stdout and "may not be written" in done.stderr, done.stderr


def test_folders_that_are_gone(tmp_path: Path, data: ReIDData, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--dataset", "sysu", "--data-root", str(tmp_path / "gone"), "--output", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as ended:
        cli.run(lambda: main(flags))
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert "gone is not a folder" in shown and shown.count("\n") == 1
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file/run cannot be written \(Not a directory\); check"):
        Trainer(settings(tmp_path / "file" / "run"), data).run()


def test_a_run_folder_removed_on_the_way_stops_with_its_name(
    tmp_path: Path, data: ReIDData, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Trainer._step

    def removing(self: Trainer, batch: Any, number: int) -> Any:
        if number == 1:
            (tmp_path / "run").rename(tmp_path / "elsewhere")
        return step(self, batch, number)

    monkeypatch.setattr(Trainer, "_step", removing)
    with pytest.raises(FileNotFoundError, match=r"metrics\.jsonl cannot be written .*its folder is gone"):
        Trainer(settings(tmp_path / "run"), data).run()
    load_pretrained(tmp_path / "elsewhere" / "last")


@pytest.mark.parametrize("where", ["forward", "optimiser"])
def test_a_second_interruption_inside_a_step_saves_no_torn_state(
    tmp_path: Path, data: ReIDData, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    Trainer(settings(whole), data).run()
    trainer = Trainer(settings(cut), data)
    real = trainer.optimizer.step if where == "optimiser" else loop.total_loss
    calls = [0]

    def interrupted(*given: Any, **named: Any) -> Any:
        done = real(*given, **named)  # weights, or running statistics, have moved
        calls[0] += 1
        if calls[0] == 6:
            raise KeyboardInterrupt
        return done

    if where == "optimiser":
        monkeypatch.setattr(trainer.optimizer, "step", interrupted)
    else:
        monkeypatch.setattr(loop, "total_loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    monkeypatch.undo()
    with safe_open(cut / "last" / "state.safetensors", "pt") as file:
        saved = json.loads(file.metadata()["facts"])["progress"]["step"]
    assert saved == (4 if where == "optimiser" else 5)
    Trainer(settings(cut, resume=True), data).run()
    assert same(whole, cut)


def test_an_interruption_after_an_evaluation_neither_repeats_nor_forgets_it(
    tmp_path: Path, data: ReIDData, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    Trainer(settings(whole), data).run()
    saved = loop.MTRL.save_pretrained

    def interrupted(self: Any, folder: Path, **more: Any) -> None:
        if folder == cut and (cut / "metrics.jsonl").exists():
            raise KeyboardInterrupt
        saved(self, folder, **more)

    monkeypatch.setattr(loop.MTRL, "save_pretrained", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Trainer(settings(cut), data).run()
    monkeypatch.undo()
    Trainer(settings(cut, resume=True), data).run()
    assert same(whole, cut)
    load_pretrained(cut)
    kinds = [[(r["kind"], r["step"]) for r in read_records(f / "metrics.jsonl")] for f in (whole, cut)]
    assert kinds[0] == kinds[1]


def spoiled(at: set[int], how: str) -> Any:
    """`total_loss` that is not finite, or has such a gradient, at some calls (counted from 1)."""
    real, calls = loop.total_loss, [0]

    class Bad(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
            return gradient * float("inf")

    def total(*given: Any, **named: Any) -> Any:
        loss, parts = real(*given, **named)
        calls[0] += 1
        if calls[0] in at:
            loss = loss * float("nan") if how == "loss" else Bad.apply(loss)
            parts = {**parts, "total": loss.detach()}
        return loss, parts

    return total


@pytest.mark.parametrize("how", ["loss", "gradient"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_not_finite_stops_before_it_moves_a_weight(
    tmp_path: Path, data: ReIDData, monkeypatch: pytest.MonkeyPatch, how: str, precision: str
) -> None:
    monkeypatch.setattr(loop, "total_loss", spoiled({6}, how))
    run = tmp_path / "run"
    trainer = Trainer(settings(run, log_every=100, precision=precision), data)
    names = {"loss": "total, gradient", "gradient": "gradient"}[how]
    with pytest.raises(
        NonFiniteLossError, match=rf"epoch 2 at step 6: {names}; images: cam\d/.* and \d+ more.*--lr"
    ):
        trainer.run()
    assert all(bool(torch.isfinite(value).all()) for value in trainer.model.state_dict().values())
    load_pretrained(run / "last")
    refused = [r for r in read_records(run / "metrics.jsonl") if r["kind"] == "refused"]
    assert len(refused) == 1 and refused[0]["step"] == 6
    assert set(refused[0]["images"]) <= set(data.train.names) and len(refused[0]["images"]) == 12
    monkeypatch.undo()
    Trainer(settings(run, log_every=100, precision=precision, resume=True), data).run()
    whole = tmp_path / "whole"
    Trainer(settings(whole, log_every=100, precision=precision), data).run()
    assert same(whole, run)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_skipped_batch_leaves_no_trace(
    tmp_path: Path, data: ReIDData, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    """Weights, moments and running statistics after the skipped steps are those before them."""
    monkeypatch.setattr(loop, "total_loss", spoiled({1, 3, 4}, "loss"))
    trainer = Trainer(
        settings(tmp_path / "run", on_nonfinite="skip", optimizer=optimizer, epochs=1, ema=0.0), data
    )
    seen, step = [], Trainer._step

    def watched(self: Trainer, batch: Any, number: int) -> Any:
        seen.append({name: value.clone() for name, value in self.model.state_dict().items()})
        return step(self, batch, number)

    monkeypatch.setattr(Trainer, "_step", watched)
    progress = trainer.run()
    seen.append(trainer.model.state_dict())
    moved = [any(not torch.equal(a[n], b[n]) for n in a) for a, b in itertools.pairwise(seen)]
    assert moved == [False, True, False, False]
    assert progress["skipped"] == 3 and progress["step"] == 4
    steps = [r["step"] for r in read_records(tmp_path / "run" / "metrics.jsonl") if r["kind"] == "refused"]
    assert steps == [1, 3, 4]


def test_skipping_has_an_end(tmp_path: Path, data: ReIDData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "total_loss", spoiled(set(range(3, 100)), "gradient"))
    run = settings(tmp_path / "run", on_nonfinite="skip", epochs=9, eval_every=0)
    with pytest.raises(
        NonFiniteLossError, match=f"{MOST_IN_A_ROW + 1} steps in a row, the last one .* step 13:"
    ):
        Trainer(run, data).run()


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def tiny(
    gated: bool, optimizer: str, bad: set[int], look_every: int
) -> tuple[dict[str, Tensor], list[SkippedStep]]:
    """Twelve guarded steps; at some of them the loss is infinite."""
    torch.manual_seed(0)
    model = Tiny()
    made: torch.optim.Optimizer
    if optimizer == "adamw":
        made = torch.optim.AdamW(model.parameters(), 0.1, fused=True)
    else:
        made = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True, fused=True)
        for parameter in model.parameters():
            made.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    guard, refused = StepGuard(model, made, skip=True, gated=gated), list[SkippedStep]()
    for number in range(12):
        guard.begin()
        loss = model(torch.randn(8, 3)).square().mean() * (float("inf") if number in bad else 1)
        made.zero_grad()
        loss.backward()
        guard.step({"total": loss}, StepInfo(1, number + 1, lambda number=number: [str(number)]), clip=1.0)
        guard.end()
        if (number + 1) % look_every == 0:
            guard.report_skipped(refused.append)
    state = dict(model.state_dict())
    for name, parameter in model.named_parameters():
        state |= {f"{name}|{slot}": torch.as_tensor(value) for slot, value in made.state[parameter].items()}
    return state, refused


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_gate_of_a_gpu_does_what_looking_does(optimizer: str) -> None:
    """The same weights, statistics, moments and step counts, though nothing is looked at before the sixth step."""
    bad = {0, 4, 5, 11}
    looked, told = tiny(False, optimizer, bad, 1)
    gated, told_later = tiny(True, optimizer, bad, 6)
    assert looked.keys() == gated.keys()
    assert all(torch.equal(looked[name], gated[name]) for name in looked)
    assert told == told_later and [refused.step for refused in told] == [1, 5, 6, 12]
    assert told[0].images == ("0",) and told[0].terms == ("total", "gradient")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_guarded_step_does_not_wait_for_the_gpu(tmp_path: Path, data: ReIDData) -> None:
    trainer = Trainer(settings(tmp_path / "run", device="cuda"), data)
    trainer.model.train()
    augment = loop.PairedAugment(augment_config(trainer.settings, erase=True))
    batches = list(trainer.pipeline.epoch(0, augment))
    trainer._step(batches[0], 0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        trainer._step(batches[1], 1)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_dropout_follows_the_seed(tmp_path: Path, data: ReIDData) -> None:
    """Draws of the network itself: the same twice, in a process whose own random state differs, and after a stop."""
    changes = {"backbone_args": '{"drop_path_rate": 0.5}', "ema": 0.0}
    for number, name in enumerate(("a", "b")):
        torch.manual_seed(number)
        Trainer(settings(tmp_path / name, **changes), data).run()
    assert same(tmp_path / "a", tmp_path / "b")
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    Trainer(settings(tmp_path / "c", epochs=1, **changes), data).run()
    assert torch.equal(torch.rand(2), wanted)  # the caller's random state is left alone


@pytest.fixture
def stopped(tmp_path: Path, data: ReIDData) -> Iterator[Path]:
    run = tmp_path / "run"
    Trainer(settings(run, epochs=1), data).run()
    yield run


def rewrite(path: Path, facts: dict[str, Any] | None = None, **tensors: Tensor | None) -> None:
    with safe_open(path, "pt") as file:
        metadata = dict(file.metadata())
    if facts is not None:
        old = json.loads(metadata["facts"])
        metadata["facts"] = json.dumps({"progress": old["progress"] | facts, "run": old["run"]})
    changed = {**load_file(path), **tensors}
    save_file({name: value for name, value in changed.items() if value is not None}, path, metadata)


MOMENT = "optimizer.neck.classifier.weight|exp_avg"


@pytest.mark.parametrize(
    ("facts", "tensors", "words"),
    [
        ({"step": 10**9}, {}, "checksum"),
        ({"step": -1}, {}, "counts no steps"),
        ({"step": "4"}, {}, "counts no steps"),
        ({"epoch": None}, {}, "counts no steps"),
        (None, {MOMENT: torch.zeros(3)}, "1 tensors do not fit, first optimizer.neck"),
        (None, {MOMENT: torch.zeros(7, 96, dtype=torch.float64)}, "1 tensors do not fit"),
        (None, {MOMENT: None}, "1 tensors do not fit"),
        (None, {"optimizer.neck.classifier.weight|momentum_buffer": torch.zeros(7, 96)}, "do not fit"),
        (None, {"optimizer.none|step": torch.zeros(())}, "do not fit"),
        (None, {"average.n_averaged": None}, "first average.n_averaged"),
        (None, {"random": torch.zeros(1 << 10)}, "first random"),
        (None, {"model.neck.norm.weight": torch.zeros(96)}, "checksum"),
    ],
    ids=str,
)
def test_states_that_do_not_fit_are_refused_with_advice(
    stopped: Path, data: ReIDData, facts: Any, tensors: dict[str, Tensor | None], words: str
) -> None:
    rewrite(stopped / "last" / "state.safetensors", facts, **tensors)
    with pytest.raises(ValueError, match=words) as caught:
        Trainer(settings(stopped, epochs=2, resume=True), data).run()
    assert "in another folder" in str(caught.value) or "give the settings of that run" in str(caught.value)


@pytest.mark.parametrize(
    "changes", [{"seed": 1}, {"identities": 2}, {"batches": 3}, {"optimizer": "sgd"}, {"ema": 0.0}], ids=str
)
def test_a_run_continues_only_as_itself(stopped: Path, data: ReIDData, changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"belongs to a run with .*settings\.yaml"):
        Trainer(settings(stopped, epochs=2, resume=True, **changes), data).run()


def test_more_or_other_images_are_another_run(stopped: Path) -> None:
    run = settings(stopped, epochs=2, resume=True)
    state = stopped / "last" / "state.safetensors"
    assert state.is_file()
    more = ReIDData("synthetic", "sysu", colour_people(10, 0), colour_people(4, 1, first=100))
    trainer = Trainer(dataclasses.replace(run), more)
    trainer.steps_per_epoch += 1
    with pytest.raises(ValueError, match="other images or batches"):
        trainer.run()


def test_momentum_comes_back(tmp_path: Path, data: ReIDData, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    Trainer(settings(whole, optimizer="sgd"), data).run()
    evaluate = Trainer._evaluate

    def interrupted(self: Trainer, *given: Any) -> None:
        evaluate(self, *given)
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_evaluate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Trainer(settings(cut, optimizer="sgd"), data).run()
    monkeypatch.undo()
    Trainer(settings(cut, optimizer="sgd", resume=True), data).run()
    assert same(whole, cut)


def test_partial_files_of_a_kill_are_swept_on_resume(stopped: Path, data: ReIDData) -> None:
    left = [
        stopped / "last" / ".state.safetensors.abc",
        stopped / ".model.safetensors.x1",
        stopped / "last" / ".mine",
    ]
    for path in left:
        path.write_bytes(b"half")
    Trainer(settings(stopped, epochs=2, resume=True), data).run()
    assert [path.exists() for path in left] == [False, False, True]


def test_the_choice_is_a_setting() -> None:
    assert TrainSettings().on_nonfinite == "stop"


def test_a_second_training_in_a_run_folder_is_refused(tmp_path: Path, data: ReIDData) -> None:
    run = tmp_path / "run"
    with run_lock(run, new=True), pytest.raises(BlockingIOError, match="another training is running"):
        Trainer(settings(run, epochs=1, eval_every=0), data).run()
    assert not list(run.iterdir())
    Trainer(settings(run, epochs=1, eval_every=0), data).run()
    before = (run / "last" / "state.safetensors").read_bytes()
    with run_lock(run, new=False), pytest.raises(BlockingIOError, match="another training is running"):
        Trainer(settings(run, epochs=2, eval_every=0, resume=True), data).run()
    assert (run / "last" / "state.safetensors").read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be deleted there")
def test_a_data_cache_that_vanishes_in_a_run_changes_nothing(
    tmp_path: Path, data: ReIDData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The images are mapped, not in memory, and every file of the cache is gone after the first step."""
    caches = tmp_path / "caches"
    caches.mkdir()

    def mapped(images: ImageSet, name: str) -> ImageSet:
        np.save(caches / name, images.images)
        return dataclasses.replace(images, images=np.load(caches / f"{name}.npy", mmap_mode="r"))

    on_disk = dataclasses.replace(data, train=mapped(data.train, "train"), test=mapped(data.test, "test"))
    Trainer(settings(tmp_path / "whole", epochs=2), data).run()
    monkeypatch.setattr("train.batches.pipeline.room", lambda device: 0)
    trainer = Trainer(settings(tmp_path / "run", epochs=2, cache_dir=str(caches)), on_disk)
    assert trainer.pipeline.resident is None
    step = trainer._step

    def vanishing(*given: Any) -> Any:
        shutil.rmtree(caches, ignore_errors=True)
        return step(*given)

    monkeypatch.setattr(trainer, "_step", vanishing)
    trainer.run()
    assert not caches.exists() and same(tmp_path / "whole", tmp_path / "run")
