"""Runs several trainings at a time, each in a process of its own; one that fails does not stop the others."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from train.run.stop import StopRequest

_POLL = 0.2  # seconds
_ROOT = Path(__file__).resolve().parents[2]


def run_children(
    commands: Mapping[str, Sequence[str]], jobs: int, folder: Path, after: Callable[[], None], gpus: int = 0
) -> list[str]:
    """Runs `python -m train ARGUMENTS` for each name, `jobs` at a time; returns a line for each that failed.

    What a child prints goes to FOLDER/NAME.log. `after` is called when one has ended. Ctrl-C or SIGTERM asks all
    children to stop, waits until they have saved their state, and raises KeyboardInterrupt. Each child sees one of the
    first `gpus` GPUs, in turn, where there are several.
    """
    folder.mkdir(parents=True, exist_ok=True)
    waiting, running, failed = list(commands), dict[str, subprocess.Popen[bytes]](), list[str]()
    slots = dict[str, int]()  # of the running ones, each its own
    with StopRequest() as stop:
        try:
            while waiting or running:
                stop.check()
                while waiting and len(running) < jobs:
                    name = waiting.pop(0)
                    slots[name] = min(set(range(jobs)) - set(slots.values()))
                    running[name] = _start(commands[name], folder / f"{name}.log", jobs, slots[name], gpus)
                    print(f"{name}: started", flush=True)
                for name in [name for name, child in running.items() if child.poll() is not None]:
                    code = running.pop(name).returncode
                    del slots[name]
                    log = folder / f"{name}.log"
                    if code:
                        failed.append(f"{name}: {_last_line(log)} (exit {code}, {log})")
                    done = len(commands) - len(waiting) - len(running)
                    print(f"{name}: {'failed' if code else 'done'} ({done} of {len(commands)})", flush=True)
                    after()
                time.sleep(_POLL)
        except KeyboardInterrupt:
            print(f"stopping {len(running)} runs; the same command continues them", file=sys.stderr)
            raise
        finally:
            _end(list(running.values()))
    return failed


def _start(arguments: Sequence[str], log: Path, jobs: int, slot: int, gpus: int) -> subprocess.Popen[bytes]:
    """A child out of reach of the terminal's Ctrl-C: this process passes on one signal, not two."""
    total = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    threads = str(max(1, total // jobs))
    path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "PYTHONPATH": path}
    environment |= gpu(slot, os.environ.get("CUDA_VISIBLE_DEVICES"), gpus)
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "train", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def gpu(slot: int, visible: str | None, count: int) -> dict[str, str]:
    """The environment that shows a child one of several GPUs, in turn; nothing to set where there are fewer than two.

    visible  what CUDA_VISIBLE_DEVICES says here;  count: how many GPUs torch sees
    """
    if count < 2:
        return {}
    names = visible.split(",") if visible else [str(number) for number in range(count)]
    return {"CUDA_VISIBLE_DEVICES": names[slot % count]}


def _end(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """SIGTERM lets a run save between two steps; a second Ctrl-C does not wait for that."""
    for child in children:
        child.terminate()
    try:
        for child in children:
            child.wait()
    except KeyboardInterrupt:
        for child in children:
            child.kill()
        raise


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ") if lines else "no output"
