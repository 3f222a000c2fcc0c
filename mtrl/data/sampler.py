"""The batch sampler: P identities, and K images of each identity in both modalities."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mtrl.models.config import Modality


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """The images of one batch: K rows of the first identity, K of the second, and so on.

    visible, infrared  int64 [P*K], rows of the arrays given to the sampler
    identities         int64 [P*K], contiguous labels of both
    """

    visible: NDArray[np.int64]
    infrared: NDArray[np.int64]
    identities: NDArray[np.int64]


class IdentitySampler:
    """Draws batches of P identities with K visible and K infrared images each.

    Within an epoch, no identity is drawn again before all others were drawn, and no image of an identity before all its
    other images. A batch holds no identity twice. It holds no image twice, unless an identity has fewer than K images
    of a modality; then they are repeated, each about equally often.
    The number of batches in an epoch is the number of visible images divided by P*K, rounded, and at least 1.
    Identities without a visible or without an infrared image are left out, with a warning.

    classes  int64, the identities in use, sorted; the label of identity `classes[i]` is i
    skipped  number of identities left out
    """

    def __init__(
        self,
        identities: ArrayLike,
        modalities: ArrayLike,
        num_identities: int,
        num_instances: int,
        seed: int = 0,
    ) -> None:
        """A sampler of N images.

        identities      integers [N]
        modalities      values of `Modality` [N]
        num_identities  P
        num_instances   K
        Raises ValueError for arrays of different lengths, P or K below 1, a negative seed, or fewer than P usable
        identities.
        """
        ids, kinds = np.asarray(identities), np.asarray(modalities)
        if ids.ndim != 1 or ids.shape != kinds.shape:
            raise ValueError(
                f"identities {ids.shape} and modalities {kinds.shape} must be two lists of equal length"
            )
        if num_identities < 1 or num_instances < 1 or seed < 0:
            raise ValueError("num_identities and num_instances must be at least 1, and seed at least 0")
        visible = _rows_by_identity(ids, kinds == Modality.VISIBLE)
        infrared = _rows_by_identity(ids, kinds == Modality.INFRARED)
        usable = sorted(visible.keys() & infrared.keys())
        self.skipped = len(visible.keys() | infrared.keys()) - len(usable)
        if len(usable) < num_identities:
            raise ValueError(
                f"a batch needs {num_identities} identities, but only {len(usable)} have images of both "
                f"modalities ({self.skipped} have images of one): lower the identities per batch to "
                f"{len(usable)} or less, or add identities"
            )
        if self.skipped:
            warnings.warn(
                f"{self.skipped} identities have images of one modality only and are left out", stacklevel=2
            )
        self.classes: NDArray[np.int64] = np.array(usable, dtype=np.int64)
        self.num_identities, self.num_instances, self.seed = num_identities, num_instances, seed
        self._visible = [visible[i] for i in usable]
        self._infrared = [infrared[i] for i in usable]
        self._batches = max(1, round(sum(map(len, self._visible)) / (num_identities * num_instances)))

    def __len__(self) -> int:
        """Batches per epoch."""
        return self._batches

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yields the batches of an epoch from number `start` on. They depend on the seed and the epoch alone.

        A resumed run gives the number of batches that it has already seen. Skipping them reads no image.
        """
        if epoch < 0 or start < 0:
            raise ValueError("epoch and start must be at least 0")
        rng = np.random.default_rng([self.seed, epoch])
        people = _Shuffler(np.arange(len(self.classes)), rng)
        visible: dict[int, _Shuffler] = {}
        infrared: dict[int, _Shuffler] = {}
        for index in range(self._batches):
            chosen = people.draw(self.num_identities)
            seen = np.concatenate([self._draw(visible, self._visible, i, rng) for i in chosen])
            sensed = np.concatenate([self._draw(infrared, self._infrared, i, rng) for i in chosen])
            if index >= start:
                yield Batch(seen, sensed, np.repeat(chosen, self.num_instances))

    def _draw(
        self,
        shufflers: dict[int, _Shuffler],
        rows: list[NDArray[np.int64]],
        label: int,
        rng: np.random.Generator,
    ) -> NDArray[np.int64]:
        if label not in shufflers:
            shufflers[label] = _Shuffler(rows[label], rng)
        return shufflers[label].draw(self.num_instances)


class _Shuffler:
    """Draws values in random order without repetition. Once all are drawn, they are shuffled again."""

    def __init__(self, values: NDArray[np.int64], rng: np.random.Generator) -> None:
        self._values, self._rng = values, rng
        self._left = values[:0]

    def draw(self, count: int) -> NDArray[np.int64]:
        """Draws `count` values, all different if there are enough; otherwise each appears n or n + 1 times."""
        if len(self._values) < count:
            return np.resize(self._rng.permutation(self._values), count)
        hand, self._left = self._left[:count], self._left[count:]
        if len(hand) < count:
            fresh = self._rng.permutation(self._values)
            repeated = np.isin(fresh, hand)
            fresh = np.concatenate([fresh[~repeated], fresh[repeated]])  # values of this draw come last
            need = count - len(hand)
            hand, self._left = np.concatenate([hand, fresh[:need]]), fresh[need:]
        return hand


def _rows_by_identity(identities: NDArray, mask: NDArray[np.bool_]) -> dict[int, NDArray[np.int64]]:
    """{identity: its rows among those where `mask` is True, ascending}."""
    rows = np.flatnonzero(mask)
    rows = rows[np.argsort(identities[rows], kind="stable")]
    found, starts = np.unique(identities[rows], return_index=True)
    return dict(zip(found.tolist(), np.split(rows, starts[1:]), strict=True)) if len(rows) else {}
