"""`Filter`: selects gallery entries by their labels and their spectrum, for searches and deletions."""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mtrl.labels.names import canonical
from mtrl.labels.sequences import by_position
from mtrl.models.config import Modality
from mtrl.retrieval.checks import LABEL_PARSERS


class Labelled(Protocol):
    """Interface of labelled entries, such as a `Gallery`. Each property has one value per entry; None: unknown."""

    @property
    def names(self) -> Sequence[str]: ...
    @property
    def identities(self) -> Sequence[str | int] | None: ...
    @property
    def cameras(self) -> Sequence[int] | None: ...
    @property
    def times(self) -> Sequence[float] | None: ...
    @property
    def tracks(self) -> Sequence[str] | None: ...
    @property
    def spectra(self) -> Sequence[Modality]: ...
    def __len__(self) -> int: ...


@dataclasses.dataclass(frozen=True)
class Filter:
    """Conditions that an entry must all meet. Empty fields are no condition.

    names          the entry's name is one of these
    identities     its identity is one of these, compared as text, so that 7 and "7" are the same person
    cameras        its camera is one of these integers
    after, before  after <= time < before, in seconds since 1970-01-01 UTC (see `parse_time`)
    modalities     its modality is one of these: "visible", "infrared"
    only           "images": no entries that stand for a track; "tracks": these alone
    Names and identities are compared in Unicode's NFC form (`mtrl.labels.names.canonical`). Raises ValueError for
    values of another type.
    """

    names: tuple[str, ...] = ()
    identities: tuple[str, ...] = ()
    cameras: tuple[int, ...] = ()
    after: float | None = None
    before: float | None = None
    modalities: tuple[Modality, ...] = ()
    only: str = ""

    def __post_init__(self) -> None:
        for field in ("names", "identities", "cameras"):
            values = map(LABEL_PARSERS[field], by_position(getattr(self, field), field))
            object.__setattr__(self, field, tuple(values if field == "cameras" else map(str, values)))
        spectra = by_position(self.modalities, "modalities")
        object.__setattr__(self, "modalities", tuple(map(Modality.parse, spectra)))
        if self.only not in ("", "images", "tracks"):
            raise ValueError(f'only is "images" or "tracks", not {self.only!r}')
        for name in ("after", "before"):
            value = getattr(self, name)
            if value is not None:
                if isinstance(value, str) or not math.isfinite(value):
                    raise ValueError(f"{name} is a finite number of seconds, not {value!r}; see parse_time")
                object.__setattr__(self, name, float(value))

    def __bool__(self) -> bool:
        """False if there is no condition."""
        return self != Filter()

    def rows(self, gallery: Labelled) -> NDArray[np.int64]:
        """The gallery's rows that meet all conditions, ascending. Raises ValueError if a needed label is unknown."""
        fits = np.ones(len(gallery), dtype=bool)
        for field, texts in (("names", self.names), ("identities", self.identities)):
            if texts:
                wanted = set(map(canonical, texts))
                fits &= np.array([canonical(str(v)) in wanted for v in _column(gallery, field)], dtype=bool)
        if self.cameras:
            fits &= np.isin(np.array(_column(gallery, "cameras"), dtype=np.int64), self.cameras)
        if self.after is not None:
            fits &= np.array(_column(gallery, "times")) >= self.after
        if self.before is not None:
            fits &= np.array(_column(gallery, "times")) < self.before
        if self.modalities:
            fits &= np.array([value in self.modalities for value in gallery.spectra], dtype=bool)
        if self.only:
            fits &= track_entries(gallery) == (self.only == "tracks")
        return np.flatnonzero(fits)


def track_entries(gallery: Labelled) -> NDArray[np.bool_]:
    """bool [G]: the entries that stand for a track, not for an image: their name is their track's."""
    if gallery.tracks is None:
        return np.zeros(len(gallery), dtype=bool)
    pairs = zip(gallery.names, gallery.tracks, strict=True)
    return np.array([canonical(name) == canonical(track) for name, track in pairs], dtype=bool)


def parse_time(text: str) -> float:
    """Parses an ISO 8601 time, such as 2026-11-20T18:30 or 2026-11-20T18:30+01:00, to seconds since 1970-01-01 UTC.

    A time without an offset is in UTC. Raises ValueError for other text.
    """
    try:
        moment = datetime.datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError as error:
        raise ValueError(f"{text!r} is no ISO 8601 time such as 2026-11-20T18:30+01:00") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.timezone.utc)).timestamp()


def format_time(seconds: float) -> str:
    """Seconds since 1970-01-01 UTC as an ISO 8601 time in UTC, without fractions of seconds."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _column(gallery: Labelled, field: str) -> Sequence[Any]:
    values: Sequence[Any] | None = getattr(gallery, field)
    if values is None:
        raise ValueError(f"this gallery's images have no {field} to choose by; build it with them")
    return values
