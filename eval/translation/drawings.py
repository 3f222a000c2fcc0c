"""`python -m eval drawings`: drawn infrared images beside real ones of a data set, by measures and by a classifier."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eval.report import make_room, write_values
from eval.translation.infrared_score import score_images, train_classifier
from mtrl.console.cli import option, parse
from mtrl.data import load_data
from mtrl.data.imageset import ImageSet
from mtrl.data.sources import SOURCES
from mtrl.data.synthetic import SIZES
from mtrl.data.synthetic.dataset import load_part
from mtrl.files.levels import RANGE_HELP
from mtrl.models.config import Modality
from mtrl.models.device import pick_device

DRAWN = ("nir", "thermal")
QUANTILES = (0.1, 0.5, 0.9)


@dataclasses.dataclass(frozen=True)
class DrawingsSettings:
    """Every option of `python -m eval drawings`. Field names are the flags."""

    dataset: str = option("folder", "data set of real images", tuple(n for n in SOURCES if n != "synthetic"))
    data_root: str | None = option(None, "folder of the data set")
    spectra: tuple[str, ...] = option(DRAWN, "drawings to compare with it", DRAWN)
    people: int = option(50, "drawn identities")
    test_seed: int = option(0, "which drawn identities")
    image_size: tuple[int, ...] = option((128, 64), "height and width in pixels")
    steps: int = option(200, "training steps of the classifier")
    seed: int = option(0, "seed of the classifier")
    device: str = option("auto", '"auto", "cpu", "cuda", ...')
    cache_dir: str | None = option(None, "where rendered and resized images are kept")
    value_range: tuple[float, float] | None = option(None, RANGE_HELP)
    json: str | None = option(None, "write the metrics here")

    def __post_init__(self) -> None:
        if len(self.image_size) != 2 or min(self.image_size) < 16:
            raise ValueError(f"image_size is a height and a width of at least 16, not {self.image_size}")
        if not 2 <= self.people <= SIZES["large"].test:
            raise ValueError(f"people must lie between 2 and {SIZES['large'].test}, not {self.people}")
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, not {self.steps}")


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Infrared images of one kind: uint8 [N,1,H,W], and the identity of each, int64 [N]."""

    pixels: Tensor
    identities: NDArray[np.int64]


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m eval drawings",
        description="Compares drawn infrared images with the real ones of a data set: brightness, contrast, sharpness "
        "and the difference of person and background (10 %, median, 90 %), and how well a small classifier tells "
        "drawn from real images of people that it was not trained on (50 %: not at all).",
    )
    settings = parse(DrawingsSettings, parser, argv)
    make_room(settings.json)
    result = compare(settings)
    print(markdown(result))
    if settings.json:
        write_values(settings.json, result)
    return 0


def compare(settings: DrawingsSettings) -> dict[str, Any]:
    """The metrics as in the JSON: {"dataset", "images": {kind: number}, "measures": {name: {kind: [10 %, median,
    90 %]}}, "accuracy": {kind: share}}. Raises ValueError for a data set without infrared images of two identities."""
    groups = {"real": real_images(settings)}
    groups |= {spectrum: drawn_images(settings, spectrum) for spectrum in settings.spectra}
    found = {kind: measures(group.pixels.float() / 255) for kind, group in groups.items()}
    return {
        "dataset": settings.dataset,
        "images": {kind: len(group.pixels) for kind, group in groups.items()},
        "measures": {
            name: {
                kind: np.quantile(values[name].numpy(), QUANTILES).tolist() for kind, values in found.items()
            }
            for name in found["real"]
        },
        "accuracy": {
            spectrum: told_apart(groups["real"], groups[spectrum], settings) for spectrum in settings.spectra
        },
    }


def real_images(settings: DrawingsSettings) -> Group:
    """The infrared images of the test set."""
    height, width = settings.image_size
    data = load_data(
        settings.dataset,
        settings.data_root,
        image_size=(height, width),
        cache_dir=settings.cache_dir,
        parts=("test",),
        value_range=settings.value_range,
    )
    group = _infrared(data.test)
    people = len(np.unique(group.identities))
    if people < 2:
        raise ValueError(
            f"the test set of {settings.dataset} has infrared images of {people} identities; a classifier needs two"
        )
    return group


def drawn_images(settings: DrawingsSettings, spectrum: str) -> Group:
    """What the drawn infrared cameras see of some test people."""
    height, width = settings.image_size
    return _infrared(
        load_part(
            "test", "small", settings.test_seed, (height, width), settings.cache_dir,
            people=(0, settings.people), spectrum=spectrum,
        )
    )  # fmt: skip


def _infrared(images: ImageSet) -> Group:
    rows = images.rows(Modality.INFRARED)
    pixels = torch.from_numpy(np.ascontiguousarray(images.images[rows][..., :1])).permute(0, 3, 1, 2)
    return Group(pixels.contiguous(), images.identities[rows])


def measures(grey: Tensor) -> dict[str, Tensor]:
    """Of [N,1,H,W] in [0, 1], a number [N] for each image:

    brightness  mean
    contrast    standard deviation
    sharpness   mean absolute difference of neighbours, by the contrast: detail and noise against large areas
    person      mean of the middle (0.3 to 0.7 across, 0.15 to 0.9 down) less that of both edges (0.1 across)
    black, white  share of pixels that are nearly black (below 0.1) and nearly white (above 0.92)
    """
    height, width = grey.shape[2:]
    edge = max(1, round(0.1 * width))
    middle = grey[:, :, round(0.15 * height) : round(0.9 * height), round(0.3 * width) : round(0.7 * width)]
    sides = torch.cat([grey[..., :edge], grey[..., -edge:]], dim=3)
    contrast = grey.std(dim=(1, 2, 3))
    steps = sum(grey.diff(dim=dim).abs().mean(dim=(1, 2, 3)) for dim in (2, 3))
    return {
        "brightness": grey.mean(dim=(1, 2, 3)),
        "contrast": contrast,
        "sharpness": steps / 2 / contrast.clamp(min=1e-3),
        "person": middle.mean(dim=(1, 2, 3)) - sides.mean(dim=(1, 2, 3)),
        "black": (grey < 0.1).float().mean(dim=(1, 2, 3)),
        "white": (grey > 0.92).float().mean(dim=(1, 2, 3)),
    }


def told_apart(real: Group, drawn: Group, settings: DrawingsSettings) -> float:
    """How often a classifier is right, mean over both kinds and over two halves of the identities: it is trained on the
    one half, tested on the other."""
    right = []
    device = pick_device(settings.device)
    halves = [(_half(real, turn), _half(drawn, turn)) for turn in (0, 1)]
    for learnt, unseen in (halves, halves[::-1]):
        network = train_classifier(
            learnt[1].expand(-1, 3, -1, -1), learnt[0], settings.seed, settings.steps, device=device
        )
        for group, is_real in ((unseen[0], True), (unseen[1], False)):
            score, _ = score_images(network, group.float() / 255)
            right.append(float(((score > 0.5) == is_real).float().mean()))
    return float(np.mean(right))


def _half(group: Group, turn: int) -> Tensor:
    """The images of every second identity."""
    chosen = np.isin(group.identities, np.unique(group.identities)[turn::2])
    return group.pixels[torch.from_numpy(chosen)]


def markdown(result: dict[str, Any]) -> str:
    """A table with a column for each kind of images."""
    kinds = list(result["images"])
    lines = ["| | " + " | ".join(kinds) + " |", "|---" * (len(kinds) + 1) + "|"]
    lines.append("| images | " + " | ".join(str(result["images"][kind]) for kind in kinds) + " |")
    for name, values in result["measures"].items():
        cells = ["{1:.2f} ({0:.2f} to {2:.2f})".format(*values[kind]) for kind in kinds]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    told = [f"{100 * result['accuracy'][k]:.0f} %" if k in result["accuracy"] else "" for k in kinds]
    return "\n".join([*lines, "| told from real | " + " | ".join(told) + " |"])
