"""A gallery's visible, transition and infrared embeddings as points in the plane (t-SNE), and their modality gaps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mtrl.demo.service.gallery_folder import GalleryImage
from mtrl.demo.service.service import ENCODED_TOGETHER, DemoService
from mtrl.models.config import Modality
from mtrl.retrieval.embedding_map import project_2d

MAX_IMAGES = 600
KINDS = ("visible", "transition", "infrared")
TILE = (48, 96)
COLUMNS = 30

Progress = Callable[[float, str], None]


@dataclasses.dataclass(frozen=True)
class MapPoint:
    """A point of the map: one embedding.

    kind     "visible" | "transition" | "infrared"
    image    the gallery image; for a transition the visible one that it was made of
    x, y     position in [-1, 1]
    origin   for a transition the index of its visible image's point, else -1
    """

    kind: str
    image: GalleryImage
    x: float
    y: float
    origin: int = -1


@dataclasses.dataclass(frozen=True)
class Gap:
    """Mean cosine distance between two kinds: within a person, between people, and their ratio."""

    first: str
    second: str
    same: float
    different: float

    @property
    def ratio(self) -> float:
        return self.same / self.different


@dataclasses.dataclass(frozen=True, eq=False)
class EmbeddingMap:
    """What the map shows.

    nearer   (how many transitions are nearer to their person's infrared images than the visible image is, of
             how many), None where people are not known
    sheet    all small images in one, point i in column i % COLUMNS and row i // COLUMNS
    left_out number of gallery images that the map has no room for
    """

    points: tuple[MapPoint, ...]
    gaps: tuple[Gap, ...]
    nearer: tuple[int, int] | None
    translator: str
    sheet: Image.Image
    left_out: int


def make_map(
    service: DemoService, translator: str, progress: Progress | None = None, seed: int = 0
) -> EmbeddingMap:
    """The map of a service's gallery. Takes a second or more; the same for the same input."""
    tell = progress or (lambda share, text: None)
    rows = {modality: _sample(service, modality) for modality in Modality}
    opened = {m: service.opened([service.rows[m][row] for row in rows[m]]) for m in Modality}
    rows = {m: [row for row in rows[m] if service.rows[m][row] in opened[m]] for m in Modality}
    visible, infrared = ([service.images[n] for n in opened[m]] for m in Modality)
    v, i = (service.features[m][rows[m]] for m in Modality)
    seen = list(opened[Modality.VISIBLE].values())
    transitions, t = _transitions(service, seen, translator, lambda share: tell(0.7 * share, "Translating"))
    tell(0.75, "Drawing the map")
    positions = project_2d(torch.cat([v, t, i]), seed).tolist()
    drawn = [*visible, *visible, *infrared]
    kinds = [kind for kind, count in zip(KINDS, (len(v), len(t), len(i)), strict=True) for _ in range(count)]
    points = tuple(
        MapPoint(kind, image, x, y, n - len(v) if kind == "transition" else -1)
        for n, (kind, image, (x, y)) in enumerate(zip(kinds, drawn, positions, strict=True))
    )
    people = [[image.person for image in group] for group in (visible, infrared)]
    sheet = contact_sheet([*seen, *transitions, *opened[Modality.INFRARED].values()])
    shown = len(visible) + len(infrared)
    return EmbeddingMap(
        points,
        _gaps(v, t, i, people[0], people[1]),
        nearer(v, t, i, people[0], people[1]),
        translator,
        sheet,
        len(service.images) - shown,
    )


def _sample(service: DemoService, modality: Modality) -> list[int]:
    """Rows of `service.features[modality]` that are drawn: all, or whole people in the gallery's order."""
    images = [service.images[i] for i in service.rows[modality]]
    share = MAX_IMAGES / max(1, len(service.images))
    if share >= 1:
        return list(range(len(images)))
    people = list(dict.fromkeys(p.person for p in service.images))
    if people == [None]:
        return list(range(0, len(images), round(1 / share + 0.5)))
    kept = set(people[: max(2, int(len(people) * share))])
    return [row for row, image in enumerate(images) if image.person in kept]


def _transitions(
    service: DemoService, images: Sequence[Image.Image], translator: str, progress: Callable[[float], None]
) -> tuple[list[Image.Image], Tensor]:
    """The transition images and their embeddings [N,D], which take the infrared side of the model."""
    made: list[Image.Image] = []
    for n, image in enumerate(images):
        made.append(service.transition(image, translator))
        if n % ENCODED_TOGETHER == 0:
            progress(n / len(images))
    return made, service.model.encode(made, "infrared", ENCODED_TOGETHER)


def distance_pairs(
    first: Tensor, second: Tensor, first_ids: Sequence[object], second_ids: Sequence[object]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Cosine distances [N,M] and whether a pair shows one person; an unknown person is nobody's equal."""
    distances = 1 - (first @ second.T).numpy()
    numbers = {identity: n for n, identity in enumerate(dict.fromkeys([*first_ids, *second_ids]))}
    a, b = (np.array([numbers[x] for x in ids], dtype=np.int64) for ids in (first_ids, second_ids))
    same = np.equal.outer(a, b) if len(a) and len(b) else np.zeros(distances.shape, dtype=bool)
    if None in numbers:
        same &= (a != numbers[None])[:, None]
    return distances, same


def _gaps(
    v: Tensor, t: Tensor, i: Tensor, visible: Sequence[object], infrared: Sequence[object]
) -> tuple[Gap, ...]:
    found = []
    for names, first, second, ids in (
        (("visible", "infrared"), v, i, (visible, infrared)),
        (("transition", "infrared"), t, i, (visible, infrared)),
        (("visible", "transition"), v, t, (visible, visible)),
    ):
        distances, same = distance_pairs(first, second, *ids)
        if same.any() and not same.all():
            found.append(Gap(*names, float(distances[same].mean()), float(distances[~same].mean())))
    return tuple(found)


def nearer(
    v: Tensor, t: Tensor, i: Tensor, visible: Sequence[object], infrared: Sequence[object]
) -> tuple[int, int] | None:
    """(how many, of how many) transitions have a higher mean cosine to their person's infrared images."""
    before, same = distance_pairs(v, i, visible, infrared)
    after, _ = distance_pairs(t, i, visible, infrared)
    rows = np.flatnonzero(same.any(axis=1))
    if not len(rows):
        return None
    closer = [float(after[row][same[row]].mean()) < float(before[row][same[row]].mean()) for row in rows]
    return sum(closer), len(rows)


def contact_sheet(images: Sequence[Image.Image]) -> Image.Image:
    """All images at TILE pixels (width, height) each, COLUMNS in a row."""
    width, height = TILE
    sheet = Image.new("RGB", (COLUMNS * width, max(1, -(-len(images) // COLUMNS)) * height))
    for n, image in enumerate(images):
        tile = image.convert("RGB").resize(TILE, Image.Resampling.BILINEAR)
        sheet.paste(tile, (n % COLUMNS * width, n // COLUMNS * height))
    return sheet
