"""Breaks the source on purpose, one small change at a time, and shows that a test notices each.

    python -m tests.robustness.mutations [--only TEXT] [--jobs N]

The changes stand in `tests/robustness/mutation_list.py`. Each is made in a temporary copy of the project, never in
the project itself, and the tests that it names run there, in a process forked from one that has imported torch
already. A change is killed when a test fails; one that survives means that a test is missing. Exit 1 when one
survives, breaks an import instead of a result, or no longer fits the source.
"""

from __future__ import annotations

import argparse
import ast
import gc
import multiprocessing
import os
import queue
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.helpers.paths import ROOT
from tests.robustness.mutation_list import MUTATIONS, Mutation

COPIED = (
    "app.py",
    "mtrl",
    "eval",
    "train",
    "tests",
    "docs",
    "pyproject.toml",
    "requirements.txt",
    "README.md",
)
SECONDS = 300  # when the tests of a change run longer than this, they are taken as failed
UNCHANGED_SECONDS = 600  # when all tests take longer than this without a change, they hang
PASSED, FAILED = 0, 1  # of pytest; any other code says that tests could not be run
_FOREIGN, _HUNG = 70, -9


def mutated(source: str, mutation: Mutation) -> str:
    """The changed source. Raises ValueError unless the old text occurs exactly once and the result is another
    program that parses.
    """
    if (times := source.count(mutation.old)) != 1:
        raise ValueError(f"{mutation}: the old text occurs {times} times, not once")
    changed = source.replace(mutation.old, mutation.new)
    try:
        if ast.dump(ast.parse(changed)) == ast.dump(ast.parse(source)):
            raise ValueError(f"{mutation}: the change changes nothing")
    except SyntaxError as error:
        raise ValueError(f"{mutation}: the result does not parse: {error}") from error
    return changed


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "python -m tests.robustness.mutations", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--only", default="", help="changes whose file or text contains this")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="changes tried at a time")
    args = parser.parse_args(argv)
    chosen = [mutation for mutation in MUTATIONS if args.only in str(mutation)]
    _import_once()
    began, bad = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        trees = [_copy(Path(folder) / str(job) / "tree") for job in range(max(args.jobs, 1))]
        tests = sorted({test for mutation in chosen for test in mutation.tests})
        share = -(-len(tests) // len(trees))
        shares = [tests[first : first + share] for first in range(0, len(tests), share)]
        for code, log, seconds in _in_parallel(_unchanged, trees, shares):
            print(
                f"{'passed' if code == PASSED else 'FAILED':<9}{seconds:5.1f} s  without a change", flush=True
            )
            if code != PASSED:
                print(log)
                return 1
        for verdict, seconds, mutation, by in _in_parallel(_try, trees, chosen):
            bad += verdict != "killed"
            print(f"{verdict:<9}{seconds:5.1f} s  {mutation}  {by}", flush=True)
    seconds = time.monotonic() - began
    print(f"{len(chosen) - bad} of {len(chosen)} killed, in {seconds:.0f} s")
    return 1 if bad or not chosen else 0


def _in_parallel(
    function: Callable[[Path, Any], Any], trees: list[Path], items: Sequence[Any]
) -> Iterator[Any]:
    """The results of `function(tree, item)` as they come, in one process for each tree; each may fork others."""
    context = multiprocessing.get_context("fork")
    todo, done = context.Queue(), context.Queue()
    for item in [*items, *[None] * len(trees)]:
        todo.put(item)

    def work(tree: Path) -> None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what it has forked ends with it
        try:
            for item in iter(todo.get, None):
                done.put(function(tree, item))
        except BaseException as error:  # or the results would be waited for in vain
            done.put(error)

    processes = [context.Process(target=work, args=(tree,)) for tree in trees]
    for process in processes:
        process.start()
    try:
        for _ in items:
            yield _next(done, processes)
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _next(done: Any, processes: Sequence[Any]) -> Any:
    """What one of the processes has put. Raises what it raised, and RuntimeError where one was killed."""
    while True:
        try:
            result = done.get(timeout=5)
        except queue.Empty:
            if any(process.exitcode for process in processes):
                raise RuntimeError(
                    "a process was killed: is there memory for all of them? See --jobs"
                ) from None
            continue
        if isinstance(result, BaseException):
            raise result
        return result


def _unchanged(tree: Path, tests: Sequence[str]) -> tuple[int, str, float]:
    """What `_run` says of tests where nothing is changed.

    A run that hangs is tried once more: a process that was forked while a thread held a lock may stand still.
    """
    found = _run(tree, tests, UNCHANGED_SECONDS)
    if found[0] != _HUNG:
        return found
    print(f"HUNG for {UNCHANGED_SECONDS} s without a change, tried again:\n{found[1][-6000:]}", flush=True)
    return _run(tree, tests, UNCHANGED_SECONDS)


def _try(tree: Path, mutation: Mutation) -> tuple[str, float, Mutation, str]:
    """(verdict, seconds, change, the test that failed) of one change; the tree is as before afterwards."""
    path = tree / mutation.path
    source = path.read_text(encoding="utf-8")
    try:
        path.write_text(mutated(source, mutation), encoding="utf-8")
        code, log, seconds = _run(tree, mutation.tests, SECONDS)
    except ValueError as error:
        return "STALE", 0.0, mutation, str(error)
    finally:
        path.write_text(source, encoding="utf-8")
    if code in (FAILED, _HUNG):
        found = re.search(r"^FAILED (.+?)(?: - |$)", log, re.MULTILINE)
        return "killed", seconds, mutation, found[1] if found else "(hung)"
    return (
        ("SURVIVED" if code == PASSED else f"BROKEN {code}"),
        seconds,
        mutation,
        "" if code == PASSED else log[-2000:],
    )


def _run(tree: Path, tests: Sequence[str], limit: float) -> tuple[int, str, float]:
    """(exit code of pytest, what it printed, seconds) in a process of its own, ended after `limit` seconds."""
    log = tree.with_name("log")
    process = multiprocessing.get_context("fork").Process(target=_test, args=(tree, tests, log))
    began = time.monotonic()
    process.start()
    try:
        process.join(limit)
    finally:
        if process.is_alive():
            process.kill()
            process.join()
    return process.exitcode or 0, log.read_text(errors="replace"), time.monotonic() - began


def _test(tree: Path, tests: Sequence[str], log: Path) -> None:
    """Runs tests of the copy, and ends the process with pytest's code."""
    import hypothesis
    import pytest

    gc.freeze()  # pytest collects garbage often; what was imported before need not be looked through each time
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1), os.dup2(out, 2)
    os.chdir(tree)
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
    for name in [name for name in sys.modules if name.split(".")[0] == "tests"]:
        del sys.modules[name]  # the copy's are read instead
    # Compiled files are told apart by time in seconds and size: too coarse here.
    sys.dont_write_bytecode = True
    # The same examples in every run, and none of them made smaller: that it fails is all that is asked.
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("mutations", phases=phases, derandomize=True, database=None)
    hypothesis.settings.load_profile("mutations")
    # A test that hangs writes where it stands, before its process is ended.
    options = ["-x", "--no-header", "--tb=short", "-p", "no:cacheprovider", "-o", "faulthandler_timeout=240"]
    code = int(pytest.main([*options, *tests]))
    rooms = ("mtrl", "eval", "train", "tests")
    ours = [module for name, module in sys.modules.items() if name.split(".")[0] in rooms]
    foreign = [m for m in ours if m.__file__ and not Path(m.__file__).resolve().is_relative_to(tree)]
    sys.stdout.flush()
    os._exit(_FOREIGN if foreign else code)


def _copy(tree: Path) -> Path:
    for name in COPIED:
        source, target = ROOT / name, tree / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            tree.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return tree.resolve()


def _import_once() -> None:
    """What all tests need and no change touches, so that a forked process has it at once.

    One thread, as threads do not survive a fork; said to torch before it is imported, as `torch.set_num_threads` here
    makes the backward pass of a forked process end or hang now and then.
    """
    if "torch" in sys.modules:
        raise RuntimeError("torch was imported before its number of threads was set")
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
    import hypothesis.strategies
    import numpy
    import pytest
    import scipy.stats
    import timm
    import torch

    assert all((hypothesis.strategies, numpy, pytest, scipy.stats, timm)) and torch.get_num_threads() == 1


if __name__ == "__main__":
    sys.exit(main())
