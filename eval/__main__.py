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

from eval.baselines import beside
from eval.evaluate import Evaluation, evaluate_settings
from eval.features import FEATURES, Extraction
from eval.protocols import DIRECTIONS, GALLERIES, MODES, SYSU_COUNTS, Permutations, Setting, make_trials
from eval.report import RERANK_HELP, Report, rerank_name, table, write_json
from eval.score import DISTANCES
from mtrl.console.cli import option, parse, run
from mtrl.data.imageset import ImageSet, ReIDData
from mtrl.data.matfiles import read_permutations
from mtrl.data.sources import SOURCES, find_source
from mtrl.data.synthetic import SIZES, SPECTRA, SPECTRUM_HELP
from mtrl.files.levels import RANGE_HELP
from mtrl.models.device import pick_device
from mtrl.models.pretrained import read_origin
from mtrl.retrieval.metrics.ranking import CMC_LEVELS
from mtrl.retrieval.metrics.rerank import VARIANTS

BOTH = ("ir2vis", "vis2ir")
# The other commands: (module, what it does). Imported when it is called.
COMMANDS = {
    "features": ("eval.official", "scores features saved for the official SYSU-MM01 code"),
    "benchmark": ("eval.benchmark", "times the metrics"),
    "translators": ("eval.translation.command", "measures translators"),
    "cost": ("eval.cost.command", "proves what inference costs"),
    "insight": ("eval.insight", "draws what was learned"),
    "tracks": ("eval.tracks", "asks whether pooling the images of a track pays"),
    "drawings": ("eval.drawings", "compares drawn infrared images with real ones"),
}
_DIRECTION_HELP = (
    "ir2vis: infrared queries in a visible gallery; vis2ir: the reverse; vis2ir_released: what released LLCM "
    "scripts call VIS to IR, sampled infrared queries among all visible images; both: the first two"
)


@dataclasses.dataclass(frozen=True)
class EvalSettings:
    """Every option of `python -m eval`. Field names are the flags."""

    checkpoint: str | None = option(
        None, "a run folder or a Hub id; without it the checkpoint shipped with mtrl"
    )
    dataset: str = option("synthetic", "data set whose test split is evaluated", SOURCES)
    data_root: str | None = option(None, "folder of the data set; the synthetic one needs none")
    size: str = option("small", "size of the synthetic data set", tuple(SIZES))
    test_seed: int = option(0, "synthetic test identities: 0 the published ones, N fresh ones")
    spectrum: str = option("nir", SPECTRUM_HELP, SPECTRA)
    direction: str = option("ir2vis", _DIRECTION_HELP, (*DIRECTIONS, "both"))
    mode: str = option("all", "all-search or indoor-search (SYSU-MM01 rules)", MODES)
    shots: int = option(1, "gallery images per identity and camera, 1 or 10")
    gallery: str = option("seeded", "draw of the gallery: seeded, or by SYSU-MM01's official file", GALLERIES)
    splits: str | None = option(None, "folder with rand_perm_cam.mat (default: DATA_ROOT/exp)")
    trials: int = option(10, "number of gallery draws that are averaged")
    trial: str = option(
        "1", 'RegDB split 1 to 10, or "all" with {trial} in --checkpoint: one model per split'
    )
    cmc_level: str | None = option(
        None, "rank of the identity or of the image (default: as usual)", CMC_LEVELS
    )
    feature: str = option("after", "features after or before the neck", FEATURES)
    flip: bool = option(False, "average the features of an image and its mirror image")
    distance: str = option("cosine", "how features are compared", DISTANCES)
    rerank: str | None = option(None, RERANK_HELP, VARIANTS, bare="paper")
    imagenet: str | None = option(
        None, "file of `python -m train imagenet`: ImageNet features of the grey images beside the model's"
    )
    batch_size: int = option(64, "images per forward pass")
    bf16: bool = option(False, "compute in bfloat16: faster, a little coarser")
    device: str = option("auto", '"auto", "cpu", "cuda", "cuda:1", ...')
    cache: str | None = option(None, "folder where features are kept by checkpoint and data")
    cache_dir: str | None = option(None, "folder where rendered and resized images are kept")
    on_bad: str = option(
        "error", "image files that cannot be read: stop, or leave them out", ("error", "skip")
    )
    value_range: tuple[float, float] | None = option(None, RANGE_HELP)
    json: str | None = option(None, "write the metrics here; with --direction both, one file per direction")
    output: str | None = option(None, "folder for figures: CMC curve, ranking strips, modality gap")

    def protocol_settings(self, protocol: str) -> list[Setting]:
        """One `Setting` per direction. Raises ValueError for combinations that do not exist."""
        directions = BOTH if self.direction == "both" else (self.direction,)
        rest = (self.mode, self.shots, self.gallery, self.trials, self.cmc_level)
        return [Setting(protocol, direction, *rest) for direction in directions]

    def extraction(self) -> Extraction:
        """How features are made. Raises ValueError for an impossible option."""
        cache = Path(self.cache) if self.cache else None
        return Extraction(self.feature, self.flip, self.batch_size, self.bf16, cache, progress=True)


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
    settings.protocol_settings(find_source(settings.dataset).protocol)
    settings.extraction()
    if settings.imagenet:
        read_origin(settings.imagenet)
    splits = chosen_splits(settings)
    permutations = _permutations(settings)
    rounds = [_evaluate_split(settings, split, permutations) for split in splits]
    evaluations, images = rounds[0]
    merged = [
        _named(evaluation, [others[number].report for others, _ in rounds], settings)
        for number, evaluation in enumerate(evaluations)
    ]
    _show([evaluation.report for evaluation in merged], settings)
    if settings.output:
        from eval.figures import write_figures

        for path in write_figures(merged, images, Path(settings.output)):
            print(f"wrote {path}")
    return 0


def chosen_splits(settings: EvalSettings) -> list[int]:
    """The splits to evaluate, one model each; [1] for data sets with one split. Raises ValueError for a wrong one."""
    splits = find_source(settings.dataset).splits
    if settings.trial == "all" and settings.imagenet:
        raise ValueError("--imagenet stands beside one split's figures: choose it with --trial 1 to 10")
    if settings.trial == "all" and splits:
        if not settings.checkpoint or "{trial}" not in settings.checkpoint:
            raise ValueError(
                "--trial all needs one model per split, since a model has seen the other splits' test identities: "
                f"write their folders as --checkpoint 'runs/{settings.dataset}-{{trial}}'"
            )
        return list(splits)
    if settings.trial not in map(str, splits or (1,)):
        raise ValueError(f'trial must be 1 to 10 or "all", and belongs to RegDB, not {settings.trial!r}')
    return [int(settings.trial)]


def _evaluate_split(
    settings: EvalSettings, split: int, permutations: Permutations | None
) -> tuple[list[Evaluation], ImageSet]:
    from mtrl.data import load_data
    from mtrl.models.load import load_pretrained

    source = settings.checkpoint
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
    return beside(evaluations, data.test, settings.imagenet, settings.extraction()), data.test


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


def _named(evaluation: Evaluation, reports: Sequence[Report], settings: EvalSettings) -> Evaluation:
    """The first split's evaluation with every split's metrics, and the names of what was evaluated."""
    described = find_source(settings.dataset)
    chosen = described.chosen(settings.size, settings.spectrum)
    report = dataclasses.replace(
        evaluation.report,
        trials=tuple(scores for report in reports for scores in report.trials),
        reranked=tuple(scores for report in reports for scores in report.reranked),
        modality_gap=sum(report.modality_gap for report in reports) / len(reports),
        dataset=settings.dataset,
        checkpoint=settings.checkpoint or "shipped",
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
    title += [f"checkpoint {first.checkpoint}", f"features {first.feature} the neck"]
    title += [f"{first.distance} distance"]
    print("; ".join(title + ["flip averaging"] * first.flip + rerank_name(first)))
    print(table(reports))
    for report in reports:
        print(f"modality gap {report.setting.direction}: {report.modality_gap:.3f}")
        if settings.json:
            target = Path(settings.json)
            if len(reports) > 1:
                target = target.with_stem(f"{target.stem}-{report.setting.direction}")
            write_json(target, report)
    _compare_counts(reports[0])


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
