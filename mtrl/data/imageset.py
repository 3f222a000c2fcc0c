"""The one form in which images reach training and evaluation, whatever data set they come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mtrl.labels.reading import integer_labels
from mtrl.models.config import Modality


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Images with their labels, row by row. The rows of one identity and camera are in file-name order.

    images      uint8 [N, H, W, 3], RGB; often a read-only memory map
    identities  int64 [N], the data set's own identity numbers (not contiguous)
    cameras     int64 [N]
    modalities  uint8 [N], values of `Modality`
    names       N unique names, for reports and figures (for files: the path below the root)
    subsets     int8 [N] or None: 1 only a query, 2 only in the gallery, 0 both, as None says of all images
    identity_names  {identity: how the data set writes it}, for messages and figures; where one is not there, its
                number is its name
    camera_names    {camera: how the data set writes it}, likewise; "" for a camera that the data set does not name

    Identities and cameras may come as any sequence of integers, taken by position (see `mtrl.labels.reading`). Raises
    ValueError for pixels of another type, labels that are no integers, and for another number of labels than images.
    """

    images: NDArray[np.uint8]
    identities: NDArray[np.int64]
    cameras: NDArray[np.int64]
    modalities: NDArray[np.uint8]
    names: tuple[str, ...]
    subsets: NDArray[np.int8] | None = None
    identity_names: Mapping[int, str] = dataclasses.field(default_factory=dict)
    camera_names: Mapping[int, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[3] != 3:
            raise ValueError(f"images must be uint8 [N,H,W,3], not {self.images.dtype} {self.images.shape}")
        for field in ("identities", "cameras"):
            object.__setattr__(self, field, integer_labels(getattr(self, field), field))
        for field, dtype in (("modalities", np.uint8), ("subsets", np.int8)):
            if getattr(self, field) is not None:
                object.__setattr__(self, field, np.asarray(getattr(self, field), dtype=dtype))
        sizes = {
            len(self.images),
            len(self.identities),
            len(self.cameras),
            len(self.modalities),
            len(self.names),
            len(self.names) if self.subsets is None else len(self.subsets),
        }
        if len(sizes) != 1:
            raise ValueError(f"images and labels differ in number: {sorted(sizes)}")

    def __len__(self) -> int:
        return len(self.names)

    def identity_name(self, identity: int) -> str:
        """An identity for people to read, as its data set writes it: "anna", "0117"."""
        return self.identity_names.get(int(identity), str(int(identity)))

    def camera_name(self, camera: int) -> str:
        """A camera for people to read, as its data set writes it; "" where it has no name."""
        return self.camera_names.get(int(camera), str(int(camera)))

    def rows(
        self, modality: Modality | None = None, cameras: tuple[int, ...] | None = None
    ) -> NDArray[np.int64]:
        """Indices of the images of a modality and/or of some cameras, in order."""
        keep = np.ones(len(self), dtype=bool)
        if modality is not None:
            keep &= self.modalities == int(modality)
        if cameras is not None:
            keep &= np.isin(self.cameras, cameras)
        return np.flatnonzero(keep)

    def take(self, rows: NDArray[np.int64]) -> ImageSet:
        """The images of some rows, copied out of a memory map."""
        return dataclasses.replace(
            self,
            images=np.ascontiguousarray(self.images[rows]),
            identities=self.identities[rows],
            cameras=self.cameras[rows],
            modalities=self.modalities[rows],
            names=tuple(self.names[row] for row in rows),
            subsets=None if self.subsets is None else self.subsets[rows],
        )

    def split_identities(self, held_out: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows of all but `held_out` identities, and rows of the `held_out` ones, drawn by `seed`."""
        unique = np.unique(self.identities)
        if not 0 <= held_out < len(unique):
            raise ValueError(f"cannot hold out {held_out} of {len(unique)} identities")
        chosen = np.random.default_rng(seed).permutation(unique)[:held_out]
        mask = np.isin(self.identities, chosen)
        return np.flatnonzero(~mask), np.flatnonzero(mask)


@dataclasses.dataclass(frozen=True)
class ReIDData:
    """A data set: disjoint training and test identities, and the protocol that its test set follows.

    name        its name in `mtrl.data.sources.SOURCES`
    protocol    "sysu" | "regdb" | "llcm" | "clip": who is in the gallery, and which gallery images a query skips
    validation  identities that the data set itself sets aside for model selection; None: it has none, or they
                are trained on
    """

    name: str
    protocol: str
    train: ImageSet
    test: ImageSet
    validation: ImageSet | None = None
