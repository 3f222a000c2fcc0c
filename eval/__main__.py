"""`python -m eval`: evaluates a model on a test set; starts the other evaluation commands too."""

from __future__ import annotations

import argparse
import importlib
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from eval.measure import check, measure
from eval.protocols import SYSU_COUNTS
from eval.report import Report, make_room, rerank_name, table, write_json, write_list
from eval.settings import EvalSettings
from mtrl.console.cli import parse, run

# The other commands: (module, what it does). Imported when it is called.
COMMANDS = {
    "compare": ("eval.queries.compare", "tests two models against each other"),
    "features": ("eval.official", "scores features saved for the official SYSU-MM01 code"),
    "benchmark": ("eval.benchmark", "times the metrics"),
    "translators": ("eval.translation.command", "measures translators"),
    "cost": ("eval.cost.command", "proves what inference costs"),
    "insight": ("eval.insight", "draws what was learned"),
    "tracks": ("eval.queries.tracks", "asks whether pooling the images of a track pays"),
    "drawings": ("eval.translation.drawings", "compares drawn infrared images with real ones"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; see `python -m eval -h`."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
        return _dispatch(list(sys.argv[1:] if argv is None else argv))


def _dispatch(arguments: list[str]) -> int:
    if arguments and arguments[0] in COMMANDS:
        return int(importlib.import_module(COMMANDS[arguments[0]][0]).main(arguments[1:]))
    others = "; ".join(f'"python -m eval {name} -h" {does}' for name, (_, does) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        "python -m eval",
        description="Evaluates a model on a test set and prints rank-1/5/10/20, mAP and mINP in percent, mean and "
        "deviation over the gallery draws.",
        epilog=f"{others}.",
    )
    return evaluate_command(parse(EvalSettings, parser, arguments))


def evaluate_command(settings: EvalSettings) -> int:
    """Loads, evaluates, prints the table and writes what was asked for."""
    check(settings)
    make_room(settings.json, settings.per_query)
    evaluations, images, queries = measure(settings)
    _show([evaluation.report for evaluation in evaluations], settings)
    if settings.per_query:
        queries.save(Path(settings.per_query))
        print(f"wrote {settings.per_query}")
    if settings.output:
        from eval.figures import write_figures

        for path in write_figures(evaluations, images, Path(settings.output)):
            print(f"wrote {path}")
    return 0


def _show(reports: Sequence[Report], settings: EvalSettings) -> None:
    first = reports[0]
    title = [first.dataset + (f" {first.size}, test seed {first.test_seed}" if first.size else "")]
    title += [f"{first.spectrum} images"] * (first.spectrum not in (None, "nir"))
    title += [f"split {first.split}"] * bool(first.split)
    names = list(dict.fromkeys(report.checkpoint for report in reports))
    title += [f"checkpoint {names[0]}"] if len(names) == 1 else [f"{len(names)} checkpoints"]
    title += [f"features {first.feature} the neck", f"{first.distance} distance"]
    print("; ".join(title + ["flip averaging"] * first.flip + rerank_name(first)))
    print(table(reports))
    for report in reports:
        named = f"{report.checkpoint}, " * (len(names) > 1)
        print(f"modality gap {named}{report.name(reports)}: {report.modality_gap:.3f}")
    if settings.json:
        _write_json(Path(settings.json), reports, settings)
    for report in reports:
        _compare_counts(report)


def _write_json(target: Path, reports: Sequence[Report], settings: EvalSettings) -> None:
    """One report as it is, several as a list; two that differ in their direction alone also as a file each."""
    if len(reports) == 1:
        write_json(target, reports[0])
        return
    write_list(target, reports)
    if len(reports) == 2 and settings.direction == "both":
        for report in reports:
            write_json(target.with_stem(f"{target.stem}-{report.setting.direction}"), report)


def _compare_counts(report: Report) -> None:
    """A warning when SYSU-MM01's test set is not the published one."""
    if report.dataset != "sysu" or report.setting.direction != "ir2vis":
        return
    expected = SYSU_COUNTS[report.setting.mode, report.setting.shots]
    found = report.trials[0].num_query, report.trials[0].num_gallery
    if found != expected:
        warnings.warn(
            f"{found[0]} queries and {found[1]} gallery images; the published test set has {expected[0]} and "
            f"{expected[1]}: compare with `python -m mtrl verify`",
            stacklevel=1,
        )


if __name__ == "__main__":
    run(main)
