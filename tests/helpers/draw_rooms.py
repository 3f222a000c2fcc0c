"""`python -m tests.helpers.draw_rooms [--output FILE]`: draws docs/images/architecture.png from the imports.

An arrow means "imports". One that a chain of other arrows says already is left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.helpers import rooms
from tests.helpers.paths import ROOT

BASE = "base"  # the rooms at the bottom, drawn as one box
# Room -> where its box stands (middle, from 0 to 100; line, from the bottom) and what it says.
BOXES = {
    "app": (40, 7, "app.py", "starts the page"),
    "train": (14, 6, "train", "training, ablation, bench"),
    "mtrl.demo": (40, 6, "mtrl/demo", "the page"),
    "mtrl.commands": (66, 7, "mtrl/commands", "python -m mtrl ..., serve"),
    "eval": (14, 5, "eval", "protocols and reports"),
    "mtrl": (86, 5, "mtrl/*.py", "public names"),
    "mtrl.retrieval": (86, 4, "mtrl/retrieval", "galleries, stores, ranking"),
    "mtrl.data": (50, 3, "mtrl/data", "data sets, augmentation"),
    "mtrl.losses": (20, 2, "mtrl/losses", "one file per loss"),
    "mtrl.translate": (50, 2, "mtrl/translate", "transition images"),
    "mtrl.models": (50, 1, "mtrl/models", "network and checkpoints"),
    "mtrl.hub": (84, 1, "mtrl/hub", "Hugging Face Hub"),
    BASE: (
        50,
        0,
        "mtrl/files, mtrl/labels, mtrl/console",
        "files and images, names and labels, command lines",
    ),
}
WIDE, HIGH = 12.0, 0.28  # half of a box


def shown_arrows() -> list[tuple[str, str]]:
    """Arrows between boxes without those that a longer way replaces."""
    modules = rooms.files()
    pairs = [pair for pair in rooms.arrows(rooms.graph(), modules) if pair[1] in rooms.MAY_IMPORT[pair[0]]]
    merged = {(BASE if a in rooms.BASE else a, BASE if b in rooms.BASE else b) for a, b in pairs}
    targets = {box: {b for a, b in merged if a == box and b != box} for box in BOXES}
    return sorted(
        (upper, lower)
        for upper, below in targets.items()
        for lower in below
        if not any(lower in rooms.reachable(other, targets) for other in below - {lower})
    )


def draw(output: Path) -> None:
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

    figure = Figure(figsize=(10, 8.4), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 100), ylim=(-0.4, 7.4))
    axes.axis("off")
    for room, (x, y, name, text) in BOXES.items():
        wide = 30 if room == BASE else WIDE
        colour = "#e8eef7" if room.startswith("mtrl") or room == BASE else "#f7efe0"
        axes.add_patch(
            FancyBboxPatch((x - wide, y - HIGH), 2 * wide, 2 * HIGH, "round,pad=0,rounding_size=0.08",
                           facecolor=colour, edgecolor="#46566b", mutation_aspect=0.08, zorder=2)
        )  # fmt: skip
        axes.text(x, y + 0.13, name, ha="center", va="center", weight="bold", size=12, zorder=3)
        axes.text(x, y - 0.11, text, ha="center", va="center", size=9.5, color="#333333", zorder=3)
    for upper, lower in shown_arrows():
        (x1, y1, *_), (x2, y2, *_) = BOXES[upper], BOXES[lower]
        if y1 == y2:
            side = 1 if x2 > x1 else -1
            start, end = (x1 + side * WIDE, y1), (x2 - side * WIDE, y2)
        else:
            half = 28 if lower == BASE else WIDE - 2
            start = (x1 + max(-WIDE + 2, min(WIDE - 2, (x2 - x1) / 4)), y1 - HIGH)
            end = (x2 + max(-half, min(half, (x1 - x2) / (1 if lower == BASE else 4))), y2 + HIGH)
        axes.add_patch(
            FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=14, color="#46566b", zorder=1)
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, metadata={"Software": None})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        "python -m tests.helpers.draw_rooms", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "images" / "architecture.png")
    draw(parser.parse_args().output)
