"""`python -m tests.load.spectrum --data-root DIR`: how often infrared images are told apart, on the real clips.

Every crop of m3svd in its own colours, and the thermal ones in false colours, saved as JPEG of three qualities;
and one frame in fifty of every clip, whole.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from mtrl.data.video import iter_crops, iter_frames
from mtrl.models.config import Modality
from mtrl.models.spectrum import detect_modality
from tests.helpers.false_colours import PALETTES, false_coloured
from tests.helpers.real_clips import clips_folder, write_boxes

QUALITIES = (95, 60, 30)


def saved(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def crops(root: Path, kind: str) -> Iterator[Image.Image]:
    with TemporaryDirectory() as folder:
        for clip, boxes in write_boxes(Path(folder)).items():
            yield from (crop.image for crop in iter_crops(root / kind / f"{clip}.mp4", boxes))


def frames(root: Path, kind: str) -> Iterator[Image.Image]:
    for clip in sorted((root / kind).glob("*.mp4")):
        yield from (Image.fromarray(f.image) for f in iter_frames(clip, wanted=lambda index: index % 50 == 0))


def main() -> None:
    root = clips_folder("tests.load.spectrum", __doc__)
    for what, images in (("crops", crops), ("frames", frames)):
        whole = {kind: list(images(root, kind)) for kind in ("visible", "infrared")}
        for palette in PALETTES:
            whole[f"infrared, {palette}"] = [false_coloured(image, palette) for image in whole["infrared"]]
        for name, some in whole.items():
            wanted = Modality.parse(name.split(",")[0])
            right = {
                f"quality {quality}": sum(detect_modality(saved(image, quality)) is wanted for image in some)
                for quality in QUALITIES
            }
            print(json.dumps({"what": what, "kind": name, "images": len(some), "right": right}), flush=True)


if __name__ == "__main__":
    main()
