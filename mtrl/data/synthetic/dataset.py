"""The synthetic data set: which images it has, and their cache."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Generator, Mapping
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray

from mtrl.data.array_cache import Pixels, Store, cache_root, open_or_make
from mtrl.data.code_digest import code_digest
from mtrl.data.imageset import ImageSet, ReIDData
from mtrl.data.synthetic.cameras import ALL_CAMERAS, CAMERAS
from mtrl.data.synthetic.difficulty import HEIGHT, SIZES, WIDTH, Difficulty, Size
from mtrl.data.synthetic.draw import Job, draw_all
from mtrl.data.synthetic.spectra import SPECTRA
from mtrl.models.config import Modality

FIRST_IDENTITY = {"test": 1, "train": 1001}
"""Identity numbers of a part start here, so that test (at most 1,000 people) and training never share one."""

Label = tuple[int, int, int, int]
"""Of one image: the person's number in its domain (0, 1, ...), the identity's number in the set, camera, shot."""


def load(
    size: str = "small",
    seed: int = 0,
    test_seed: int = 0,
    image_size: tuple[int, int] | None = None,
    cache_dir: str | Path | None = None,
    difficulty: Difficulty | None = None,
    workers: int | None = None,
    progress: bool = True,
    parts: tuple[str, ...] = ("train", "test"),
    labels_only: bool = False,
    shots: tuple[int, int] | None = None,
    spectrum: str = "nir",
) -> ReIDData:
    """The synthetic benchmark; drawn on first use, then read from the cache.

    size       "tiny" | "small" | "large" (`SIZES`)
    seed       which training identities; test_seed: which test identities (0: the published test set)
    image_size (height, width) of the stored images, area-averaged from 256 x 128; None: the size's own
    parts      which of "train" and "test" to provide; the other is an ImageSet without rows
    labels_only  draw nothing: pixels are zeros that take no memory
    shots      images per identity and (visible, infrared) camera; None: the size's own
    spectrum   of the infrared images: "nir" | "thermal" | "both" (`mtrl.data.synthetic.spectra`)
    Raises ValueError for an unknown size, part or spectrum, OSError when the cache cannot be written.
    """
    unknown = sorted(set(parts) - {"train", "test"})
    if unknown:
        raise ValueError(f'unknown part {unknown}; known are "train" and "test"')
    sets = {}
    for number in (seed, test_seed):  # both before anything is drawn
        _check_seed(number)
    for part in ("train", "test"):
        people = (0, 0) if part not in parts else None
        sets[part] = load_part(
            part,
            size,
            seed if part == "train" else test_seed,
            image_size,
            cache_dir,
            difficulty,
            workers,
            progress,
            people=people,
            labels_only=labels_only,
            shots=shots,
            spectrum=spectrum,
        )
    return ReIDData("synthetic", "sysu", sets["train"], sets["test"])


def truth(
    test_seed: int = 0,
    size: str = "small",
    image_size: tuple[int, int] | None = None,
    cache_dir: str | Path | None = None,
    difficulty: Difficulty | None = None,
    workers: int | None = None,
    progress: bool = True,
    domain: str = "test",
    spectrum: str = "nir",
) -> ImageSet:
    """What an infrared camera would have seen in place of each visible one, row by row with the visible images.

    Rows equal those of the part's visible images, in order (same names, identities, cameras); the modality is infrared.
    """
    return load_part(
        domain, size, test_seed, image_size, cache_dir, difficulty, workers, progress,
        infrared=True, spectrum=spectrum,
    )  # fmt: skip


def load_part(
    domain: str,
    size: str = "small",
    seed: int = 0,
    image_size: tuple[int, int] | None = None,
    cache_dir: str | Path | None = None,
    difficulty: Difficulty | None = None,
    workers: int | None = None,
    progress: bool = True,
    people: tuple[int, int] | None = None,
    infrared: bool | None = None,
    labels_only: bool = False,
    shots: tuple[int, int] | None = None,
    spectrum: str = "nir",
) -> ImageSet:
    """One part ("train" | "test"). `people` restricts it to a range of persons; `shots`, `spectrum` as in `load`.

    `infrared=True` gives the aligned truth: visible cameras only, in infrared.
    """
    spec = _size(size)
    first, last = people or (0, spec.train if domain == "train" else spec.test)
    labels = [
        (person, person + FIRST_IDENTITY[domain], camera, shot)
        for person in range(first, last)
        for camera, shot in _shots(shots or (spec.visible_shots, spec.infrared_shots), infrared)
    ]
    images = _Images(
        domain, seed, image_size or spec.image_size, difficulty or Difficulty(), infrared, spectrum
    )
    if labels_only:
        return images.without_pixels(labels)
    return images.load(labels, cache_dir, workers, progress, f"synthetic {size} {domain}")


def load_counts(
    counts: Mapping[tuple[int, int], int],
    seed: int = 0,
    image_size: tuple[int, int] = (HEIGHT, WIDTH),
    cache_dir: str | Path | None = None,
    difficulty: Difficulty | None = None,
    workers: int | None = None,
    progress: bool = True,
    spectrum: str = "nir",
) -> ImageSet:
    """A test set with given identity numbers and numbers of images: {(camera, identity): images}.

    The identity numbers below `FIRST_IDENTITY["train"]` get the test persons 0, 1, ... in ascending order.
    Raises ValueError for other numbers, and for cameras that there are not.
    """
    identities = sorted({identity for _, identity in counts})
    if not all(1 <= identity < FIRST_IDENTITY["train"] for identity in identities):
        raise ValueError(f"identities of a test set must lie between 1 and {FIRST_IDENTITY['train'] - 1}")
    unknown = sorted({camera for camera, _ in counts} - set(ALL_CAMERAS))
    if unknown:
        raise ValueError(f"camera {unknown[0]} is unknown; the synthetic cameras are 1 to {max(ALL_CAMERAS)}")
    labels = [
        (person, identity, camera, shot)
        for person, identity in enumerate(identities)
        for camera in ALL_CAMERAS
        for shot in range(counts.get((camera, identity), 0))
    ]
    images = _Images("test", seed, image_size, difficulty or Difficulty(), None, spectrum)
    return images.load(labels, cache_dir, workers, progress, "synthetic test")


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise ValueError(f"a seed must not be negative, got {seed}")


def _size(name: str) -> Size:
    if name not in SIZES:
        raise ValueError(f"size must be one of {', '.join(SIZES)}, not {name!r}")
    return SIZES[name]


def _shots(counts: tuple[int, int], infrared: bool | None) -> list[tuple[int, int]]:
    """(camera, shot) of one person."""
    if min(counts) < 1:
        raise ValueError(f"shots must be at least 1, not {counts[0]} and {counts[1]}")
    cameras = [camera for camera in ALL_CAMERAS if not (CAMERAS[camera].infrared and infrared)]
    return [(camera, shot) for camera in cameras for shot in range(counts[CAMERAS[camera].infrared])]


@dataclasses.dataclass(frozen=True)
class _Images:
    """How the images of a part are drawn; fields as those of `Job`."""

    domain: str
    seed: int
    image_size: tuple[int, int]
    difficulty: Difficulty
    infrared: bool | None
    spectrum: str

    def __post_init__(self) -> None:
        _check_seed(self.seed)
        if self.spectrum not in SPECTRA:
            raise ValueError(f"spectrum must be one of {', '.join(SPECTRA)}, not {self.spectrum!r}")
        height, width = self.image_size
        if not (8 <= height <= HEIGHT and 8 <= width <= WIDTH):
            raise ValueError(
                f"image_size must lie between 8 x 8 and {HEIGHT} x {WIDTH}, not {height} x {width}"
            )

    def load(
        self,
        labels: list[Label],
        cache_dir: str | Path | None,
        workers: int | None,
        progress: bool,
        what: str,
    ) -> ImageSet:
        """The images of these labels, from the cache or drawn into it."""
        if not labels:
            return self._set(np.zeros((0, *self.image_size, 3), np.uint8), labels)
        what += ("" if self.spectrum == "nir" else f" {self.spectrum}") + " truth" * bool(self.infrared)

        def rows(start: int, stop: int) -> Generator[Pixels | str, None, None]:
            return draw_all(self._jobs(labels[start:stop]), workers)

        key = f"{what.replace(' ', '-')}-{self._key(labels)}"
        store = Store(
            cache_root(cache_dir) / "synthetic", key, len(labels), self.image_size, what + " images", progress
        )
        images, _ = open_or_make(store, rows)
        return self._set(images, labels)

    def without_pixels(self, labels: list[Label]) -> ImageSet:
        """The labels alone: pixels are zeros that take no memory."""
        return self._set(np.broadcast_to(np.zeros((), np.uint8), (len(labels), *self.image_size, 3)), labels)

    def _key(self, labels: list[Label]) -> str:
        """Changes with the images' labels and with everything that draws them: settings, code, libraries."""
        drawn = [(person, camera, shot) for person, _, camera, shot in labels]
        # Random streams and rounding may change with the feature releases of these two.
        versions = [".".join(version.split(".")[:2]) for version in (np.__version__, PIL.__version__)]
        text = repr([self, drawn, versions, code_digest("mtrl.data.synthetic.draw")])
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    def _jobs(self, labels: list[Label]) -> list[Job]:
        """One for each person, in order."""
        persons = itertools.groupby(labels, key=lambda label: label[0])
        return [
            Job(
                self.domain,
                self.seed,
                person,
                tuple((camera, shot) for _, _, camera, shot in group),
                self.image_size,
                self.difficulty,
                self.infrared,
                self.spectrum,
            )
            for person, group in persons
        ]

    def _set(self, images: NDArray[np.uint8], labels: list[Label]) -> ImageSet:
        modalities = [
            Modality.INFRARED if self.infrared else CAMERAS[camera].modality for _, _, camera, _ in labels
        ]
        return ImageSet(
            images,
            np.array([identity for _, identity, _, _ in labels], dtype=np.int64),
            np.array([camera for _, _, camera, _ in labels], dtype=np.int64),
            np.array(modalities, dtype=np.uint8),
            tuple(f"cam{c}/{identity:04d}/{shot + 1:04d}.jpg" for _, identity, c, shot in labels),
        )
