"""Tracks: the images of one person in one recording, pooled into one feature.

    f = sum_i q_i f_i / | sum_i q_i f_i |      over the track's images i, of unit features f_i and qualities q_i

In a gallery a track is an entry of its own beside its images: its name is the track's, which theirs `tracks` names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from mtrl.labels.names import canonical
from mtrl.retrieval.filters import Labelled, track_entries

Entries = TypeVar("Entries", bound=Labelled)


def pool(features: Tensor, weights: Sequence[float] | Tensor | None = None) -> Tensor:
    """Unit rows [N,D] of one track, N at least 1, and a weight of each above 0 (None: equal) -> unit row float32 [1,D].

    Raises ValueError for no rows, for weights of another number or not above 0, and where the features cancel out.
    """
    rows = features.float()
    share = torch.ones(len(rows)) if weights is None else torch.as_tensor(weights, dtype=torch.float32)
    if rows.ndim != 2 or not len(rows) or share.shape != (len(rows),):
        raise ValueError(
            f"a track is at least one feature [N,D] with a weight each, not {list(features.shape)}"
        )
    if not bool(torch.isfinite(share).all()) or not bool((share > 0).all()):
        raise ValueError("the weights of a track's images are finite numbers above 0")
    mean = (share / share.max()) @ rows
    if float(mean.norm()) < 1e-6:
        raise ValueError("the features of a track cancel out: they cannot show one person")
    return F.normalize(mean[None])


def with_tracks(entries: Entries, weights: Sequence[float] | None = None) -> Entries:
    """A `Gallery`, and behind it an entry for each track of its images, in the order of their first images.

    weights  one per image, such as a crop's quality; None: all equal
    A track has the identity, camera and modality that all of its images have, and the time of its first one. Raises
    ValueError for a gallery without `tracks` or with entries of tracks already, and for a track whose images have
    several identities, cameras or modalities.
    """
    gallery: Any = entries
    if gallery.tracks is None:
        raise ValueError("this gallery's images have no tracks; build it with them")
    if track_entries(gallery).any():
        raise ValueError("this gallery has entries of tracks already, or an image named as its track")
    if weights is not None and len(weights) != len(gallery):
        raise ValueError(f"{len(gallery)} gallery images, but {len(weights)} weights")
    rows: dict[str, list[int]] = {}
    for row, track in enumerate(gallery.tracks):
        rows.setdefault(canonical(track), []).append(row)
    if not rows:
        return entries
    for field in ("identities", "cameras", "modalities"):
        values = getattr(gallery, field)
        for own in rows.values():
            if values is not None and len({canonical(str(values[row])) for row in own}) > 1:
                raise ValueError(
                    f"the images of track {gallery.tracks[own[0]]!r} have several {field}; a track is one person in "
                    "one recording"
                )
    firsts = [min(own, key=lambda row: gallery.times[row] if gallery.times else row) for own in rows.values()]
    features = [
        pool(gallery.features[own], None if weights is None else [weights[row] for row in own])
        for own in rows.values()
    ]
    made = gallery.select(firsts).replaced(
        features=torch.cat(features).to(gallery.features.dtype),
        names=tuple(gallery.tracks[row] for row in firsts),
    )
    whole: Entries = gallery.join(made)
    return whole
