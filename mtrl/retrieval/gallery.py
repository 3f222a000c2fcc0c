"""`Gallery`: embeddings of known images with their labels, searched exactly by cosine, saved as safetensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mtrl.data.video.thermal import check_scaling
from mtrl.files.images import ImageSource, check_list
from mtrl.files.levels import ValueRange, checked_range
from mtrl.labels.sequences import by_position
from mtrl.models.config import Modality
from mtrl.models.spectrum import encode_each
from mtrl.retrieval.checks import (
    LABEL_PARSERS,
    Identity,
    check_same_model,
    check_same_range,
    checked_queries,
    default_names,
    row_number,
    unit_rows,
)
from mtrl.retrieval.filters import Filter
from mtrl.retrieval.gallery_file import TABLE, read_gallery, write_gallery
from mtrl.retrieval.match import Match
from mtrl.retrieval.nearest import nearest
from mtrl.retrieval.tracks import with_tracks

if TYPE_CHECKING:
    from mtrl.models.reid import MTRL

LABELS = ("identities", "cameras", "times", "tracks", "modalities")


@dataclasses.dataclass(frozen=True, eq=False)
class Gallery:
    """Embeddings with their labels, row by row. A gallery is never changed: `add` returns a new one.

    features     float32 or float16 [G,D] on the CPU, rows of unit length; may be mapped from a file
    names        G names; of images from files, their paths
    modality     modality of all images; None if `modalities` has that of each
    identities   G labels, or None
    cameras      G integers, or None
    model        fingerprint of the model that made the features; "": unknown
    times        G times in seconds since 1970-01-01 UTC, or None
    value_range  (low, high) that scaled images of more than 8 bits; None: each image's own range
    modalities   G modalities, or None if all have `modality`
    tracks       G names of tracks, or None; an entry whose name is its track's stands for the track
    Labels may be given as any sequence, such as a column of a table. Raises ValueError for features that are not finite
    rows of unit length, and for labels of another number.
    """

    features: Tensor
    names: tuple[str, ...]
    modality: Modality | None = Modality.INFRARED
    identities: tuple[Identity, ...] | None = None
    cameras: tuple[int, ...] | None = None
    model: str = ""
    times: tuple[float, ...] | None = None
    value_range: ValueRange | None = None
    modalities: tuple[Modality, ...] | None = None
    tracks: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", unit_rows(self.features))
        if (self.modality is None) and self.modalities is None:
            raise ValueError("give the modality of the images, or the modalities of each")
        one = None if self.modalities is not None else Modality.parse(self.modality)  # type: ignore[arg-type]
        object.__setattr__(self, "modality", one)
        object.__setattr__(self, "value_range", checked_range(self.value_range))
        for field, parse in LABEL_PARSERS.items():
            values = getattr(self, field)
            if values is None:
                continue
            values = by_position(values, field)
            if len(values) != len(self.features):
                raise ValueError(f"{len(self.features)} gallery images, but {len(values)} {field}")
            object.__setattr__(self, field, tuple(map(parse, values)))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def spectra(self) -> tuple[Modality, ...]:
        """The spectrum of each entry."""
        return (self.modality,) * len(self) if self.modality is not None else self.modalities or ()

    @classmethod
    def build(
        cls,
        model: MTRL,
        images: Sequence[ImageSource] | Tensor,
        modality: str | int | Modality = "infrared",
        identities: Sequence[Identity] | None = None,
        cameras: Sequence[int] | None = None,
        names: Sequence[str] | None = None,
        batch_size: int = 64,
        times: Sequence[float] | None = None,
        *,
        value_range: ValueRange | None = None,
        modalities: Sequence[str | int | Modality] | None = None,
        tracks: Sequence[str] | None = None,
        qualities: Sequence[float] | None = None,
    ) -> Gallery:
        """Encodes images and makes a gallery of them. `images` and `value_range` are as in `MTRL.encode`.

        modalities  the modality of each image, instead of `modality` for all
        tracks      the track of each image; each track gets an entry too, its images weighted by `qualities`
        The first label belongs to the first image, and so on. Names default to the images' paths, or to row numbers for
        images without one.
        """
        images = check_list(images)
        labels: dict[str, list[Any]] = {}
        given = (names, identities, cameras, times, tracks, modalities)
        for what, values in zip(("names", *LABELS), given, strict=True):
            if values is None:
                continue
            labels[what] = by_position(values, what)
            if len(labels[what]) != len(images):
                raise ValueError(f"{len(images)} gallery images, but {len(labels[what])} {what}")
        kinds = [Modality.parse(kind) for kind in labels.get("modalities") or [modality] * len(images)]
        if not isinstance(images, Tensor):
            check_scaling(images, kinds, checked_range(value_range))
        if modalities is None:
            features = model.encode(images, modality, batch_size, value_range=value_range)
        else:
            features = encode_each(model, images, kinds, batch_size, value_range)
        gallery = cls(
            features=features,
            modality=Modality.parse(modality) if modalities is None else None,
            model=model.fingerprint(),
            value_range=value_range,
            **{"names": default_names(images), **labels},  # type: ignore[arg-type]
        )
        return gallery if tracks is None else with_tracks(gallery, qualities)

    def add(
        self,
        model: MTRL,
        images: Sequence[ImageSource] | Tensor,
        identities: Sequence[Identity] | None = None,
        cameras: Sequence[int] | None = None,
        names: Sequence[str] | None = None,
        batch_size: int = 64,
        times: Sequence[float] | None = None,
        *,
        value_range: ValueRange | None = None,
    ) -> Gallery:
        """Encodes further images. Returns a new gallery with the present entries, followed by those of `images`.

        Images are scaled by this gallery's value range. Raises ValueError for another model or range, and if only one
        side has identities, cameras or times.
        """
        if self.modality is None:
            raise ValueError("this gallery holds both spectra: join it with Gallery.build(...)")
        self.check_model(model)
        if value_range is not None:
            check_same_range(self.value_range, checked_range(value_range))
        labels = (identities, cameras, names, batch_size, times)
        return self.join(Gallery.build(model, images, self.modality, *labels, value_range=self.value_range))

    def join(self, other: Gallery) -> Gallery:
        """A new gallery with the present entries, followed by those of `other`.

        Raises ValueError for features of another model, length, modality or value range, and if only one side has
        identities, cameras or times.
        """
        self.check_fits(other)
        labels: dict[str, Any] = {}
        for field in LABELS:
            own, new = self._labels_beside(other, field)
            labels[field] = None if own is None else own + new
        features = torch.cat([self.features, other.features.to(self.features.dtype)])
        return dataclasses.replace(self, features=features, names=self.names + other.names, **labels)

    def select(self, rows: Sequence[int]) -> Gallery:
        """A new gallery of some rows, in the order given. Raises ValueError for a number that is no row."""
        rows = [row_number(row, len(self)) for row in by_position(rows, "rows")]
        labels: dict[str, Any] = {}
        for field in ("names", *LABELS):
            values = getattr(self, field)
            labels[field] = None if values is None else tuple(values[row] for row in rows)
        return self.replaced(features=self.features[torch.tensor(rows, dtype=torch.long)], **labels)

    def replaced(self, **values: Any) -> Gallery:
        """A new gallery with other values of these fields."""
        return dataclasses.replace(self, **values)

    def half(self) -> Gallery:
        """The same gallery with features stored in float16: half the memory, cosines off by less than 0.0005."""
        return dataclasses.replace(self, features=self.features.half())

    def check_model(self, model: MTRL) -> None:
        """Raises ValueError unless `model` made this gallery, or the gallery's model is unknown."""
        if self.model:
            check_same_model(self.model, model.fingerprint())

    def check_fits(self, other: Gallery) -> None:
        """Raises ValueError unless `join` takes `other`: model, length of the features, spectrum, scale and labels."""
        check_same_model(self.model, other.model)
        if self.features.shape[1] != other.features.shape[1]:
            raise ValueError(
                f"the new features have {other.features.shape[1]} dimensions, the gallery's "
                f"{self.features.shape[1]}; both must come from the same model"
            )
        if self.modality is not None and self.modality != other.modality:
            raise ValueError(
                f"the gallery is {self.modality.name.lower()}, the new images are not; build one of both spectra "
                "with modalities for each image (--modality auto)"
            )
        check_same_range(self.value_range, other.value_range)
        for field in LABELS:
            own, new = self._labels_beside(other, field)
            if (own is None) != (new is None):
                raise ValueError(f"either all images of a gallery have {field}, or none")

    def _labels_beside(self, other: Gallery, field: str) -> tuple[Any, Any]:
        """The labels of one kind, and those of `other` as they stand in a gallery of both."""
        own = getattr(self, field)
        return own, other.spectra if field == "modalities" and own is not None else getattr(other, field)

    def search(self, features: Tensor, k: int = 10, where: Filter | None = None) -> tuple[Tensor, Tensor]:
        """The k nearest gallery rows of each query: (cosines float32 [Q,k], largest first; rows int64 [Q,k]).

        features  [Q,D], or [D] for one query; they need not have unit length
        where     searches only the entries that meet this filter
        If there are fewer than k entries to search, there are as many columns as entries. Equal cosines are in gallery
        order. Raises ValueError for an empty gallery, another D, or values that are not finite.
        """
        queries = checked_queries(features, self.features.shape[1], k)
        if not len(self):
            raise ValueError("the gallery is empty; add images to it first")
        return nearest(queries, self.features, k, torch.from_numpy(where.rows(self)) if where else None)

    def find(self, features: Tensor, k: int = 10, where: Filter | None = None) -> list[list[Match]]:
        """As `search`, but returns matches with names and labels, one list per query."""
        return self.describe(*self.search(features, k, where))

    def matches(self, feature: Tensor, k: int = 10, where: Filter | None = None) -> list[Match]:
        """As `find`, for one query [D] or [1,D]."""
        found = self.find(feature, k, where)
        if len(found) != 1:
            raise ValueError(f"matches takes one query, not {len(found)}; use search for several")
        return found[0]

    def describe(self, scores: Tensor, rows: Tensor) -> list[list[Match]]:
        """The result of `search` as matches with names and labels, one list per query."""
        return [
            [self._match(rank, *hit) for rank, hit in enumerate(zip(values, numbers, strict=True), start=1)]
            for values, numbers in zip(scores.tolist(), rows.tolist(), strict=True)
        ]

    def _match(self, rank: int, score: float, row: int) -> Match:
        def label(values: Sequence[Any] | None) -> Any:
            return None if values is None else values[row]

        kind = label(self.modalities)
        spectrum = None if kind is None else kind.name.lower()
        identity, camera, time = label(self.identities), label(self.cameras), label(self.times)
        return Match(rank, score, row, self.names[row], identity, camera, time, spectrum, label(self.tracks))

    def save(self, folder: str | Path) -> None:
        """Writes `gallery.json` and a features file into `folder`. If it is interrupted, the old gallery stays intact.

        Raises OSError if the folder cannot be written.
        """
        labels = {field: getattr(self, field) for field in ("model", "names", *LABELS, "value_range")}
        spectra = None if self.modalities is None else [value.name.lower() for value in self.modalities]
        one = "mixed" if self.modality is None else self.modality.name.lower()
        write_gallery(Path(folder), self.features, labels | {"modality": one, "modalities": spectra})

    @classmethod
    def load(cls, folder: str | Path) -> Gallery:
        """Reads the gallery of a folder. The features are mapped from the file, so they may be larger than memory.

        Raises FileNotFoundError if there is no gallery, and ValueError if it is damaged.
        """
        features, table = read_gallery(Path(folder))
        try:
            return cls(
                features,
                table["names"],
                None if table["modality"] == "mixed" else Modality.parse(table["modality"]),
                table.get("identities"),
                table.get("cameras"),
                table["model"],
                table.get("times"),
                table.get("value_range"),
                table.get("modalities"),
                table.get("tracks"),
            )
        except ValueError as error:
            raise ValueError(f"{Path(folder) / TABLE}: {error}") from error
