"""Maps of the image regions that make a query and its match similar."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from eval.figures import RIGHT, WRONG, new_figure, save_figure
from eval.insight.people import People
from mtrl.models.evidence import evidence_maps
from mtrl.models.reid import MTRL


def draw_evidence(model: MTRL, people: People, path: Path) -> Path:
    """Draws evidence maps, one row per person, saves the figure at `path` and returns the path.

    A row shows the person's first infrared image with two matches: the nearest visible image of the same person, and
    the nearest one of another person. Each pair has its two evidence maps.
    """
    visible, _, infrared = people.encode(model)
    scores = (infrared @ visible.T).numpy()
    persons = np.unique(people.identities)
    figure = new_figure(8.6, 2.0 * len(persons) + 0.5)
    grid = figure.subplots(
        len(persons),
        9,
        squeeze=False,
        gridspec_kw={"width_ratios": [1, 1, 1, 1, 0.25, 1, 1, 1, 1], "wspace": 0.06, "hspace": 0.18},
    )
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=1 - 0.75 / (2.0 * len(persons) + 0.5))
    for axes in grid.flat:
        axes.set_axis_off()
    for line, person in zip(grid, persons, strict=True):
        query = int(np.flatnonzero(people.identities == person)[0])
        for start, same, colour in ((0, True, RIGHT), (5, False, WRONG)):
            usable = (people.identities == person) == same
            match = int(np.where(usable, scores[query], -np.inf).argmax())
            images = people.infrared[query], people.visible[match]
            maps = evidence_maps(model, *images, "infrared", "visible")
            score = f"cosine {scores[query, match]:.2f}"
            _pair(line[start : start + 4], images, maps, score, colour)
    for column, text in ((1.5, "nearest image of the same person"), (6.5, "nearest image of somebody else")):
        place = (grid[0][int(column)].get_position().x1 + grid[0][int(column) + 1].get_position().x0) / 2
        figure.text(
            place, 1 - 0.3 / (2.0 * len(persons) + 0.5), f"query and {text}", ha="center", fontsize=11
        )
    return save_figure(figure, path)


def _pair(
    line: Any, images: tuple[Tensor, Tensor], maps: tuple[Tensor, Tensor], score: str, colour: str
) -> None:
    """Draws one pair into a row of axes: the query, its map, the match's map, the match."""
    shown = [image.permute(1, 2, 0).numpy() for image in images]
    line[0].imshow(shown[0])
    line[3].imshow(shown[1])
    for axes, image, found in ((line[1], shown[0], maps[0]), (line[2], shown[1], maps[1])):
        axes.imshow(image.mean(2), cmap="gray", vmin=0, vmax=1)
        axes.imshow(found.numpy(), cmap="inferno", alpha=0.62, vmin=0, vmax=1)
    line[3].set_title(score, fontsize=8.5, color=colour, pad=3)
