"""P identities x K images of each modality: the batches of metric learning across two spectra."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mtrl.models.config import Modality


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """Rows of one batch, identity by identity in runs of K.

    visible, infrared  int64 [P*K], rows of the arrays that the sampler was given
    identities         int64 [P*K], contiguous labels, the same for `visible` and `infrared`
    """

    visible: NDArray[np.int64]
    infrared: NDArray[np.int64]
    identities: NDArray[np.int64]


class IdentitySampler:
    """Draws batches of P identities with K visible and K infrared images each.

    Within an epoch every identity is drawn before any comes again, and so is every image of an identity.
    No identity stands twice in a batch, and no image does, unless its identity has fewer than K images of that
    modality: then each is used once before any is repeated.
    An epoch is as many batches as there are visible images to fill them.

    Identities without a visible or without an infrared image cannot fill a batch. They are left out, with a
    warning.

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
        """Identities int [N] (any numbers) and modalities [N] (values of `Modality`), image by image.

        Raises ValueError for arrays that do not match, P or K below 1, a negative seed, or fewer than P
        usable identities.
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
        """The batches `start`, `start + 1`, ... of an epoch; they depend on the seed and the epoch alone.

        A resumed run passes the number of batches that it has already seen; skipping draws rows, reads no
        image.
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
    """Draws values in random order without repetition; shuffles them anew when all were drawn."""

    def __init__(self, values: NDArray[np.int64], rng: np.random.Generator) -> None:
        self._values, self._rng = values, rng
        self._left = values[:0]

    def draw(self, count: int) -> NDArray[np.int64]:
        """`count` values: all different if there are enough, else each equally often, some once more."""
        if len(self._values) < count:
            return np.resize(self._rng.permutation(self._values), count)
        hand, self._left = self._left[:count], self._left[count:]
        if len(hand) < count:
            fresh = self._rng.permutation(self._values)
            repeated = np.isin(fresh, hand)
            fresh = np.concatenate([fresh[~repeated], fresh[repeated]])  # what was just drawn comes last
            need = count - len(hand)
            hand, self._left = np.concatenate([hand, fresh[:need]]), fresh[need:]
        return hand


def _rows_by_identity(identities: NDArray, mask: NDArray[np.bool_]) -> dict[int, NDArray[np.int64]]:
    """identity -> its rows where `mask` holds, ascending."""
    rows = np.flatnonzero(mask)
    rows = rows[np.argsort(identities[rows], kind="stable")]
    found, starts = np.unique(identities[rows], return_index=True)
    return dict(zip(found.tolist(), np.split(rows, starts[1:]), strict=True)) if len(rows) else {}
