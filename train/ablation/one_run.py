"""One run of an ablation: trained unless it is finished, then tested."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from eval.evaluate import evaluate_settings
from eval.protocols import Setting
from mtrl.data.imageset import ReIDData
from mtrl.models.load import load_pretrained
from mtrl.models.reid import MTRL
from train.ablation.kept_result import is_trained, read_kept, write_kept
from train.ablation.test_sets import real_people
from train.data import load
from train.settings import TrainSettings
from train.trainer import Trainer
from train.validate import DIRECTIONS


def train_one(settings: TrainSettings, test_seed: int = 0, real: str | None = None) -> dict[str, Any]:
    """Trains one run unless it is finished, and returns its metrics on the test set.

    {"seed", "dataset", "size", "method", "terms": weights that its terms had, "ir2vis": {...}, "vis2ir": {...}}, and
    with `real`, a folder of m3svd, also "real": {"ir2vis": {...}, "vis2ir": {...}}.
    Stored metrics count as finished only if model, test set, code and libraries are those they were made with; else
    the model is tested again. If the model was removed, the stored metrics are returned as they are.
    """
    if (kept := read_kept(settings, test_seed, real)) is not None:
        return kept
    folder = Path(settings.run_folder)
    data = load(settings, test_seed=test_seed)
    settings = continued(settings)
    if settings.resume or not is_trained(folder):
        Trainer(settings, data).run()
    model = load_pretrained(folder)
    result: dict[str, Any] = {"seed": settings.seed, **settings.record(), **_metrics(model, data)}
    if real is not None:
        result["real"] = _metrics(model, real_people(real, model.config.image_size))
    write_kept(settings, test_seed, real, result)
    return result


def _metrics(model: MTRL, data: ReIDData) -> dict[str, dict[str, float]]:
    """{direction: {"map", "minp", "rank1"}} on a data set's test images, as fractions."""
    found = evaluate_settings(model, data.test, [Setting(data.protocol, d) for d in DIRECTIONS])
    return {
        done.report.setting.direction: {
            "map": done.report.mean["map"],
            "minp": done.report.mean["minp"],
            "rank1": done.report.mean["cmc"]["1"],
        }
        for done in found
    }


def continued(settings: TrainSettings) -> TrainSettings:
    """The settings, with `resume` True if the run's folder holds a saved training state, else False."""
    begun = (Path(settings.run_folder) / "last" / "state.safetensors").is_file()
    return dataclasses.replace(settings, resume=begun)
