"""What the page does, without the page: retrieve, translate, encode. Imports no gradio."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from mtrl.config import Modality
from mtrl.demo.folder import Picture, read_gallery
from mtrl.demo.pictures import detect_modality, digest, fit, hints_for, read_query
from mtrl.images import read_image, to_batch
from mtrl.model import MTRL

AUTO = "auto"
DIRECTIONS = {"visible to infrared": Modality.VISIBLE, "infrared to visible": Modality.INFRARED}
MAX_RESULTS = 50
ENCODED_TOGETHER = 32
FALSE_MATCH_RATE = 0.01
LOCATIONS = {1: 1, 2: 2, 3: 2, 4: 4, 5: 5, 6: 6}  # SYSU-MM01: cameras 2 and 3 watch the same room


@dataclasses.dataclass(frozen=True)
class Hit:
    """One ranked picture. `correct` is None where the query's person is unknown."""

    rank: int
    score: float
    picture: Picture
    correct: bool | None


@dataclasses.dataclass(frozen=True)
class Retrieval:
    """The answer to one query.

    query        the picture that was searched with, upright RGB
    transition   the query as a transition image; for an infrared query that of the best match
    scores       cosine of every searched gallery picture, descending
    first_right  rank of the first picture of the same person in the whole gallery, None if unknown or absent
    relevant     pictures of the same person that were searched
    precision    average precision in [0, 1] over the whole gallery, None if unknown
    skipped      gallery pictures left out because they were taken in the query's own room
    hints        sentences for the user about what was assumed
    """

    query: Image.Image
    known: Picture | None
    detected: Modality
    modality: Modality
    hits: list[Hit]
    transition: Image.Image
    scores: NDArray[np.float32]
    first_right: int | None
    relevant: int
    precision: float | None
    skipped: int
    hints: list[str]
    seconds: float


@dataclasses.dataclass(frozen=True)
class Bridge:
    """Cosines between a visible picture, its transition and the same person's infrared pictures."""

    visible_transition: float
    visible_infrared: float | None
    transition_infrared: float | None


@dataclasses.dataclass(frozen=True)
class Translation:
    """A visible picture, its transition and, where the gallery holds it, the true infrared view."""

    query: Image.Image
    known: Picture | None
    transition: Image.Image
    truth: Image.Image | None
    bridge: Bridge
    hints: list[str]


@dataclasses.dataclass(frozen=True)
class Threshold:
    """Score from which two pictures count as one person, set on the gallery's own pairs.

    value   cosine that a share `false` of the different-person pairs exceeds
    true    share of the same-person pairs that exceed it
    """

    value: float
    false: float
    true: float


class DemoService:
    """A model, a gallery encoded once, and translators. Safe to call from several threads."""

    def __init__(
        self,
        model: MTRL,
        gallery: Path | str,
        translators: Mapping[str, nn.Module],
        translator: str = "",
        progress: Callable[[float], None] | None = None,
    ) -> None:
        """`translators` by name; `translator` is the one shown beside a query (default: the first). `progress`
        is told the share of the gallery that is encoded; what it raises ends the work."""
        if not translators:
            raise ValueError("the page needs at least one translator")
        self.model = model
        self.translators = {name: module.eval() for name, module in translators.items()}
        self.translator = translator or next(iter(self.translators))
        self.folder = Path(gallery)
        self.pictures = read_gallery(self.folder)
        images = [self.open(picture) for picture in self.pictures]
        # A query that is pixel for pixel a gallery picture is recognised, so its truth is known.
        self._known = {digest(image): picture for image, picture in zip(images, self.pictures, strict=True)}
        self.rows = {
            modality: [i for i, picture in enumerate(self.pictures) if picture.modality is modality]
            for modality in Modality
        }
        self.features = self._encode_gallery(images, progress or (lambda share: None))
        self.threshold = self._threshold()
        # The first call of every translator is slow; a visitor should not be the one to wait for it.
        for name in self.translators:
            self._translate(images[self.rows[Modality.VISIBLE][0]], name)

    def names(self, modality: Modality | None = None) -> list[str]:
        """Names of the gallery's pictures, in its order."""
        return [p.name for p in self.pictures if modality is None or p.modality is modality]

    def picture(self, name: str) -> Picture:
        """The gallery picture of that name. Raises ValueError if there is none."""
        for picture in self.pictures:
            if picture.name == name:
                return picture
        raise ValueError(f"the gallery has no picture {name!r}")

    def open(self, picture: Picture) -> Image.Image:
        """A gallery picture as the page shows and recognises it."""
        return read_query(picture.path, picture.name)[0]

    def retrieve(self, image: Image.Image | str | Path, direction: str = AUTO, k: int = 10) -> Retrieval:
        """Ranks the gallery's other modality by cosine to `image`. ValueError or OSError for unusable input."""
        started = time.perf_counter()
        if not 1 <= k <= MAX_RESULTS:
            raise ValueError(f"k must lie between 1 and {MAX_RESULTS}, not {k}")
        if direction != AUTO and direction not in DIRECTIONS:
            raise ValueError(f"direction must be one of {[AUTO, *DIRECTIONS]}, not {direction!r}")
        query, size = read_query(image)
        known = self._known.get(digest(query))
        detected = known.modality if known else detect_modality(query)
        modality = detected if direction == AUTO else DIRECTIONS[direction]
        other = Modality(1 - modality)
        feature = self.model.encode([query], modality=modality.name.lower())[0]
        scores = (self.features[other] @ feature).numpy()
        gallery = [self.pictures[i] for i in self.rows[other]]
        searched = np.array([not _same_room(known, picture) for picture in gallery])
        order = [int(i) for i in np.argsort(-scores, kind="stable") if searched[i]]
        right = np.array([_correct(known, gallery[i]) is True for i in order], dtype=bool)
        best = gallery[order[0]]
        shown = query if modality is Modality.VISIBLE else read_image(best.path, what=best.name)
        return Retrieval(
            query=fit(query),
            known=known,
            detected=detected,
            modality=modality,
            hits=[
                Hit(rank, float(scores[i]), gallery[i], _correct(known, gallery[i]))
                for rank, i in enumerate(order[:k], start=1)
            ],
            transition=self._translate(shown, self.translator),
            scores=scores[order],
            first_right=int(np.flatnonzero(right)[0]) + 1 if right.any() else None,
            relevant=int(right.sum()),
            precision=_average_precision(right) if right.any() else None,
            skipped=int((~searched).sum()),
            hints=hints_for(size, known, detected, modality),
            seconds=time.perf_counter() - started,
        )

    def translate(self, image: Image.Image | str | Path, translator: str = "") -> Translation:
        """The transition image of a picture, and what it does to the picture's embedding."""
        name = translator or self.translator
        if name not in self.translators:
            raise ValueError(f"translator must be one of {list(self.translators)}, not {name!r}")
        query, _ = read_query(image)
        known = self._known.get(digest(query))
        transition = self._translate(query, name)
        truth = read_image(known.truth, what=known.truth.name) if known and known.truth else None
        hints = []
        if (known.modality if known else detect_modality(query)) is Modality.INFRARED:
            hints.append(
                "This picture has no colour. Translators start from a visible picture; an infrared one changes little."
            )
        return Translation(
            fit(query), known, transition, truth, self._bridge(query, transition, known), hints
        )

    def encode(self, image: Image.Image | str | Path, modality: str = AUTO) -> list[float]:
        """The embedding of a picture: D numbers of unit length."""
        query, _ = read_query(image)
        parsed = detect_modality(query) if modality == AUTO else Modality.parse(modality)
        return self.model.encode([query], modality=parsed.name.lower())[0].tolist()

    def _encode_gallery(
        self, images: list[Image.Image], progress: Callable[[float], None]
    ) -> dict[Modality, Tensor]:
        parts: dict[Modality, list[Tensor]] = {modality: [] for modality in Modality}
        done = 0
        for modality, rows in self.rows.items():
            for start in range(0, len(rows), ENCODED_TOGETHER):
                chunk = [images[i] for i in rows[start : start + ENCODED_TOGETHER]]
                parts[modality].append(self.model.encode(chunk, modality=modality.name.lower()))
                done += len(chunk)
                progress(done / len(images))
        return {modality: torch.cat(features) for modality, features in parts.items()}

    @torch.inference_mode()
    def _translate(self, image: Image.Image, name: str) -> Image.Image:
        image = fit(image)
        batch = to_batch([image], (image.height, image.width))
        pixels = self.translators[name](batch)[0].clamp(0, 1).mul(255).round().byte()
        return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())

    def _bridge(self, visible: Image.Image, transition: Image.Image, known: Picture | None) -> Bridge:
        # Transition images pass through the infrared side of the model, as in training.
        v = self.model.encode([visible], modality="visible")[0]
        t = self.model.encode([transition], modality="infrared")[0]
        mates = [
            row
            for row, i in enumerate(self.rows[Modality.INFRARED])
            if known and known.identity is not None and self.pictures[i].identity == known.identity
        ]
        infrared: Tensor | None = self.features[Modality.INFRARED][mates] if mates else None
        return Bridge(
            float(v @ t),
            float((infrared @ v).mean()) if infrared is not None else None,
            float((infrared @ t).mean()) if infrared is not None else None,
        )

    def _threshold(self) -> Threshold | None:
        people = {modality: [self.pictures[i].identity for i in rows] for modality, rows in self.rows.items()}
        if any(identity is None for identities in people.values() for identity in identities):
            return None
        same = np.equal.outer(np.array(people[Modality.VISIBLE]), np.array(people[Modality.INFRARED]))
        if same.all() or not same.any():
            return None
        scores = (self.features[Modality.VISIBLE] @ self.features[Modality.INFRARED].T).numpy()
        value = float(np.quantile(scores[~same], 1 - FALSE_MATCH_RATE))
        return Threshold(value, FALSE_MATCH_RATE, float((scores[same] > value).mean()))


def _correct(query: Picture | None, picture: Picture) -> bool | None:
    if query is None or query.identity is None or picture.identity is None:
        return None
    return query.identity == picture.identity


def _same_room(query: Picture | None, picture: Picture) -> bool:
    """The benchmark's rule: gallery pictures from the query's own room are left out."""
    if query is None or query.camera is None or picture.camera is None:
        return False
    return LOCATIONS.get(query.camera, -1) == LOCATIONS.get(picture.camera, -2)


def _average_precision(right: NDArray[np.bool_]) -> float:
    ranks = np.flatnonzero(right) + 1
    return float(np.mean(np.arange(1, len(ranks) + 1) / ranks))
