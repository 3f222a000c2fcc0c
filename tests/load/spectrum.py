"""`python -m tests.load.spectrum`: how often the detector of infrared images is right, on the real clips.

Every crop of `real/m3svd` in its own colours, and the thermal ones in false colours, saved as JPEG of three qualities;
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
from tests.helpers.real_clips import REAL, write_boxes

QUALITIES = (95, 60, 30)


def saved(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def crops(kind: str) -> Iterator[Image.Image]:
    with TemporaryDirectory() as folder:
        for clip, boxes in write_boxes(Path(folder)).items():
            yield from (crop.image for crop in iter_crops(REAL / kind / f"{clip}.mp4", boxes))


def frames(kind: str) -> Iterator[Image.Image]:
    for clip in sorted((REAL / kind).glob("*.mp4")):
        yield from (Image.fromarray(f.image) for f in iter_frames(clip, wanted=lambda index: index % 50 == 0))


def main() -> None:
    for what, images in (("crops", crops), ("frames", frames)):
        whole = {kind: list(images(kind)) for kind in ("visible", "infrared")}
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
