"""How often the page takes a picture for a match that cannot be one.

    python -m tests.demo.rejection [--people DIR] [--checkpoint SOURCE]

Searches the shipped gallery with pictures that show nobody (photographs that come with scikit-image, scikit-learn,
gradio and matplotlib, crops of them, the drawn backgrounds) and with real people (those of m3svd, whose folder
`--people` names), and prints which share of each finds a match: by the threshold for pairs of the
gallery, and by the score that the page asks of a visitor's picture.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from mtrl.data.sources.m3svd import Box, read_boxes
from mtrl.data.synthetic.backgrounds import PAD, frame
from mtrl.data.video import iter_frames
from mtrl.demo.service.service import DemoService
from mtrl.demo.service.thresholds import RATES, USUAL_RATE
from mtrl.models.config import Modality

FOLDERS = {
    "skimage": "data",
    "sklearn": "datasets/images",
    "gradio": "media_assets/images",
    "matplotlib": "mpl-data/sample_data",
}
WITH_PEOPLE = ("astronaut", "camera", "grace_hopper")
DAY_CAMERAS = (1, 2, 4, 5)
SEED = 0


def photographs() -> dict[str, list[Image.Image]]:
    """Photographs and drawings of common packages that show no person, by package, as far as they are installed."""
    found: dict[str, list[Image.Image]] = {}
    for package, inside in FOLDERS.items():
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            continue
        for path in sorted((Path(spec.origin).parent / inside).glob("*")):
            if path.suffix.lower() in (".png", ".jpg", ".jpeg") and not path.stem.startswith(WITH_PEOPLE):
                with Image.open(path) as image:
                    found.setdefault(package, []).append(image.convert("RGB"))
    return found


def backgrounds(number: int = 100) -> list[Image.Image]:
    """Crops of the drawn scenes without people, twice as tall as wide."""
    rng = np.random.default_rng(SEED)
    return [
        _crop(Image.fromarray(frame(camera)[0]).crop(_inner(camera)), rng)
        for camera in np.resize(DAY_CAMERAS, number).tolist()
    ]


def crops(images: list[Image.Image], each: int = 6) -> list[Image.Image]:
    """Crops of photographs, twice as tall as wide."""
    rng = np.random.default_rng(SEED)
    return [_crop(image, rng) for image in images for _ in range(each)]


def people(folder: Path, every: int = 15) -> Iterator[Image.Image]:
    """The real people of m3svd in every 15th frame, cut out of the visible clips of a folder."""
    for sequence in dict.fromkeys(box.sequence for box in read_boxes()):
        wanted: dict[int, list[Box]] = {}
        for box in read_boxes():
            if box.sequence == sequence and box.frame % every == 0:
                wanted.setdefault(box.frame, []).append(box)
        for seen in iter_frames(folder / "visible" / f"{sequence}.mp4", wanted=wanted.__contains__):
            yield from (Image.fromarray(seen.image).crop(box.corners) for box in wanted[seen.index])


def shares(service: DemoService, images: list[Image.Image]) -> tuple[float, float]:
    """The share of visible images that find a match: by the pairs' threshold, and by the one of the page."""
    found = service.model.encode(images, "visible") @ service.features[Modality.INFRARED].T
    best = found.max(dim=1).values.numpy()
    pairs = service.pairs.decision(RATES[USUAL_RATE], Modality.VISIBLE, known=True)
    page = service.pairs.decision(RATES[USUAL_RATE], Modality.VISIBLE, known=False)
    assert pairs is not None and page is not None
    return float((best >= pairs).mean()), float((best >= page).mean())


def _inner(camera: int) -> tuple[int, int, int, int]:
    height, width = frame(camera)[0].shape[:2]
    return PAD, PAD, width - PAD, height - PAD


def _crop(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    height = int(rng.integers(min(40, image.height), image.height + 1))
    width = min(image.width, max(8, height // 2))
    left, top = (
        int(rng.integers(0, whole - part + 1))
        for whole, part in ((image.width, width), (image.height, height))
    )
    return image.crop((left, top, left + width, top + height))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=Path, help="folder of m3svd")
    parser.add_argument("--checkpoint", help="as `load_pretrained` takes it; default: the shipped default")
    options = parser.parse_args()
    from mtrl.demo.launch import open_service

    service = open_service(options.checkpoint)
    found = photographs()
    whole = [image for images in found.values() for image in images]
    sets = {"photographs": whole, "crops of them": crops(whole), "drawn backgrounds": backgrounds()}
    if options.people:
        sets["real people"] = list(people(options.people))
    decisions = [
        service.pairs.decision(RATES[USUAL_RATE], Modality.VISIBLE, known) for known in (True, False)
    ]
    print("photographs of", ", ".join(f"{package} ({len(images)})" for package, images in found.items()))
    print(f"| pictures | number | reach {decisions[0]:.2f} | reach {decisions[1]:.2f} |\n|---|---|---|---|")
    for name, images in sets.items():
        before, after = shares(service, images)
        print(f"| {name} | {len(images)} | {before:.1%} | {after:.1%} |")
    images = [service.open(service.images[i]) for i in service.rows[Modality.VISIBLE]]
    before, after = shares(service, images)
    print(f"| visible pictures of the gallery's own people | {len(images)} | {before:.1%} | {after:.1%} |")


if __name__ == "__main__":
    main()
