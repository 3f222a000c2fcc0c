"""Evaluates the models on the test set that the options of `python -m eval` name."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from eval.baselines import beside, imagenet
from eval.corruptions import corrupted
from eval.evaluate import Evaluation, evaluate_settings
from eval.protocols import Permutations, make_trials
from eval.queries.per_query import PerQuery
from eval.report import Report
from eval.score import Scores
from eval.settings import EvalSettings
from mtrl.data import load_data
from mtrl.data.imageset import ImageSet, ReIDData
from mtrl.data.matfiles import read_permutations
from mtrl.data.sources import find_source
from mtrl.models.device import pick_device
from mtrl.models.load import DEFAULT, load_pretrained
from mtrl.models.pretrained import read_origin
from mtrl.models.reid import MTRL


def check(settings: EvalSettings) -> None:
    """Refuses what cannot be before anything slow. Raises ValueError, and OSError for a file that cannot be read."""
    if protocol := find_source(settings.dataset).protocol:  # one of your own says it when it is loaded
        settings.protocol_settings(protocol)
    settings.extraction()
    if settings.imagenet:
        read_origin(settings.imagenet)
    chosen_splits(settings)
    _permutations(settings)


def check_labels(settings: EvalSettings) -> None:
    """Reads the labels of the test set and refuses what cannot be evaluated, without decoding an image.

    Raises ValueError or OSError.
    """
    permutations = _permutations(settings)
    for split in chosen_splits(settings):
        _check_trials(_reader(settings, split)(labels_only=True), settings, permutations)


def measure(settings: EvalSettings) -> tuple[list[Evaluation], ImageSet, PerQuery]:
    """An evaluation for each checkpoint and setting, the first split's images, and every query's AP if asked for.

    The settings have passed `check`. Errors as `mtrl.load_pretrained` and `mtrl.data.load_data`.
    """
    splits, permutations = chosen_splits(settings), _permutations(settings)
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
    return evaluations, images, queries


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
    if source and find_source(settings.dataset).splits:
        source = source.replace("{trial}", str(split))
    model = load_pretrained(source, device=pick_device(settings.device))
    read = _reader(settings, split, model.config.image_size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # reading in earnest says the same
        _check_trials(read(labels_only=True), settings, permutations)
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


def _reader(
    settings: EvalSettings, split: int, image_size: tuple[int, int] | None = None
) -> Callable[..., ReIDData]:
    """Reads the test set at an image size; with labels_only=True only its labels."""
    return partial(
        load_data,
        settings.dataset,
        settings.data_root,
        size=settings.size,
        test_seed=settings.test_seed,
        spectrum=settings.spectrum,
        image_size=image_size,
        cache_dir=settings.cache_dir,
        parts=("test",),
        trial=split,
        on_bad=settings.on_bad,
        value_range=settings.value_range,
    )


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


def _check_trials(data: ReIDData, settings: EvalSettings, permutations: Permutations | None) -> None:
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
        checkpoint=source or DEFAULT,
        size=chosen["size"],
        spectrum=chosen["spectrum"],
        test_seed=settings.test_seed if described.sizes else None,
        split=settings.trial if described.splits else None,
    )
    return dataclasses.replace(evaluation, report=report)
