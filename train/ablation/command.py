"""`python -m train ablate`: trains several methods with several translators and seeds, and writes one report.

A run that is finished is not repeated and a run that was stopped is continued, so the command can be interrupted and
called again. Metrics are of the test identities, which no run has seen; each run's model is the one that was best on
its held-out training identities.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from mtrl.console import cli
from mtrl.console.cli import Given, option
from mtrl.data.transitions import translator_key
from mtrl.models.load import load_pretrained
from mtrl.translate import load_translator
from train.ablation.jobs import run_children
from train.ablation.kept_result import made_differently, read_kept
from train.ablation.one_run import continued, train_one
from train.ablation.report import write_report
from train.ablation.results import LABELS, NAMED, Run, collect, seeds_found
from train.ablation.test_sets import forget_test_sets, real_people
from train.preflight import check_runs
from train.presets import METHODS, listed
from train.run.log import ENVIRONMENT
from train.run.origins import Origin, check_same, of_model, of_translator
from train.run.resume import differences
from train.settings import TrainSettings, settle

PROGRAM = "python -m train ablate"
# Options of `python -m train` that the ablation sets for each run, so its own command line refuses them.
_OWN = ("method", "translator", "seed", "output", "resume", "push", "private")


@dataclasses.dataclass(frozen=True)
class AblateSettings:
    """The ablation's own options. The same command line also takes the options of the trainings."""

    methods: tuple[str, ...] = option(
        tuple(name for name in LABELS if name not in NAMED), "methods to compare", tuple(METHODS)
    )
    translators: tuple[str, ...] = option(("luminance",), "of the methods that see transition images")
    backbones: tuple[str, ...] = option(("",), "timm names; without it the --backbone of all runs")
    datasets: tuple[str, ...] = option(("",), "NAME or NAME=FOLDER; without it the --dataset of all runs")
    seeds: tuple[int, ...] = option((0, 1, 2), "of the runs; with --report-only all there are, if not given")
    folder: str = option("runs/ablation", "folder of the runs and of the report")
    test_seed: int = option(0, "which synthetic test identities")
    real: str | None = option(
        None, "folder of m3svd: test the models on its real people, too; it never chooses a model"
    )
    jobs: int = option(
        1, "runs at a time: processor threads divided, GPUs taken in turn unless --device names one"
    )
    report_only: bool = option(False, "train nothing, report what is there")

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ValueError(f"jobs must be at least 1, not {self.jobs}")
        if self.test_seed < 0:
            raise ValueError(f"test_seed must not be negative, got {self.test_seed}")


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        PROGRAM,
        allow_abbrev=False,  # --seed belongs to the runs
        description="Trains methods with several seeds and reports mean, deviation, paired gains with their "
        "t-tests, and a plot: ablation.md, .csv, .tex, .json and .png in --folder. Every other option of "
        "python -m train holds for all runs; a method decides its own terms, whatever a YAML file says of them.",
    )
    cli.add_flags(parser, AblateSettings)
    cli.add_flags(parser, TrainSettings, without=_OWN)
    for name in _OWN:  # a YAML file for a single run has them
        kind = int if name == "seed" else str
        parser.add_argument(f"--{name}", type=kind, nargs="?", const=0, help=argparse.SUPPRESS)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)  # a child of --jobs: no report
    found = cli.given(parser, argv)
    forget_test_sets()
    chosen, shared = _split(found)
    folder, one = Path(chosen.folder), bool(found.flags.get("one"))
    seeds = seeds_found(folder) if chosen.report_only and "seeds" not in found.values else chosen.seeds
    runs = plan(chosen.methods, chosen.translators, seeds, chosen.backbones, chosen.datasets)
    if twice := sorted({name for name in ("backbone", "dataset") if len(getattr(chosen, f"{name}s")) > 1}
                       & shared.flags.keys()):  # fmt: skip
        raise ValueError(f"--{twice[0]} names one, --{twice[0]}s several: give one of the two")
    if chosen.report_only and shared.flags:
        unknown = ", ".join(f"--{name.replace('_', '-')}" for name in shared.flags)
        raise ValueError(f"{unknown}: --report-only takes none of the training's options")
    failed = []
    if not chosen.report_only:
        settings = _settings_of_all(runs, folder, shared, chosen.test_seed, chosen.real)
        failed = _train(settings, chosen, argv, one)
    if not one:
        rows = collect(folder, runs, chosen.test_seed)
        print(write_report(rows, folder).read_text("utf-8"))
        if names := made_differently([result for row in rows for result in row.results.values()]):
            again = "; without --report-only those whose models are there are measured again"
            warnings.warn(
                f"the figures in {folder} were not all measured with the same {' and '.join(names)}"
                f"{again if chosen.report_only else ''}",
                stacklevel=2,
            )
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return 2 if failed else 0


def _split(found: Given) -> tuple[AblateSettings, Given]:
    """(the ablation's own settings, what was given for its runs).

    A file for a single run also says which translators and seeds are meant, where the lists are not given.
    Raises ValueError for flags of a single run.
    """
    wrong = [f"--{name}" for name in _OWN if name in found.flags]
    if wrong:
        raise ValueError(
            f"{', '.join(wrong)}: an ablation sets this itself; use --methods, --translators, --seeds, --folder"
        )
    own = {field.name for field in dataclasses.fields(AblateSettings)}
    file = found.file
    single = {f"{name}s": (file[name],) for name in ("translator", "seed") if name in file}
    chosen = cli.build(AblateSettings, {**single, **{n: v for n, v in found.values.items() if n in own}})
    unused = [
        (name, file[name])
        for name in _OWN
        if name in file and getattr(chosen, f"{name}s", 0) != (file[name],)
    ]
    if unused:
        print(
            f"note: not used of {found.source}, since the ablation sets it: {listed(unused)}",
            file=sys.stderr,
        )
    shared = [
        {name: value for name, value in source.items() if name not in (*own, *_OWN, "one")}
        for source in (found.flags, file)
    ]
    return chosen, Given(shared[0], shared[1], found.source, {})


def plan(
    methods: Sequence[str],
    translators: Sequence[str],
    seeds: Sequence[int],
    backbones: Sequence[str] = ("",),
    datasets: Sequence[str] = ("",),
) -> list[Run]:
    """All runs, seed by seed, so that early results can be paired. Methods without transition images come once.

    Raises ValueError for translators, backbones or data sets that would share a folder.
    """
    for what, labels, given in (
        ("translators", [Run("", name, 0).name for name in translators], translators),
        ("backbones", [Run("", "", 0, name).name for name in backbones], backbones),
        ("datasets", [Run("", "", 0, "", name).name for name in datasets], datasets),
    ):
        if len(set(labels)) < len(labels):
            raise ValueError(f"{what} must end in different names, not {', '.join(given)}")
    return [
        Run(method, translator, seed, backbone, dataset)
        for seed in dict.fromkeys(seeds)
        for dataset in datasets
        for backbone in backbones
        for method in dict.fromkeys(methods)
        for translator in _translators(method, translators)
    ]


def _translators(method: str, chosen: Sequence[str]) -> Sequence[str]:
    """The translators that a method is trained with: its own if its row names one, else `chosen`.

    A method that shows no transition images gets only "luminance", unused, so that it is trained once.
    """
    row = METHODS[method]
    own = row.get("translator", "luminance")
    return chosen if row["transition"] and "translator" not in row else [own]


def _settings_of_all(
    runs: Sequence[Run], folder: Path, shared: Given, test_seed: int, real: str | None
) -> dict[Run, TrainSettings]:
    """The settings of each run. What could not be trained is refused here, before anything slow."""
    settings, notes = dict[Run, TrainSettings](), dict[str, None]()
    for run in runs:
        own = {**run.settings(), "output": str(folder / run.name)}
        found = dataclasses.replace(shared, flags={**shared.flags, **own})
        settings[run], remarks = settle(found)
        notes.update(dict.fromkeys(remarks))
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    _all_different(settings)
    if real is not None:
        for size in {chosen.image_size for chosen in settings.values()}:
            real_people(real, size)  # what is wrong with it shows before the trainings
    known: dict[tuple[str, str], Origin] = {}
    for chosen in settings.values():
        _same_settings(chosen, known)
    check_runs([continued(chosen) for chosen in settings.values()], ("train", "test"), test_seed)
    return settings


def _train(
    settings: Mapping[Run, TrainSettings], chosen: AblateSettings, argv: Sequence[str], one: bool
) -> list[str]:
    """Trains what is not finished and reports after each run; returns a line for each that failed."""
    folder = Path(chosen.folder)

    def after() -> None:
        if not one:
            write_report(collect(folder, list(settings), chosen.test_seed), folder)

    if chosen.jobs > 1:
        found = {run: read_kept(its, chosen.test_seed, chosen.real) for run, its in settings.items()}
        waiting = [run for run, kept in found.items() if kept is None]
        name = PROGRAM.split()[-1]
        commands = {run.name: [name, *argv, *run.flags(), "--one", "--jobs", "1"] for run in waiting}
        numbered = any(
            ":" in its.device for its in settings.values()
        )  # a GPU that all runs share, as was asked
        gpus = 0 if numbered else torch.cuda.device_count()
        return run_children(commands, chosen.jobs, folder, after, gpus)
    failed = []
    for run, its in settings.items():
        try:
            train_one(its, chosen.test_seed, chosen.real)
        except (ValueError, OSError, ImportError, RuntimeError) as error:
            failed.append(f"{run.name}: {error}")
        after()
    return failed


def _all_different(settings: Mapping[Run, TrainSettings]) -> None:
    """Raises ValueError, with both names, for two runs that would train the same model."""
    seen: dict[TrainSettings, Run] = {}
    for run, its in settings.items():
        made = its.transition and not its.transitions
        translator = _translator_identity(its.translator) if made else ""
        same = seen.setdefault(
            dataclasses.replace(its, method="mtrl", translator=translator, output=None), run
        )
        if same is not run:
            raise ValueError(
                f"{same.name} and {run.name} would train the same model ({listed(its.terms().items())}): "
                "leave one of them out, or the flags that make them equal"
            )


def _translator_identity(source: str) -> str:
    """Equal for two names of the same translator."""
    return translator_key(load_translator(source)) or source


def _same_settings(settings: TrainSettings, known: dict[tuple[str, str], Origin]) -> None:
    """Raises ValueError if the run folder was trained with other settings, for "folder" with other images, or with a
    translator, starting model or teacher that was replaced under its name. `known`: those that were read already.
    """
    folder = Path(settings.run_folder)
    free = settings.free - {"data_root"} if settings.dataset == "folder" else settings.free
    other = differences(settings, folder / "settings.yaml", free)
    if other:
        words = "; ".join(f"{name} {before}, not {now}" for name, before, now in other)
        raise ValueError(f"{folder} was trained with {words}: choose another --folder")
    if (folder / ENVIRONMENT).is_file():
        check_same(folder / ENVIRONMENT, _origins(settings, known))


def _origins(settings: TrainSettings, known: dict[tuple[str, str], Origin]) -> dict[str, Origin]:
    sources = {"starting_weights": settings.init, "teacher": settings.teacher}
    if settings.transition and not settings.transitions:
        sources["translator"] = settings.translator
    for name, source in sources.items():
        if source and (name, source) not in known:
            known[name, source] = (
                of_translator(source, load_translator(source))
                if name == "translator"
                else of_model(source, load_pretrained(source))
            )
    return {name: known[name, source] for name, source in sources.items() if source}
