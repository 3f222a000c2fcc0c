"""`python -m eval features`: scores features saved for the official SYSU-MM01 evaluation, as its MATLAB code does.

Gallery by the official permutations, infrared queries, ten trials. Only infrared and gallery cameras are read.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eval.evaluate import score_features
from eval.matfiles import read_features
from eval.protocols import INDOOR_CAMERAS, MODES, Setting, make_trials
from eval.report import RERANK_HELP, Report, make_room, rerank_name, table, write_json
from eval.score import DISTANCES, FeatureSet
from mtrl.console.cli import option, parse
from mtrl.data.matfiles import read_permutations, read_test_ids
from mtrl.models.config import Modality
from mtrl.retrieval.metrics.rerank import VARIANTS

FORMS = (
    "A camera's file: .mat (up to version 7), a cell array `feature` whose cell i holds the features of identity i; "
    '.npz or .safetensors, for each identity an array of shape (images, D) named "CAMERA/IDENTITY", such as "3/117". '
    "Images in file-name order. Indoor search needs cameras 1, 2, 3 and 6 only. docs/protocols.md has an example."
)
VISIBLE_CAMERAS = (1, 2, 4, 5)
INFRARED_CAMERAS = (3, 6)


@dataclasses.dataclass(frozen=True)
class FeatureSettings:
    """Options of `python -m eval features`."""

    features: str = option(
        "", "folder with PREFIX_cam1 ... PREFIX_cam6, each a .mat, .npz or .safetensors (below)"
    )
    prefix: str = option("", "the file names' part before _cam1.mat")
    splits: str = option("", "folder with test_id.mat and rand_perm_cam.mat")
    mode: str = option("all", "all-search or indoor-search", MODES)
    shots: int = option(1, "gallery images per identity and camera, 1 or 10")
    trials: int = option(10, "trials of rand_perm_cam.mat to average")
    distance: str = option(
        "euclidean", "how features are compared; the official demo takes euclidean", DISTANCES
    )
    rerank: str | None = option(None, RERANK_HELP, VARIANTS, bare="paper")
    json: str | None = option(None, "write the metrics to this file")


def main(argv: Sequence[str]) -> int:
    """Runs the command; errors as in `evaluate_features`."""
    parser = argparse.ArgumentParser(
        "python -m eval features",
        description="Scores features saved for the official SYSU-MM01 evaluation, as its MATLAB code does.",
        epilog=FORMS,
    )
    settings = parse(FeatureSettings, parser, argv)
    for name in ("features", "prefix", "splits"):
        if not getattr(settings, name):
            parser.error(f"--{name} is required")
    make_room(settings.json)
    setting = Setting("sysu", "ir2vis", settings.mode, settings.shots, "official", settings.trials)
    report = evaluate_features(
        Path(settings.features),
        settings.prefix,
        Path(settings.splits),
        setting,
        settings.distance,
        settings.rerank,
    )
    print("; ".join([f"SYSU-MM01, {report.checkpoint}, {settings.distance} distance", *rerank_name(report)]))
    print(table([report]))
    if settings.json:
        write_json(settings.json, report)
    return 0


def evaluate_features(
    directory: Path,
    prefix: str,
    splits: Path,
    setting: Setting,
    metric: str = "euclidean",
    rerank: str | None = None,
) -> Report:
    """The report of saved features in one setting with the official gallery.

    Raises FileNotFoundError for a missing file, ValueError for one that is damaged or does not fit the splits.
    """
    permutations = read_permutations(_find(splits, "rand_perm_cam.mat"))
    test_ids = read_test_ids(_find(splits, "test_id.mat"))
    visible = INDOOR_CAMERAS if setting.mode == "indoor" else VISIBLE_CAMERAS
    feature_set = read_feature_set(directory, prefix, sorted({*visible, *INFRARED_CAMERAS}), set(test_ids))
    listed = {key for key in permutations if key[1] in set(test_ids)}
    present = set(zip(feature_set.cameras.tolist(), feature_set.identities.tolist(), strict=True))
    for camera, identity in sorted(listed - present):
        if camera in visible or camera in INFRARED_CAMERAS:
            raise ValueError(f"{prefix}_cam{camera} has no features of identity {identity}")
    trials = make_trials(
        feature_set.identities, feature_set.cameras, feature_set.modalities, setting, permutations
    )
    report = score_features(feature_set, trials, setting, metric, rerank)
    return dataclasses.replace(report, dataset="sysu", checkpoint=str(directory / prefix), feature="given")


def read_feature_set(
    directory: Path, prefix: str, cameras: Sequence[int], identities: set[int]
) -> FeatureSet:
    """The features of some identities in some cameras, float64, by camera, identity and image.

    Raises FileNotFoundError or ValueError naming the file; ValueError when lengths of features differ.
    """
    parts, labels = [], []
    for camera in cameras:
        for identity, matrix in sorted(read_features(directory, prefix, camera).items()):
            if identity in identities:
                parts.append(matrix)
                labels += [(identity, camera)] * len(matrix)
    if not parts:
        raise ValueError(f"{directory}: no features of any test identity")
    widths = sorted({part.shape[1] for part in parts})
    if len(widths) != 1:
        raise ValueError(f"{directory}: features differ in length: {widths}")
    table_ = np.array(labels, dtype=np.int64)
    infrared = np.isin(table_[:, 1], INFRARED_CAMERAS)
    modalities = np.where(infrared, int(Modality.INFRARED), int(Modality.VISIBLE)).astype(np.uint8)
    return FeatureSet(np.concatenate(parts), table_[:, 0], table_[:, 1], modalities, np.arange(len(labels)))


def _find(splits: Path, name: str) -> Path:
    path = splits / name
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; it is part of the official SYSU-MM01 evaluation kit")
    return path
