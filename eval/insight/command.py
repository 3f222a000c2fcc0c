"""The command `python -m eval insight`: samples test people, encodes them and writes the figures."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch

from eval.insight.evidence import draw_evidence
from eval.insight.gap import draw_gap_curve, gap_records
from eval.insight.people import People, choose
from eval.insight.plane import draw_planes
from eval.insight.similarity import draw_similarity
from mtrl.console.cli import option, parse
from mtrl.data import load_data
from mtrl.data.sources import Names
from mtrl.data.synthetic import SIZES, SPECTRA, SPECTRUM_HELP
from mtrl.files.levels import RANGE_HELP
from mtrl.models.device import pick_device
from mtrl.models.load import SOURCE_HELP, load_pretrained
from mtrl.models.reid import MTRL
from mtrl.translate import load_translator


@dataclasses.dataclass(frozen=True)
class InsightSettings:
    """Every option of `python -m eval insight`. Field names are the flags."""

    checkpoint: str | None = option(None, SOURCE_HELP)
    output: str = option("insight", "folder for the figures")
    run: str | None = option(
        None, "run folder for the modality gap over the epochs (default: --checkpoint, if it is one)"
    )
    dataset: str = option("synthetic", "data set whose test people are shown", Names())
    data_root: str | None = option(None, "folder of the data set; the synthetic one needs none")
    size: str = option("small", "size of the synthetic data set", tuple(SIZES))
    test_seed: int = option(0, "synthetic test identities: 0 the published ones, N fresh ones")
    spectrum: str = option("nir", SPECTRUM_HELP, SPECTRA)
    translator: str = option("luminance", "makes the transition images that are shown")
    seed: int = option(
        0, "draws people and images, and the random weights of the network beside the trained one"
    )
    device: str = option("auto", '"auto", "cpu", "cuda", "cuda:1", ...')
    cache_dir: str | None = option(None, "where rendered and resized images are kept")
    value_range: tuple[float, ...] = option((), RANGE_HELP)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m eval insight",
        description="Draws test people by a seed and writes insight-plane.png (embeddings by random weights and "
        "after training), insight-similarity.png (what the query regularisation compares), insight-evidence.jpg (which "
        "regions make two images alike) and, with a run folder, insight-gap.png (modality gap by epoch).",
    )
    settings = parse(InsightSettings, parser, argv)
    for path in write_figures(settings):
        print(f"wrote {path}")
    return 0


def write_figures(settings: InsightSettings) -> list[Path]:
    """Writes the figures and returns their paths. Errors as in `load_pretrained` and `load_data`."""
    output = Path(settings.output)
    output.mkdir(parents=True, exist_ok=True)
    if settings.run and not gap_records(Path(settings.run)):
        raise ValueError(f"{settings.run} is no run folder that records a modality gap (metrics.jsonl)")
    model = load_pretrained(settings.checkpoint, device=pick_device(settings.device))
    translator = load_translator(settings.translator)
    data = load_data(
        settings.dataset,
        settings.data_root,
        size=settings.size,
        test_seed=settings.test_seed,
        spectrum=settings.spectrum,
        image_size=model.config.image_size,
        cache_dir=settings.cache_dir,
        parts=("test",),
        value_range=settings.value_range or None,
    )
    if not translator.deterministic:
        translator.reseed(settings.seed)

    def people(identities: int, images: int) -> People:
        return choose(data.test, translator, identities, images, settings.seed)

    before = untrained(model, settings.seed)
    paths = [
        draw_planes(before, model, people(10, 6), output / "insight-plane.png", settings.seed),
        draw_similarity(model, people(8, 4), output / "insight-similarity.png"),
        draw_evidence(model, people(5, 8), output / "insight-evidence.jpg"),
    ]
    run = settings.run or settings.checkpoint
    curve = draw_gap_curve(Path(run), output / "insight-gap.png") if run else None
    return paths if curve is None else [*paths, curve]


def untrained(model: MTRL, seed: int) -> MTRL:
    """A network of the same config with fresh random weights; the process's random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MTRL(model.config).eval().to(model.mean.device)
