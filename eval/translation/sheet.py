"""An image that shows samples of several translators side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

ROWS, GROUPS = 4, 2
HEIGHT, GAP, TOP = 224, 4, 22


def write_sheet(
    path: Path, visible: Tensor, outputs: Mapping[str, Tensor], truth: Tensor | None = None
) -> None:
    """Writes an image file that shows evenly spaced samples in two groups of columns and four rows.

    visible  [N,3,H,W]
    outputs  {translator's name: translated images [N,1,H,W]}
    truth    true infrared views [N,1,H,W], or None
    """
    columns = {"visible": visible, **outputs}
    if truth is not None:
        columns["true infrared"] = truth
    width = round(HEIGHT * visible.shape[3] / visible.shape[2])
    group = len(columns) * (width + GAP)
    size = GROUPS * group + (GROUPS - 1) * 4 * GAP, TOP + ROWS * (HEIGHT + GAP)
    sheet = Image.new("RGB", size, (255, 255, 255))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    chosen = np.linspace(0, len(visible) - 1, ROWS * GROUPS).astype(int)
    for number, row in enumerate(chosen):
        side, line = divmod(number, ROWS)
        for column, (name, images) in enumerate(columns.items()):
            x = side * (group + 4 * GAP) + column * (width + GAP)
            pixels = (255 * images[row]).round().byte().expand(3, -1, -1).permute(1, 2, 0).numpy()
            tile = Image.fromarray(np.ascontiguousarray(pixels))
            sheet.paste(
                tile.resize((width, HEIGHT), Image.Resampling.BICUBIC), (x, TOP + line * (HEIGHT + GAP))
            )
            if line == 0:
                pen.text((x, 3), name, fill=(0, 0, 0), font=font)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, quality=90)
