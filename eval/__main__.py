"""`python -m eval`: evaluates a model on a test set; starts the other evaluation commands too."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from eval.baselines import beside, imagenet
from eval.corruptions import corrupted
from eval.evaluate import Evaluation, evaluate_settings
from eval.protocols import SYSU_COUNTS, Permutations, make_trials
from eval.queries.per_query import PerQuery
from eval.report import Report, make_room, rerank_name, table, write_json, write_list
from eval.score import Scores
from eval.settings import EvalSettings
from mtrl.console.cli import parse, run
from mtrl.data.imageset import ImageSet, ReIDData
from mtrl.data.matfiles import read_permutations
from mtrl.data.sources import find_source
from mtrl.models.device import pick_device
from mtrl.models.pretrained import read_origin
from mtrl.models.reid import MTRL

# The other commands: (module, what it does). Imported when it is called.
COMMANDS = {
    "compare": ("eval.queries.compare", "tests two models against each other"),
    "features": ("eval.official", "scores features saved for the official SYSU-MM01 code"),
    "benchmark": ("eval.benchmark", "times the metrics"),
    "translators": ("eval.translation.command", "measures translators"),
    "cost": ("eval.cost.command", "proves what inference costs"),
    "insight": ("eval.insight", "draws what was learned"),
    "tracks": ("eval.queries.tracks", "asks whether pooling the images of a track pays"),
    "drawings": ("eval.drawings", "compares drawn infrared images with real ones"),
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
    # What cannot be is refused before anything slow.
    if protocol := find_source(settings.dataset).protocol:  # one of your own says it when it is loaded
        settings.protocol_settings(protocol)
    settings.extraction()
    if settings.imagenet:
        read_origin(settings.imagenet)
    splits = chosen_splits(settings)
    permutations = _permutations(settings)
    make_room(settings.json, settings.per_query)
    evaluations, queries = list[Evaluation](), PerQuery.empty()
    known = dict[tuple[int, ...], list[Report]]()
    for source in settings.sources:
        rounds = [_evaluate_split(settings, source, split, permutations, known) for split in splits]
        merged = [
            _named(evaluation, [others[number].report for others, _ in rounds], source, settings)
            for number, evaluation in enumerate(rounds[0][0])
        ]
        if settings.per_query:
            queries = queries.joined(merged, rounds)
        evaluations += merged
        images = rounds[0][1]
    _show([evaluation.report for evaluation in evaluations], settings)
    if settings.per_query:
        queries.save(Path(settings.per_query))
        print(f"wrote {settings.per_query}")
    if settings.output:
        from eval.figures import write_figures

        for path in write_figures(evaluations, images, Path(settings.output)):
            print(f"wrote {path}")
    return 0


def chosen_splits(settings: EvalSettings) -> list[int]:
    """The splits to evaluate, one model each; [1] for data sets with one split. Raises ValueError for a wrong one."""
    splits = find_source(settings.dataset).splits
    if settings.trial == "all" and settings.imagenet:
        raise ValueError("--imagenet stands beside one split's figures: choose it with --trial 1 to 10")
    if settings.trial == "all" and splits:
        if not all(source and "{trial}" in source for source in settings.sources):
            raise ValueError(
                "--trial all needs one model per split, since a model has seen the other splits' test identities: "
                f"write their folders as --checkpoint 'runs/{settings.dataset}-{{trial}}'"
            )
        return list(splits)
    if settings.trial not in map(str, splits or (1,)):
        raise ValueError(f'trial must be 1 to 10 or "all", and belongs to RegDB, not {settings.trial!r}')
    return [int(settings.trial)]


def _evaluate_split(
    settings: EvalSettings,
    source: str | None,
    split: int,
    permutations: Permutations | None,
    known: dict[tuple[int, ...], list[Report]],
) -> tuple[list[Evaluation], ImageSet]:
    """The evaluations of a model on a split, and its images. `known`: what stands beside them, by image size."""
    from mtrl.data import load_data
    from mtrl.models.load import load_pretrained

    if source and find_source(settings.dataset).splits:
        source = source.replace("{trial}", str(split))
    model = load_pretrained(source, device=pick_device(settings.device))
    read = partial(
        load_data,
        settings.dataset,
        settings.data_root,
        size=settings.size,
        test_seed=settings.test_seed,
        spectrum=settings.spectrum,
        image_size=model.config.image_size,
        cache_dir=settings.cache_dir,
        parts=("test",),
        trial=split,
        on_bad=settings.on_bad,
        value_range=settings.value_range,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # reading in earnest says the same
        _check_labels(read(labels_only=True), settings, permutations)
    data = read()
    evaluations = evaluate_settings(
        model,
        data.test,
        settings.protocol_settings(data.protocol),
        how=settings.extraction(),
        metric=settings.distance,
        rerank=settings.rerank,
        permutations=permutations,
    )
    evaluations = _with_corrupted(model, data, evaluations, settings, permutations)
    size = model.config.image_size
    if settings.imagenet and size not in known:
        known[size] = imagenet(
            settings.imagenet,
            data.test,
            settings.protocol_settings(data.protocol),
            settings.extraction(),
            metric=settings.distance,
            permutations=permutations,
            device=pick_device(settings.device),
        )
    return beside(evaluations, known.get(size, [])), data.test


def _with_corrupted(
    model: MTRL,
    data: ReIDData,
    evaluations: list[Evaluation],
    settings: EvalSettings,
    permutations: Permutations | None,
) -> list[Evaluation]:
    """The evaluations with the metrics on corrupted images, as many draws of them as `settings.corruptions` says."""
    found: list[tuple[Scores, ...]] = [() for _ in evaluations]
    # The cache names its files by every pixel, which would be corrupted once more for that.
    how = dataclasses.replace(settings.extraction(), cache=None)
    for seed in range(settings.corruptions or 0):
        again = evaluate_settings(
            model,
            corrupted(data.test, seed),
            settings.protocol_settings(data.protocol),
            how=how,
            metric=settings.distance,
            permutations=permutations,
        )
        found = [before + one.report.trials for before, one in zip(found, again, strict=True)]
    return [
        dataclasses.replace(one, report=dataclasses.replace(one.report, corrupted=scores))
        for one, scores in zip(evaluations, found, strict=True)
    ]


def _check_labels(data: ReIDData, settings: EvalSettings, permutations: Permutations | None) -> None:
    """Raises ValueError for labels that cannot be evaluated as the settings say, before an image is decoded."""
    test = data.test
    for setting in settings.protocol_settings(data.protocol):
        make_trials(test.identities, test.cameras, test.modalities, setting, permutations, test.subsets)


def _permutations(settings: EvalSettings) -> Permutations | None:
    if settings.gallery != "official":
        return None
    folder = Path(settings.splits) if settings.splits else Path(settings.data_root or ".") / "exp"
    path = folder / "rand_perm_cam.mat"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; the official gallery needs this file of the SYSU-MM01 evaluation kit "
            "(--splits FOLDER), or take --gallery seeded"
        )
    return read_permutations(path)


def _named(
    evaluation: Evaluation, reports: Sequence[Report], source: str | None, settings: EvalSettings
) -> Evaluation:
    """The first split's evaluation with every split's metrics, and the names of what was evaluated."""
    described = find_source(settings.dataset)
    chosen = described.chosen(settings.size, settings.spectrum)
    report = dataclasses.replace(
        evaluation.report,
        trials=tuple(scores for report in reports for scores in report.trials),
        reranked=tuple(scores for report in reports for scores in report.reranked),
        corrupted=tuple(scores for report in reports for scores in report.corrupted),
        modality_gap=sum(report.modality_gap for report in reports) / len(reports),
        dataset=settings.dataset,
        checkpoint=source or "shipped",
        size=chosen["size"],
        spectrum=chosen["spectrum"],
        test_seed=settings.test_seed if described.sizes else None,
        split=settings.trial if described.splits else None,
    )
    return dataclasses.replace(evaluation, report=report)


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
