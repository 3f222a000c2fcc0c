"""`python -m train ablate`: the same training with different methods, translators and seeds, and one report.

A run that is finished is not repeated and a run that was stopped is continued, so the command can be interrupted and
called again. Figures are of the test identities, which no run has seen; each run's model is the one that was best on
its held-out training identities.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval.evaluate import evaluate_settings
from eval.protocols import Setting
from mtrl import load_pretrained
from mtrl.cli import read_yaml
from train.ablation_jobs import run_children
from train.ablation_report import LABELS, Run, collect, seeds_found, write_report
from train.data import load
from train.kept_result import kept_path, read_kept, write_kept
from train.loop import Trainer
from train.settings import METHODS, TrainSettings, parse
from train.validate import DIRECTIONS

PROGRAM = "python -m train ablate"
# What may differ between two calls that mean the same run: where and how fast it is computed, what is written.
_FREE = {"output", "resume", "device", "precision", "cache_dir", "data_root", "log_every", "compile"}


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        PROGRAM,
        allow_abbrev=False,  # --seed belongs to the runs
        description="Trains methods with several seeds and reports mean, deviation, paired gains with their "
        "t-tests, and a plot: ablation.md, .json and .png in --folder. Every other option of python -m train may "
        "follow (--config too) and holds for all runs.",
    )
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(LABELS), help="default: all")
    parser.add_argument(
        "--translators", nargs="+", default=["luminance"], help="of the methods that see transition images"
    )
    parser.add_argument(
        "--seeds", nargs="+", type=int, help="default: 0 1 2; with --report-only all there are"
    )
    parser.add_argument("--folder", type=Path, default=Path("runs/ablation"), help="(default: %(default)s)")
    parser.add_argument(
        "--test-seed", type=int, default=0, help="which synthetic test identities (default: 0)"
    )
    parser.add_argument(
        "--jobs", type=int, default=1, help="runs at a time, processor threads divided (default: 1)"
    )
    parser.add_argument("--report-only", action="store_true", help="train nothing, report what is there")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)  # a child of --jobs: no report
    chosen, rest = parser.parse_known_args(argv)
    if chosen.jobs < 1:
        raise ValueError(f"jobs must be at least 1, not {chosen.jobs}")
    seeds = chosen.seeds or (seeds_found(chosen.folder) if chosen.report_only else [0, 1, 2])
    runs = plan(chosen.methods, chosen.translators, seeds)
    if chosen.report_only and rest:
        raise ValueError(f"unknown options {' '.join(rest)}; --report-only takes none of the training's")
    for run in [] if chosen.report_only else runs:
        _same_settings(settings_of(run, chosen.folder, rest))  # wrong flags are refused before anything slow
    failed = [] if chosen.report_only else _train(runs, chosen, rest)
    if not chosen.one:
        print(write_report(collect(chosen.folder, runs, chosen.test_seed), chosen.folder).read_text("utf-8"))
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return 2 if failed else 0


def plan(methods: Sequence[str], translators: Sequence[str], seeds: Sequence[int]) -> list[Run]:
    """All runs, seed by seed, so that early results can be paired. Methods without transition images come once.

    Raises ValueError for translators that would share a folder.
    """
    labels = [Run("", translator, 0).name for translator in translators]
    if len(set(labels)) < len(labels):
        raise ValueError(f"translators must end in different names, not {', '.join(translators)}")
    return [
        Run(method, translator, seed)
        for seed in dict.fromkeys(seeds)
        for method in dict.fromkeys(methods)
        for translator in (translators if METHODS[method]["transition"] else ["luminance"])
    ]


def settings_of(run: Run, folder: Path, rest: Sequence[str]) -> TrainSettings:
    flags = ["--method", run.method, "--translator", run.translator, "--seed", str(run.seed)]
    return parse([*rest, *flags, "--output", str(folder / run.name)], PROGRAM)


def _train(runs: Sequence[Run], chosen: argparse.Namespace, rest: Sequence[str]) -> list[str]:
    """Trains what is not finished and reports after each run; returns a line for each that failed."""

    def after() -> None:
        if not chosen.one:
            write_report(collect(chosen.folder, runs, chosen.test_seed), chosen.folder)

    if chosen.jobs > 1:
        shared = ["--one", "--folder", str(chosen.folder), "--test-seed", str(chosen.test_seed)]
        open_runs = [
            run for run in runs if read_kept(settings_of(run, chosen.folder, rest), chosen.test_seed) is None
        ]
        commands = {run.name: [PROGRAM.split()[-1], *run.flags(), *shared, *rest] for run in open_runs}
        return run_children(commands, chosen.jobs, chosen.folder, after)
    failed = []
    for run in runs:
        try:
            train_one(settings_of(run, chosen.folder, rest), chosen.test_seed)
        except (ValueError, OSError, ImportError, RuntimeError) as error:
            failed.append(f"{run.name}: {error}")
        after()
    return failed


def train_one(settings: TrainSettings, test_seed: int = 0) -> dict[str, Any]:
    """Trains one run unless it is finished, and returns {"seed", "ir2vis": {...}, "vis2ir": {...}} of the test set.

    Figures of another model, test set, code or library than those here now are measured again.
    """
    if (kept := read_kept(settings, test_seed)) is not None:
        return kept
    folder = Path(settings.run_folder)
    data = load(settings, test_seed=test_seed)
    state = folder / "last" / "state.safetensors"
    if state.is_file():
        settings = dataclasses.replace(settings, resume=True)
    if (
        state.is_file() or not kept_path(folder, test_seed).is_file()
    ):  # else it is finished, its state removed
        Trainer(settings, data).run()
    model = load_pretrained(folder)
    result: dict[str, Any] = {"seed": settings.seed}
    for done in evaluate_settings(model, data.test, [Setting(data.protocol, d) for d in DIRECTIONS]):
        figures = done.report.mean
        result[done.report.setting.direction] = {
            "map": figures["map"],
            "minp": figures["minp"],
            "rank1": figures["cmc"]["1"],
        }
    write_kept(settings, test_seed, result)
    return result


def _same_settings(settings: TrainSettings) -> None:
    """Raises ValueError when the run folder holds a run with other settings."""
    folder = Path(settings.run_folder)
    path = folder / "settings.yaml"
    if not path.is_file():
        return
    wanted = json.loads(json.dumps(dataclasses.asdict(settings)))  # tuples to lists, as YAML has them
    there = read_yaml(path)
    other = [
        f"{name} {there[name]}, not {value}"
        for name, value in wanted.items()
        if name not in _FREE and name in there and there[name] != value
    ]
    if other:
        raise ValueError(f"{folder} was trained with {'; '.join(other)}: choose another --folder")
