"""The description of a data set, `Source`: how it is read, verified, evaluated and trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtrl.data.decode import Pixels, decode_images, image_set
from mtrl.data.imageset import ImageSet, ReIDData
from mtrl.data.listing import Sample
from mtrl.files.levels import ValueRange

if TYPE_CHECKING:
    from mtrl.data.sources.verify.report import Report

IMAGE_SIZE = (288, 144)


@dataclasses.dataclass(frozen=True)
class Request:
    """The arguments of `mtrl.data.load_data`. Each data set uses those that concern it."""

    root: str | Path | None
    size: str
    seed: int
    test_seed: int
    image_size: tuple[int, int] | None
    cache_dir: str | Path | None
    parts: tuple[str, ...]
    trial: int
    train_ids: str
    on_bad: str
    labels_only: bool
    value_range: ValueRange | None
    spectrum: str

    @property
    def height_width(self) -> tuple[int, int]:
        """(height, width) in pixels to which decoded images are resized."""
        return self.image_size or IMAGE_SIZE

    def decode(self, base: Path, paths: Sequence[str], what: str = "images") -> Pixels:
        """Decodes image files below `base`, or takes them from the cache. `what` names them in the progress bar."""
        return decode_images(
            base, paths, self.height_width, self.cache_dir, what, self.labels_only, self.value_range
        )

    def read(self, base: Path, samples: Sequence[Sample], what: str = "images") -> ImageSet:
        """The images and labels of some samples, in the samples' order."""
        return image_set(self.decode(base, [sample.path for sample in samples], what), samples, self.on_bad)


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set.

    load         reads the requested parts: {"train": images, "test": images}, in some sets also "validation"; or the
                 whole `ReIDData`, of a set that says itself how it is evaluated. Raises
                 ValueError or OSError that says what is missing or wrong
    protocol     "sysu" | "regdb" | "llcm" | "clip": the ranking rules of its test set
    verify       checks the files below a root, fills the report, and returns all images; None: the set has no files
    layout       folder names, of which a root must hold at least one to be verified; (): any root is accepted
    splits       numbers of the official training/test splits, each of which needs a model of its own; (): one split
    spectra      spectra of its infrared images, to choose from; (): there is no choice
    value_range  whether images may have more than 8 bits, so that a value range applies
    training     {size: default settings of `python -m train`}; the key is "" for a set that has only one size; {}: the
                 set has test images alone
    translator   {size: default settings of `python -m train translator`}, likewise
    """

    load: Callable[[Request], dict[str, ImageSet] | ReIDData]
    protocol: str
    verify: Callable[[Path, Report], list[Sample]] | None = None
    layout: tuple[str, ...] = ()
    splits: tuple[int, ...] = ()
    spectra: tuple[str, ...] = ()
    value_range: bool = False
    training: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=lambda: {"": {}})
    translator: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    @property
    def sizes(self) -> tuple[str, ...]:
        """Names of the set's sizes; () if it has only one."""
        return tuple(size for size in self.training if size)

    def chosen(self, size: str, spectrum: str) -> dict[str, str | None]:
        """{"size", "spectrum"} for reports: None where the data set leaves no choice."""
        return {
            "size": size if self.sizes else None,
            "spectrum": spectrum if self.spectra else None,
        }
