"""Decision thresholds from the scores of a gallery's own same-person and different-person pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mtrl.demo.service.gallery_folder import GalleryImage
from mtrl.models.config import Modality

RATES = {"1 in 10": 0.1, "1 in 100": 0.01, "1 in 1,000": 0.001}
USUAL_RATE = "1 in 100"
MAX_ROWS = 2000  # of each spectrum; more pairs would not move the threshold
STRANGE = 0.01
ABSENT = 0.05  # of the searches for somebody who is not in the gallery: how many may find a match
LEAST_SEARCHES = 20


@dataclasses.dataclass(frozen=True)
class Threshold:
    """Score from which two images count as one person, set on the gallery's own pairs.

    value   cosine that a share `false` of the different-person pairs exceeds
    true    share of the same-person pairs that exceed it
    """

    value: float
    false: float
    true: float


@dataclasses.dataclass(frozen=True, eq=False)
class PairScores:
    """Cosines of visible-infrared pairs of a gallery.

    same       float32 [S], pairs of one person; empty where people are not known
    different  float32 [D], pairs of two people
    absent     by the query's spectrum, float32 [N]: the best score that each gallery image of it finds among the
               pictures of other people. Such a search stands for one whose person is not in the gallery.
    """

    same: NDArray[np.float32]
    different: NDArray[np.float32]
    absent: dict[Modality, NDArray[np.float32]]

    @cached_property
    def _thresholds(self) -> dict[float, Threshold]:
        """For those of `RATES` that the pairs can show; worked out once, since they may be millions."""
        rates = [rate for rate in RATES.values() if len(self.same) and len(self.different) * rate >= 1]
        values = np.quantile(self.different, [1 - rate for rate in rates]) if rates else ()
        return {
            rate: Threshold(float(value), rate, float((self.same > value).mean()))
            for rate, value in zip(rates, values, strict=True)
        }

    def threshold(self, rate: float) -> Threshold | None:
        """The threshold that a share `rate`, one of `RATES`, of the different-person pairs passes; None for too few
        pairs."""
        return self._thresholds.get(rate)

    def needed(self, modality: Modality) -> float | None:
        """The best score that all but a share `ABSENT` of the searches for absent people stay below.

        A query of this spectrum that finds less is no match. None where people are not known, or for few searches.
        """
        scores = self.absent.get(modality, ())
        if not len(self.same) or len(scores) < LEAST_SEARCHES:
            return None
        return float(np.quantile(scores, 1 - ABSENT))

    def strange(self, modality: Modality) -> float | None:
        """The best score that all but 1 % of the gallery's own images find among other people."""
        scores = self.absent.get(modality, ())
        return float(np.quantile(scores, STRANGE)) if len(scores) else None

    def decision(self, rate: float, modality: Modality, known: bool) -> float | None:
        """The score from which a result counts as a match: for a query whose person is `known` to be in the gallery
        that of `threshold(rate)`, for a visitor's picture at least `needed`. None where there is no threshold."""
        threshold = self.threshold(rate)
        if threshold is None or known:
            return threshold.value if threshold else None
        return max(threshold.value, self.needed(modality) or threshold.value)


def measure(
    images: Sequence[GalleryImage],
    rows: Mapping[Modality, Sequence[int]],
    features: Mapping[Modality, Tensor],
) -> PairScores:
    """The pair scores of a gallery whose `features[modality]` [N,D] belong to `images[i] for i in rows[modality]`."""
    step = {modality: -(-len(rows[modality]) // MAX_ROWS) or 1 for modality in Modality}
    visible, infrared = (features[modality][:: step[modality]] for modality in Modality)
    people = [[images[i].person for i in rows[modality][:: step[modality]]] for modality in Modality]
    scores = (visible @ infrared.T).numpy()
    known = all(person is not None for side in people for person in side)
    same = np.zeros(scores.shape, dtype=bool)
    if known and scores.size:
        number = {person: n for n, person in enumerate(dict.fromkeys(people[0] + people[1]))}
        first, second = ([number[person] for person in side] for side in people)
        same = np.equal.outer(np.array(first), np.array(second))
    others = np.where(same, -1.0, scores)
    absent = (
        {Modality.VISIBLE: others.max(axis=1), Modality.INFRARED: others.max(axis=0)} if scores.size else {}
    )
    return PairScores(scores[same], scores[~same], absent)
