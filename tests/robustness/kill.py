"""`python -m tests.robustness.kill --times 20`: trainings killed at random moments, continued, and compared.

Each run is killed some times (in the making of its data cache, in a step, in an evaluation, in a save), continued
each time, and must end with the bits of a run that nobody touched: weights, optimiser, average, progress and metrics.
After every kill each checkpoint folder must load. The processes are forked from this one, which has done the imports;
`--cold` starts `python -m train` anew each time instead and kills it after a random time.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

import mtrl.data.synthetic.draw as draw
import mtrl.files.atomic as writing
from mtrl import load_pretrained
from mtrl.files.tensor_file import tensor_digest
from tests.helpers.paths import ROOT
from train import trainer as loop
from train.__main__ import train
from train.run.state import FORMAT
from train.trainer import Trainer

STEPS, EPOCHS, PATIENCE = 4, 5, 300
PHASES = ("cache", "step", "evaluation", "save")
FLAGS = [
    "--size",
    "tiny",
    "--epochs",
    str(EPOCHS),
    "--batches",
    str(STEPS),
    "--log-every",
    "1",
    "--ema",
    "0.5",
]
FLAGS += ["--device", "cpu", "--precision", "fp32", "--translator", "spectral", "--optimizer", "adamw"]
FLAGS += [
    "--backbone",
    "test_resnet",
    "--backbone-args",
    '{"drop_path_rate": 0.2}',
    "--image-size",
    "32",
    "16",
]
SAVE_POINTS = 6  # an fsync and a rename of each of three files


@dataclasses.dataclass(frozen=True)
class Moment:
    """When to kill: in the `count`-th `phase` of the process, at a share of its time, or of the images."""

    phase: str
    count: int
    share: float


@dataclasses.dataclass(frozen=True)
class Killed:
    """What a killed process had told: the last step that it made, and the last one that it had saved."""

    reached: int
    saved: int
    by_us: bool


def arguments(folder: Path, caches: Path) -> list[str]:
    resume = ["--resume"] if (folder / "last" / "state.safetensors").is_file() else []
    return [*FLAGS, "--output", str(folder), "--cache-dir", str(caches), *resume]


def run_whole(folder: Path, caches: Path) -> None:
    """A training to its end, in a process of its own."""
    child, _ = _fork(folder, caches, None)
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status):
        raise RuntimeError(
            f"the training in {folder} failed: {(folder.parent / 'output.txt').read_text()[-2000:]}"
        )


def run_killed(folder: Path, caches: Path, moment: Moment, typical: dict[str, float]) -> Killed:
    """A training that is killed at a moment."""
    child, told = _fork(folder, caches, moment)
    reached, saved, ends, pending = _step_of(folder), _step_of(folder), time.monotonic() + PATIENCE, ""
    while True:
        ready, _, _ = select.select([told], [], [], max(0.0, ends - time.monotonic()))
        text = os.read(told, 4096).decode() if ready else ""
        for word in (pending + text).split("\n")[:-1]:
            what, number = word.split()
            reached = int(number) if what == "reached" else reached
            saved = int(number) if what == "saved" else saved
            if what == "here":
                ends = time.monotonic() + moment.share * typical[moment.phase]
        pending = (pending + text).rpartition("\n")[2]
        if not text:
            break
    os.close(told)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    _wait_for_orphans(child)
    return Killed(reached, saved, os.waitstatus_to_exitcode(status) == -signal.SIGKILL)


def _fork(folder: Path, caches: Path, moment: Moment | None) -> tuple[int, int]:
    """(process, pipe on which it tells what it does)."""
    reading, telling = os.pipe()
    child = os.fork()
    if child:
        os.close(telling)
        return child, reading
    code = 1
    try:
        os.setsid()
        os.close(reading)
        output = os.open(folder.parent / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        _watch(lambda what, number: os.write(telling, f"{what} {number}\n".encode()), moment)
        train(arguments(folder, caches))
        code = 0
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)


def _watch(tell: Callable[[str, int], object], moment: Moment | None) -> None:
    """Makes this process tell what it does, and die in a save where it is to."""
    times = dict.fromkeys(PHASES, 0)

    def here(phase: str) -> None:
        times[phase] += 1
        if moment and phase == moment.phase and phase != "save" and times[phase] == moment.count:
            tell("here", 0)

    step, figures, save, drawn = Trainer._step, loop.held_out_metrics, Trainer._save, draw._results

    def watched_step(self: Trainer, batch: Any, number: int) -> Any:
        here("step")
        parts = step(self, batch, number)
        tell("reached", number + 1)
        return parts

    def watched_figures(*given: Any) -> Any:
        here("evaluation")
        return figures(*given)

    def watched_save(self: Trainer, log: Any = None) -> None:
        here("save")
        with _dying(moment if moment and moment.phase == "save" and times["save"] == moment.count else None):
            save(self, log)
        tell("saved", self.progress["step"])

    def watched_results(jobs: list[Any], workers: int) -> Iterator[Any]:
        for number, images in enumerate(drawn(jobs, workers)):
            if moment and number == int(moment.share * len(jobs)):
                here("cache")
            yield images

    Trainer._step, Trainer._save = watched_step, watched_save  # type: ignore[method-assign]
    loop.held_out_metrics, draw._results = watched_figures, watched_results  # type: ignore[assignment]


@contextlib.contextmanager
def _dying(moment: Moment | None) -> Iterator[None]:
    """While entered, the process kills itself before one of the flushes and renames of a save, drawn by the moment."""
    if moment is None:
        yield
        return
    left = [int(moment.share * SAVE_POINTS)]

    def then(action: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*given: Any, **named: Any) -> Any:
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return action(*given, **named)

        return counted

    flush, replace = writing.os.fsync, Path.replace
    folders = writing.flush_folder
    writing.os.fsync, Path.replace = then(flush), then(replace)  # type: ignore[method-assign]
    writing.flush_folder = lambda folder: None
    try:
        yield
    finally:
        writing.os.fsync, Path.replace, writing.flush_folder = flush, replace, folders  # type: ignore[method-assign]


def _wait_for_orphans(group: int) -> None:
    """Those that draw images for a killed training must end by themselves."""
    for _ in range(300):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.killpg(group, signal.SIGKILL)
    raise AssertionError("processes of a killed training are still there after half a minute")


def _facts(folder: Path) -> dict[str, Any]:
    with safe_open(folder / "last" / "state.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == FORMAT
    return json.loads(metadata["facts"])


def _step_of(folder: Path) -> int:
    return _facts(folder)["progress"]["step"] if (folder / "last" / "state.safetensors").is_file() else 0


def check_loads(folder: Path) -> int:
    """Every checkpoint in a run loads; returns how many there are."""
    found = [
        path.parent for path in folder.rglob("config.json") if path.with_name("model.safetensors").is_file()
    ]
    for checkpoint in found:
        load_pretrained(checkpoint)
    return len(found)


def outcome(folder: Path) -> dict[str, Any]:
    """All that must be the same: weights, state, and the records without their times. And nothing is left over."""
    digests = {}
    for path in sorted(folder.rglob("*.safetensors")):  # safetensors writes its metadata in any order
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            digests[str(path.relative_to(folder))] = (tensor_digest(tensors), file.metadata())
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for record in records:
        for measured in ("images_per_second", "time"):
            record.pop(measured, None)
    partial = [path.name for path in folder.rglob(".*.safetensors.*")]
    return {"files": digests, "records": records, "left over": partial}


def check_same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for what, value in wanted.items():
        assert found[what] == value, f"other {what}: {found[what]}, not {value}"


def moments(times: int, seed: int) -> list[list[Moment]]:
    """Kills by run: the phases in turn, the rest at random."""
    draw = random.Random(seed)
    flat = [Moment(PHASES[n % len(PHASES)], draw.randint(1, 2), draw.random()) for n in range(times)]
    first = [dataclasses.replace(m, count=1) if m.phase == "cache" else m for m in flat]
    return [first[start : start + len(PHASES)] for start in range(0, times, len(PHASES))]


def warm(times: int, seed: int, work: Path) -> None:
    shared = work / "cache"
    typical: dict[str, float] = {"save": 0.0, "cache": 0.05}
    for name in ("whole", "again"):
        begun = time.monotonic()
        run_whole(work / name, shared)
        if name == "whole":  # with the drawing of the data
            drawing = time.monotonic() - begun
    run = time.monotonic() - begun
    typical |= {"step": run / (EPOCHS * STEPS) / 2, "evaluation": run / EPOCHS / 2}
    wanted = outcome(work / "whole")
    check_same(outcome(work / "again"), wanted)
    print(f"uninterrupted, twice the same bits; {run:.1f} s, data drawn in {drawing - run:.1f} s", flush=True)
    lost, count = 0, 0
    for number, plan in enumerate(moments(times, seed)):
        folder, caches = work / f"killed-{number}", work / f"cache-{number}"
        if plan[0].phase != "cache":
            caches = shared
        for moment in plan:
            before = _step_of(folder)
            if number and moment.phase != "cache":
                caches = shared  # drawing takes longest: what a kill left of a cache is used once
            killed = run_killed(folder, caches, moment, typical)
            assert killed.by_us, f"{moment} was not reached: {(work / 'output.txt').read_text()[-2000:]}"
            loads, now = check_loads(folder), _step_of(folder)
            assert now >= max(killed.saved, before), (killed, now)
            assert killed.reached - now <= STEPS, (killed, now)
            lost, count = max(lost, killed.reached - now), count + 1
            print(
                f"killed in {moment.phase} at step {killed.reached}: {now} saved, {loads} checkpoints load",
                flush=True,
            )
        run_whole(folder, caches)
        check_same(outcome(folder), wanted)
    print(f"{count} kills: the same bits each time, at most {lost} steps lost, between saves {STEPS}")


def cold(times: int, seed: int, work: Path) -> None:
    draw, shared, command = random.Random(seed), work / "cache", [sys.executable, "-m", "train"]
    begun = time.monotonic()
    for name in ("first", "whole"):
        begun = time.monotonic()
        subprocess.run([*command, *arguments(work / name, shared)], cwd=ROOT, check=True, capture_output=True)
    usual, kills = time.monotonic() - begun, 0
    while kills < times:
        folder = work / f"killed-{kills}"
        for _ in range(min(4, times - kills)):
            process = subprocess.Popen(
                [*command, *arguments(folder, shared)], cwd=ROOT, stderr=subprocess.DEVNULL
            )
            time.sleep(usual * draw.random())
            process.kill()
            process.wait()
            kills += 1
            print(
                f"killed: {_step_of(folder)} steps saved, {check_loads(folder)} checkpoints load", flush=True
            )
        subprocess.run([*command, *arguments(folder, shared)], cwd=ROOT, check=True, capture_output=True)
        check_same(outcome(folder), outcome(work / "whole"))
    print(f"{kills} kills of python -m train: the same bits each time")


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m tests.robustness.kill", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--times", type=int, default=20, help="how often to kill")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cold", action="store_true", help="start python -m train anew each time")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    work = Path(tempfile.mkdtemp(prefix="mtrl-kill-"))
    try:
        (cold if chosen.cold else warm)(chosen.times, chosen.seed, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
