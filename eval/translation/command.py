"""`python -m eval translators`: measures how well translators turn visible images into infrared ones."""

from __future__ import annotations

import argparse
import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eval.report import make_room, write_values
from eval.translation.alignment import alignment
from eval.translation.frechet import frechet_distance
from eval.translation.infrared_score import SpectrumClassifier, score_images, train_classifier
from eval.translation.sheet import write_sheet
from eval.translation.similarity import psnr, ssim
from mtrl.console.cli import option, parse
from mtrl.data import load_data
from mtrl.data.imageset import ImageSet
from mtrl.data.sources import Names, find_source, trainable
from mtrl.data.synthetic import SIZES, SPECTRA, SPECTRUM_HELP, truth
from mtrl.data.synthetic.dataset import load_part
from mtrl.files.atomic import write_atomically
from mtrl.files.levels import RANGE_HELP
from mtrl.models.config import Modality
from mtrl.models.device import pick_device
from mtrl.translate import TRANSLATORS, Translator, load_translator
from mtrl.translate.learned import luminance

COLUMNS = ("alignment", "infrared_score", "frechet", "psnr", "ssim")
RANDOM = ", random"
_TITLES = ("alignment", "infrared score", "Fréchet distance", "PSNR (dB)", "SSIM")


@dataclasses.dataclass(frozen=True)
class TranslatorEvalSettings:
    """Every option of `python -m eval translators`. Field names are the flags."""

    translators: tuple[str, ...] = option(tuple(TRANSLATORS), "names, folders or Hub ids")
    dataset: str = option("synthetic", "data set", Names())
    data_root: str | None = option(None, "folder of the data set; the synthetic one needs none")
    size: str = option("small", "size of the synthetic data set", tuple(SIZES))
    data_seed: int = option(0, "synthetic training identities, on which the classifier is trained")
    test_seed: int = option(0, "synthetic test identities: 0 the published ones, N fresh ones")
    spectrum: str = option("nir", SPECTRUM_HELP, SPECTRA)
    part: str = option(
        "test",
        "identities that are translated: test, or the last --hold-out training identities",
        ("test", "held-out"),
    )
    hold_out: int = option(60, "training identities that the classifier does not see")
    image_size: tuple[int, ...] = option((128, 64), "height and width in pixels")
    limit: int = option(2000, "most images of each kind, evenly spaced")
    steps: int = option(300, "training steps of the classifier")
    seed: int = option(0, "seed of the classifier and of translators that draw at random")
    device: str = option("auto", '"auto", "cpu", "cuda", ...')
    cache_dir: str | None = option(None, "where rendered and resized images are kept")
    value_range: tuple[float, float] | None = option(None, RANGE_HELP)
    json: str | None = option(None, "write the metrics here")
    markdown: str | None = option(None, "write the table here")
    sheet: str | None = option(None, "write an image of samples here")

    def __post_init__(self) -> None:
        if len(self.image_size) != 2 or min(self.image_size) < 16:
            raise ValueError(f"image_size is a height and a width of at least 16, not {self.image_size}")
        if min(self.limit, self.steps, self.hold_out) < 1:
            raise ValueError("limit, steps and hold_out must be at least 1")
        trainable(self.dataset)  # the classifier needs training images


@dataclasses.dataclass(frozen=True)
class Sample:
    """The images for the measurements. Float in [0, 1], on the CPU.

    visible   [N,3,H,W], which are translated
    infrared  [M,1,H,W], of the same people, from infrared cameras
    truth     [N,1,H,W], the true infrared view of each visible image, or None
    """

    visible: Tensor
    infrared: Tensor
    truth: Tensor | None


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m eval translators",
        description="Measures translators: alignment with the visible image, infrared score by a classifier that "
        "this command trains and by the distance of feature distributions, and, on synthetic data, PSNR and SSIM "
        "against the true infrared view.",
    )
    settings = parse(TranslatorEvalSettings, parser, argv)
    make_room(settings.json, settings.markdown, settings.sheet)
    loaded = [(name, load_translator(name)) for name in settings.translators]
    result, sample, outputs = measure(settings, loaded)
    text = markdown(result)
    print(text)
    if settings.json:
        write_values(settings.json, result)
    if settings.markdown:
        write_atomically(Path(settings.markdown), text.encode())
    if settings.sheet:
        shown = {Path(name).name: grey for name, grey in outputs.items() if not name.endswith(RANDOM)}
        write_sheet(Path(settings.sheet), sample.visible, shown, sample.truth)
    return 0


def measure(
    settings: TranslatorEvalSettings, translators: Sequence[tuple[str, Translator]]
) -> tuple[dict[str, Any], Sample, dict[str, Tensor]]:
    """Measures translators, given as (name, translator).

    Returns (metrics as written to JSON, the images, {row name: translated images [N,1,H,W]}).
    """
    device = pick_device(settings.device)
    train, sample = load_sample(settings)
    network = train_classifier(*train, seed=settings.seed, steps=settings.steps, device=device)
    real, reference = score_images(network, sample.infrared)
    day, _ = score_images(network, luminance(sample.visible))
    scale = reference.std(dim=0).clamp(min=1e-6)
    outputs = dict(translate_all(translators, sample.visible, settings.seed, device))
    if sample.truth is not None:
        outputs["true infrared"] = sample.truth
    rows = [
        {"translator": name, **_measures(network, grey, sample, reference, scale)}
        for name, grey in outputs.items()
    ]
    outputs.pop("true infrared", None)
    result = {
        "dataset": settings.dataset,
        **find_source(settings.dataset).chosen(settings.size, settings.spectrum),
        "part": settings.part,
        "test_seed": settings.test_seed if settings.part == "test" else None,
        "images": len(sample.visible),
        "seed": settings.seed,
        "classifier": {
            "visible": float((day < 0.5).float().mean()),
            "infrared": float((real > 0.5).float().mean()),
        },
        "rows": rows,
    }
    return result, sample, outputs


def _measures(
    network: SpectrumClassifier, grey: Tensor, sample: Sample, reference: Tensor, scale: Tensor
) -> dict[str, float | None]:
    scores, features = score_images(network, grey)
    exact = sample.truth
    return {
        "alignment": float(alignment(luminance(sample.visible), grey).mean()),
        "infrared_score": float(scores.mean()),
        "frechet": frechet_distance(features / scale, reference / scale),
        "psnr": None if exact is None or exact is grey else float(psnr(grey, exact).mean()),
        "ssim": None if exact is None or exact is grey else float(ssim(grey, exact).mean()),
    }


def translate_all(
    translators: Sequence[tuple[str, Translator]], visible: Tensor, seed: int, device: torch.device
) -> Iterator[tuple[str, Tensor]]:
    """Yields (name, translated images [N,1,H,W]) of each translator.

    A translator that draws at random comes twice: in evaluation mode, and in training mode with random draws.
    """
    for name, translator in translators:
        translator.to(device).eval()
        yield name, _translate(translator, visible, device)
        if not translator.deterministic:
            translator.train().reseed(seed)
            yield name + RANDOM, _translate(translator, visible, device)


def _translate(translator: Translator, visible: Tensor, device: torch.device) -> Tensor:
    with torch.inference_mode():
        parts = [luminance(translator(part.to(device))).cpu() for part in visible.split(32)]
    return torch.cat(parts).clamp(0, 1)


def load_sample(settings: TranslatorEvalSettings) -> tuple[tuple[Tensor, Tensor], Sample]:
    """((visible, infrared) images uint8 [N,3,H,W] to train the classifier on, images for the measurements)."""
    height, width = settings.image_size
    held_out = settings.part == "held-out"
    read = partial(
        load_data,
        settings.dataset,
        settings.data_root,
        size=settings.size,
        seed=settings.data_seed,
        test_seed=settings.test_seed,
        spectrum=settings.spectrum,
        image_size=(height, width),
        cache_dir=settings.cache_dir,
        parts=("train",) if held_out else ("train", "test"),
        value_range=settings.value_range,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the second reading, with images, gives the same warnings
        people = np.unique(read(labels_only=True).train.identities)
    if settings.hold_out >= len(people):
        raise ValueError(f"cannot hold out {settings.hold_out} of {len(people)} training identities")
    data = read()
    kept = np.isin(data.train.identities, people[: len(people) - settings.hold_out])
    known = tuple(
        _pixels(data.train, np.flatnonzero(kept & (data.train.modalities == int(m))), len(kept))
        for m in Modality
    )
    images = data.train.take(np.flatnonzero(~kept)) if held_out else data.test
    day, night = images.rows(Modality.VISIBLE), images.rows(Modality.INFRARED)
    exact = _truth(settings, (height, width)) if settings.dataset == "synthetic" else None
    if exact is not None and len(exact) != len(day):
        raise ValueError(f"{len(day)} visible images, but {len(exact)} true infrared views")
    chosen = _spread(np.arange(len(day)), settings.limit)
    sample = Sample(
        _pixels(images, day[chosen], len(chosen)).float() / 255,
        _pixels(images, night, settings.limit)[:, :1].float() / 255,
        None if exact is None else _pixels(exact, chosen, len(chosen))[:, :1].float() / 255,
    )
    return (known[0], known[1]), sample


def _truth(settings: TranslatorEvalSettings, image_size: tuple[int, int]) -> ImageSet:
    """The true infrared views of the visible images, which the synthetic data set draws."""
    size, cache = settings.size, settings.cache_dir
    if settings.part == "test":
        return truth(settings.test_seed, size, image_size, cache, spectrum=settings.spectrum)
    count = SIZES[size].train
    last = (count - settings.hold_out, count)
    return load_part(
        "train", size, settings.data_seed, image_size, cache,
        people=last, infrared=True, spectrum=settings.spectrum,
    )  # fmt: skip


def _pixels(images: ImageSet, rows: NDArray[np.int64], limit: int) -> Tensor:
    """The images of at most `limit` evenly spaced rows, uint8 [N,3,H,W]."""
    array = np.ascontiguousarray(images.images[_spread(rows, limit)])
    return torch.from_numpy(array).permute(0, 3, 1, 2).contiguous()


def _spread(rows: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    return rows[np.linspace(0, len(rows) - 1, min(limit, len(rows))).astype(np.int64)]


def markdown(result: dict[str, Any]) -> str:
    """The metrics as a Markdown table, with the classifier's accuracy on real images below it."""
    lines = ["| translator | " + " | ".join(_TITLES) + " |", "|---|" + "---:|" * len(COLUMNS)]
    digits = {"alignment": 3, "infrared_score": 3, "frechet": 2, "psnr": 2, "ssim": 3}
    for row in result["rows"]:
        cells = ["" if row[key] is None else f"{row[key]:.{digits[key]}f}" for key in COLUMNS]
        lines.append(f"| {row['translator']} | " + " | ".join(cells) + " |")
    seen = result["classifier"]
    lines.append(
        f"\n{result['images']} visible images of {result['part']} identities. The classifier is right on "
        f"{100 * seen['visible']:.1f} % of their grey visible images and {100 * seen['infrared']:.1f} % of their "
        "infrared ones."
    )
    return "\n".join(lines) + "\n"
