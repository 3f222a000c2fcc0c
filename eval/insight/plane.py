"""Two-dimensional maps of the embeddings, by random weights and after training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eval.figures import new_figure, save_figure
from eval.insight.people import People
from mtrl.models.reid import MTRL
from mtrl.retrieval.embedding_map import project_2d

MARKS = {"visible": "o", "transition": "D", "infrared": "^"}


def draw_planes(before: MTRL, after: MTRL, people: People, path: Path, seed: int = 0) -> Path:
    """Draws a t-SNE map of the same images for each network, saves the figure at `path` and returns the path.

    Colours are people, shapes are modalities. Both maps start from the same `seed`.
    """
    figure = new_figure(9.4, 5.0)
    axes = figure.subplots(1, 2)
    for panel, model, title in zip(axes, (before, after), ("random weights", "after training"), strict=True):
        features = people.encode(model)
        _scatter(panel, project_2d(torch.cat(features), seed), people, features, title)
    shapes = [
        panel.scatter(
            [],
            [],
            marker=mark,
            s=50,
            c="none" if mark == "D" else "#6e7781",
            edgecolors="#6e7781",
            label=name,
        )
        for name, mark in MARKS.items()
    ]
    count = len(np.unique(people.identities))
    figure.legend(
        handles=shapes,
        loc="lower center",
        ncols=3,
        frameon=False,
        fontsize=11,
        title=f"{count} test people, one colour each",
    )
    figure.subplots_adjust(left=0.01, right=0.99, top=0.9, bottom=0.15, wspace=0.03)
    return save_figure(figure, path)


def _scatter(panel: Any, place: Tensor, people: People, features: tuple[Tensor, ...], title: str) -> None:
    import matplotlib

    colours = matplotlib.colormaps["tab10"]
    order = {identity: number for number, identity in enumerate(np.unique(people.identities))}
    each = [colours(order[identity] % 10) for identity in people.identities]
    for number, mark in enumerate(MARKS.values()):
        part = place[number * len(each) : (number + 1) * len(each)]
        face = "none" if mark == "D" else each
        panel.scatter(
            part[:, 0],
            part[:, 1],
            marker=mark,
            s=(34, 74, 40)[number],
            c=face,
            edgecolors=each,
            linewidths=1.1,
        )
    share = nearest_across(features[0], features[2], people)
    panel.set_title(
        f"{title}: nearest infrared image is the\nsame person for {100 * share:.0f} % of visible ones",
        fontsize=11,
    )
    panel.set(xticks=[], yticks=[], xlim=(-1.08, 1.08), ylim=(-1.08, 1.08))
    for side in panel.spines.values():
        side.set_color("#d8dee4")


def nearest_across(visible: Tensor, infrared: Tensor, people: People) -> float:
    """The share of visible images whose nearest infrared image shows the same person, in [0, 1].

    Features are [N,D] with rows of unit length, compared by cosine. Only the people shown are compared.
    """
    nearest = (visible @ infrared.T).argmax(1).numpy()
    return float(np.mean(people.identities[nearest] == people.identities))
