"""Frames in the layout of M3SVD, drawn here: every annotated person is a rectangle of a colour of their own."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from PIL import Image, ImageDraw

from mtrl.data.sources.m3svd import FOLDERS, FRAME_SIZE, Box, read_boxes
from mtrl.models.config import Modality


def colour(identity: int, modality: Modality) -> tuple[int, int, int]:
    """Of a person, the same in both spectra but for the level."""
    level = 100 if modality is Modality.VISIBLE else 50
    return 20 * identity, 255 - 20 * identity, level


def draw(root: Path, size: tuple[int, int] = FRAME_SIZE) -> Path:
    """Folders of the annotated frames in both spectra, numbered from 1 as FFmpeg does."""
    frames: defaultdict[tuple[str, int], list[Box]] = defaultdict(list)
    for box in read_boxes():
        frames[box.sequence, box.frame].append(box)
    for modality, folder in FOLDERS.items():
        for (sequence, frame), boxes in frames.items():
            target = root / folder / sequence / f"{frame + 1:06d}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            image = Image.new("RGB", size)
            brush = ImageDraw.Draw(image)
            for box in boxes:
                x1, y1, x2, y2 = box.corners
                brush.rectangle((x1, y1, x2 - 1, y2 - 1), fill=colour(box.identity, modality))
            image.save(target, compress_level=1)
    return root
