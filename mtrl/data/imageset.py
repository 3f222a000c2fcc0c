"""`ImageSet` and `ReIDData`: images with labels, in one form for all data sets."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mtrl.labels.reading import integer_labels
from mtrl.models.config import Modality


def pixel_digest(images: NDArray[np.uint8]) -> str:
    """A checksum of images [N,H,W,3], read one by one, as they may lie on the disk."""
    found = hashlib.sha256(f"{images.shape}".encode())
    for image in images:
        found.update(np.ascontiguousarray(image).data)
    return found.hexdigest()


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Images with their labels, row by row. The rows of one identity and camera are in file-name order.

    images          uint8 [N,H,W,3], RGB; often a read-only memory map
    identities      int64 [N], the data set's own identity numbers, which need not be contiguous
    cameras         int64 [N]
    modalities      uint8 [N], values of `Modality`
    names           N unique names, for reports and figures; of files, the path below the root
    subsets         int8 [N]: 1 query only, 2 gallery only, 0 both; None: both, for all images
    identity_names  {identity: its name in the data set}, for messages and figures; an identity that is missing here is
                    named by its number
    camera_names    {camera: its name in the data set}, likewise; "" for a camera without a name

    Identities and cameras may be given as any sequence of integers (see `mtrl.labels.reading`). Raises ValueError for
    pixels of another type, labels that are no integers, and labels of another number than the images.
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

    def digest(self) -> str:
        """A checksum of pixels and labels; names do not count."""
        found = hashlib.sha256(pixel_digest(self.images).encode())
        for labels in (self.identities, self.cameras, self.modalities, self.subsets):
            found.update(b"none" if labels is None else labels.tobytes())
        return found.hexdigest()

    def identity_name(self, identity: int) -> str:
        """An identity's name in the data set, for messages and figures, such as "anna" or "0117"."""
        return self.identity_names.get(int(identity), str(int(identity)))

    def camera_name(self, camera: int) -> str:
        """A camera's name in the data set, for messages and figures; "" if it has none."""
        return self.camera_names.get(int(camera), str(int(camera)))

    def rows(
        self, modality: Modality | None = None, cameras: tuple[int, ...] | None = None
    ) -> NDArray[np.int64]:
        """Rows of the images of a modality and of some cameras, ascending; None: of any."""
        keep = np.ones(len(self), dtype=bool)
        if modality is not None:
            keep &= self.modalities == int(modality)
        if cameras is not None:
            keep &= np.isin(self.cameras, cameras)
        return np.flatnonzero(keep)

    def take(self, rows: NDArray[np.int64]) -> ImageSet:
        """A set of the images of some rows. The pixels are copied into memory."""
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
        """Holds out some identities, drawn by `seed`: (rows of the other identities, rows of the held-out ones).

        held_out  number of identities
        """
        unique = np.unique(self.identities)
        if not 0 <= held_out < len(unique):
            raise ValueError(f"cannot hold out {held_out} of {len(unique)} identities")
        chosen = np.random.default_rng(seed).permutation(unique)[:held_out]
        mask = np.isin(self.identities, chosen)
        return np.flatnonzero(~mask), np.flatnonzero(mask)


@dataclasses.dataclass(frozen=True)
class ReIDData:
    """A data set with disjoint training and test identities.

    name        its name in `mtrl.data.sources.SOURCES`
    protocol    "sysu" | "regdb" | "llcm" | "clip": rules of the test set, which images are in the gallery and
                which ones a query skips
    validation  images of the identities that the data set provides for model selection; None: it provides none, or
                they are trained on
    """

    name: str
    protocol: str
    train: ImageSet
    test: ImageSet
    validation: ImageSet | None = None
