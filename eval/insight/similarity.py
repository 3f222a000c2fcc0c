"""The visible-infrared and transition-infrared similarities that the query regularisation compares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from eval.figures import new_figure, save_figure
from eval.insight.people import People
from mtrl.losses import modality_query_regularization
from mtrl.models.reid import MTRL


def draw_similarity(model: MTRL, people: People, path: Path) -> Path:
    """Draws three similarity matrices, saves the figure at `path` and returns the path.

    They are visible x infrared, transition x infrared, and their difference, which the loss L_mqr reduces. Rows and
    columns are sorted by person.
    """
    visible, transition, infrared = people.encode(model)
    first, second = (visible @ infrared.T).numpy(), (transition @ infrared.T).numpy()
    difference = second - first
    identities = torch.from_numpy(people.identities)
    loss = float(modality_query_regularization(visible, transition, infrared, identities))
    figure = new_figure(10.2, 3.7)
    axes = figure.subplots(1, 3)
    low, high = float(min(first.min(), second.min())), float(max(first.max(), second.max()))
    span = max(float(np.abs(difference).max()), 1e-6)
    panels = (
        (first, "visible × infrared", {"vmin": low, "vmax": high, "cmap": "viridis"}),
        (second, "transition × infrared", {"vmin": low, "vmax": high, "cmap": "viridis"}),
        (
            difference,
            f"difference, mean size {np.abs(difference).mean():.3f}",
            {"vmin": -span, "vmax": span, "cmap": "RdBu"},
        ),
    )
    edges = np.flatnonzero(np.diff(people.identities)) + 0.5
    for panel, (matrix, title, scale) in zip(axes, panels, strict=True):
        drawn = panel.imshow(matrix, **scale, interpolation="nearest")
        for edge in edges:
            panel.axhline(edge, color="white", linewidth=0.7)
            panel.axvline(edge, color="white", linewidth=0.7)
        panel.set(xticks=[], yticks=[], xlabel="infrared images, by person")
        panel.set_title(title, fontsize=11)
        figure.colorbar(drawn, ax=panel, fraction=0.046, pad=0.03).ax.tick_params(labelsize=9)
    axes[0].set_ylabel("visible or transition, by person")
    count = len(np.unique(people.identities))
    figure.suptitle(
        f"Cosine similarities of {count} test people; L_mqr of this batch {loss:.4f}", fontsize=12
    )
    figure.tight_layout()
    return save_figure(figure, path)
