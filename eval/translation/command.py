"""`python -m eval translators`: measures how well translators turn visible images into infrared ones."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from eval.report import make_room, write_values
from eval.translation.alignment import alignment
from eval.translation.frechet import frechet_distance
from eval.translation.infrared_score import SpectrumClassifier, score_images, train_classifier
from eval.translation.sample import Sample, load_sample
from eval.translation.settings import PAIRED, TranslatorEvalSettings
from eval.translation.sheet import write_sheet
from eval.translation.similarity import psnr, ssim
from mtrl.console.cli import parse
from mtrl.data.sources import find_source
from mtrl.files.atomic import write_atomically
from mtrl.models.device import pick_device
from mtrl.models.load import load_pretrained
from mtrl.models.reid import MTRL
from mtrl.translate import Translator, load_translator
from mtrl.translate.learned import luminance

COLUMNS = {
    "alignment": ("alignment", 3),
    "infrared_score": ("infrared score", 3),
    "frechet": ("Fréchet distance", 2),
    "psnr": ("PSNR (dB)", 2),
    "ssim": ("SSIM", 3),
    "cosine": ("cosine", 3),
}
"""{measure: its title in a table, and the decimals there}."""
RANDOM = ", random"


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m eval translators",
        description="Measures translators: alignment with the visible image, infrared score by a classifier that "
        "this command trains and by the distance of feature distributions, and, on synthetic data, PSNR and SSIM "
        "against the true infrared view. --dataset m3svd measures them on real pairs, --checkpoint also by the "
        "embeddings of translated and true infrared images.",
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
        shown = {name: grey for name, grey in outputs.items() if not name.endswith(RANDOM)}
        write_sheet(Path(settings.sheet), sample.visible, _short(shown), sample.truth)
    return 0


def _short(shown: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """By the last part of each name, where no other ends in it."""
    ends = Counter(Path(name).name for name in shown)
    return {end if ends[end := Path(name).name] == 1 else name: grey for name, grey in shown.items()}


def measure(
    settings: TranslatorEvalSettings, translators: Sequence[tuple[str, Translator]]
) -> tuple[dict[str, Any], Sample, dict[str, Tensor]]:
    """Measures translators, given as (name, translator).

    Returns (metrics as written to JSON, the images, {row name: translated images [N,1,H,W]}).
    """
    device = pick_device(settings.device)
    model = load_pretrained(settings.checkpoint, device=device) if settings.checkpoint else None
    train, sample = load_sample(settings)
    network = train_classifier(*train, seed=settings.seed, steps=settings.steps, device=device)
    real, reference = score_images(network, sample.infrared)
    day, _ = score_images(network, luminance(sample.visible))
    scale = reference.std(dim=0).clamp(min=1e-6)
    outputs = dict(translate_all(translators, sample.visible, settings.seed, device))
    if sample.truth is not None:
        outputs["true infrared"] = sample.truth
    rows = [
        {"translator": name, **_measures(network, grey, sample, reference, scale, model)}
        for name, grey in outputs.items()
    ]
    outputs.pop("true infrared", None)
    result = {
        "dataset": settings.dataset,
        **find_source(settings.dataset).chosen(settings.size, settings.spectrum),
        "part": settings.part,
        "trial": settings.trial if find_source(settings.dataset).splits else None,
        "test_seed": settings.test_seed if settings.part == "test" and settings.dataset != PAIRED else None,
        "images": len(sample.visible),
        "seed": settings.seed,
        "checkpoint": settings.checkpoint,
        "classifier": {
            **_trained_on(settings),
            "visible": float((day < 0.5).float().mean()),
            "infrared": float((real > 0.5).float().mean()),
        },
        "rows": rows,
    }
    return result, sample, outputs


def _trained_on(settings: TranslatorEvalSettings) -> dict[str, Any]:
    """The drawn people that taught the classifier of real pairs; of other data sets it learns from their own."""
    if settings.dataset != PAIRED:
        return {}
    return {"size": settings.size, "spectrum": settings.spectrum, "data_seed": settings.data_seed}


def _measures(
    network: SpectrumClassifier,
    grey: Tensor,
    sample: Sample,
    reference: Tensor,
    scale: Tensor,
    model: MTRL | None,
) -> dict[str, float | None]:
    scores, features = score_images(network, grey)
    exact = None if sample.truth is grey else sample.truth
    return {
        "alignment": float(alignment(luminance(sample.visible), grey).mean()),
        "infrared_score": float(scores.mean()),
        "frechet": frechet_distance(features / scale, reference / scale),
        "psnr": None if exact is None else float(psnr(grey, exact).mean()),
        "ssim": None if exact is None else float(ssim(grey, exact).mean()),
        "cosine": None if exact is None or model is None else _cosine(model, grey, exact),
    }


def _cosine(model: MTRL, grey: Tensor, exact: Tensor) -> float:
    """Mean cosine of a model's embeddings of translated and of true infrared images, each [N,1,H,W]."""
    first, second = (
        model.encode(images.expand(-1, 3, -1, -1), modality="infrared") for images in (grey, exact)
    )
    return float(F.cosine_similarity(first, second).mean())


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


def markdown(result: dict[str, Any]) -> str:
    """The metrics as a Markdown table, with the classifier's accuracy on real images below it."""
    shown = {
        key: column for key, column in COLUMNS.items() if any(row[key] is not None for row in result["rows"])
    }
    lines = [
        "| translator | " + " | ".join(title for title, _ in shown.values()) + " |",
        "|---|" + "---:|" * len(shown),
    ]
    for row in result["rows"]:
        cells = ["" if row[key] is None else f"{row[key]:.{digits}f}" for key, (_, digits) in shown.items()]
        lines.append(f"| {row['translator']} | " + " | ".join(cells) + " |")
    seen = result["classifier"]
    lines.append(
        f"\n{result['images']} visible images of {result['part']} identities. The classifier is right on "
        f"{100 * seen['visible']:.1f} % of their grey visible images and {100 * seen['infrared']:.1f} % of their "
        "infrared ones."
    )
    return "\n".join(lines) + "\n"
