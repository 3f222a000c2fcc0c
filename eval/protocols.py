"""Query and gallery selection per trial, as functions of label arrays.

Two gallery draws go by the same name in the literature and pick different images; both are here:

seeded    `random.Random(trial)`; identities ascending, their cameras ascending inside, one `choice` from the
          images of each identity and camera in file-name order (the common Python code of the field). With
          more than one shot a `sample` of that many takes its place; that draw is ours, nobody's code fixes it.
official  the data set's permutation file: cameras ascending, identities ascending inside, the first 1 or 10
          entries of the trial's row.

Rows are indices into the arrays given; the rows of one identity and camera must be in file-name order.
"""

from __future__ import annotations

import dataclasses
import random
import warnings
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mtrl.labels.reading import as_array, integer_labels
from mtrl.models.config import Modality
from mtrl.retrieval.metrics.labels import PROTOCOLS
from mtrl.retrieval.metrics.ranking import CMC_LEVELS, DEFAULT_CMC_LEVEL

Rows = NDArray[np.int64]
Permutations = Mapping[
    tuple[int, int], NDArray[np.int64]
]  # (camera, identity) -> [trials, images], from 1 on

DIRECTIONS = ("ir2vis", "vis2ir", "vis2ir_released")
MODES = ("all", "indoor")
GALLERIES = ("seeded", "official")
SHOTS = (1, 10)
INDOOR_CAMERAS = (1, 2)
# (queries, gallery images) of the complete SYSU-MM01 test set, infrared to visible.
SYSU_COUNTS = {
    ("all", 1): (3803, 301),
    ("all", 10): (3803, 3010),
    ("indoor", 1): (3803, 112),
    ("indoor", 10): (3803, 1120),
}


@dataclasses.dataclass(frozen=True)
class Setting:
    """The settings of one evaluation.

    protocol   "sysu" | "regdb" | "llcm" | "clip": gallery and the images that a query skips (see `rank_metrics`)
    direction  "ir2vis": infrared queries, visible gallery; "vis2ir": the reverse; "vis2ir_released" (llcm):
               what released scripts print under that name: sampled infrared queries, every visible image
    mode       sysu: "all" cameras, or visible images of the "indoor" ones (1, 2) only
    shots      gallery images per identity and camera, 1 or 10 (regdb, clip: always the whole gallery)
    gallery    "seeded" | "official" draw
    trials     number of gallery draws (regdb, clip: always one)
    cmc_level  "identity" | "image"; None: the protocol's usual one

    Raises ValueError for a combination that does not exist.
    """

    protocol: str = "sysu"
    direction: str = "ir2vis"
    mode: str = "all"
    shots: int = 1
    gallery: str = "seeded"
    trials: int = 10
    cmc_level: str | None = None

    def __post_init__(self) -> None:
        for name, choices in (
            ("protocol", PROTOCOLS),
            ("direction", DIRECTIONS),
            ("mode", MODES),
            ("shots", SHOTS),
            ("gallery", GALLERIES),
            ("cmc_level", (None, *CMC_LEVELS)),
        ):
            if getattr(self, name) not in choices:
                known = ", ".join(str(choice) for choice in choices if choice is not None)
                raise ValueError(f"{name} must be one of {known}, not {getattr(self, name)!r}")
        if self.trials < 1:
            raise ValueError(f"trials must be at least 1, not {self.trials}")
        if self.protocol != "sysu" and (self.mode != "all" or self.gallery != "seeded"):
            raise ValueError(
                f"indoor search and the official gallery belong to SYSU-MM01, not {self.protocol}"
            )
        if self.whole and self.shots != 1:
            raise ValueError(
                f"shots does not apply to protocol {self.protocol}: its gallery is the whole other modality"
            )
        if self.protocol != "llcm" and self.direction == "vis2ir_released":
            raise ValueError(f"vis2ir_released is a variant of the LLCM protocol, not of {self.protocol}")

    @property
    def full_gallery(self) -> bool:
        """True where nothing is drawn: every image of the gallery's modality takes part."""
        return self.whole or self.direction == "vis2ir_released"

    @property
    def whole(self) -> bool:
        """True for the protocols that draw no gallery, whatever the direction."""
        return self.protocol in ("regdb", "clip")

    @property
    def level(self) -> str:
        """The CMC level in force."""
        return self.cmc_level or DEFAULT_CMC_LEVEL[self.protocol]


@dataclasses.dataclass(frozen=True, eq=False)
class Trial:
    """Rows of the queries and of the gallery, int64, in the protocol's order."""

    query: Rows
    gallery: Rows


def make_trials(
    identities: NDArray[np.int64],
    cameras: NDArray[np.int64],
    modalities: NDArray[np.uint8],
    setting: Setting,
    permutations: Permutations | None = None,
    subsets: NDArray[np.int8] | None = None,
) -> list[Trial]:
    """The trials of a test set whose labels are arrays [N], or other sequences of integers, taken by position.

    permutations  needed for the official gallery (see `mtrl.data.matfiles.read_permutations`)
    subsets       1: the image is never in the gallery, 2: never a query, 0 or None: it may be either
    Raises ValueError when either side would be empty or does not fit the permutations.
    """
    identities, cameras = integer_labels(identities, "identities"), integer_labels(cameras, "cameras")
    modalities = as_array(modalities)
    visible = np.flatnonzero(modalities == int(Modality.VISIBLE))
    infrared = np.flatnonzero(modalities == int(Modality.INFRARED))
    if setting.mode == "indoor":
        visible = visible[np.isin(cameras[visible], INDOOR_CAMERAS)]
    query, gallery = (infrared, visible) if setting.direction == "ir2vis" else (visible, infrared)
    sides = ("infrared", "visible") if setting.direction == "ir2vis" else ("visible", "infrared")
    if subsets is not None:
        subsets = as_array(subsets)
        query, gallery = query[subsets[query] != 2], gallery[subsets[gallery] != 1]
    for rows, what in ((query, f"{sides[0]} query"), (gallery, f"{sides[1]} gallery")):
        if len(rows) == 0:
            raise ValueError(f"the test set has no {what} image" + " indoors" * (setting.mode == "indoor"))
    query = _ordered(identities, cameras, query)
    if setting.whole:
        return [Trial(query, _ordered(identities, cameras, gallery))]
    groups = group_rows(identities, cameras, gallery)
    if setting.gallery == "official":
        if permutations is None:
            raise ValueError("the official gallery needs the data set's rand_perm_cam.mat")
        draws = [official_gallery(groups, permutations, n, setting.shots) for n in range(setting.trials)]
    else:
        draws = [seeded_gallery(groups, n, setting.shots) for n in range(setting.trials)]
    if setting.direction == "vis2ir_released":
        warnings.warn(
            "vis2ir_released searches all visible images with sampled infrared ones, as released LLCM "
            'scripts do under the name "VIS to IR"; vis2ir is the search that its name says',
            stacklevel=2,
        )
        return [Trial(draw, query) for draw in draws]
    return [Trial(query, draw) for draw in draws]


def group_rows(
    identities: NDArray[np.int64], cameras: NDArray[np.int64], rows: Rows
) -> dict[tuple[int, int], Rows]:
    """{(identity, camera): rows}, keys ascending, the rows' order kept."""
    identities, cameras = integer_labels(identities, "identities"), integer_labels(cameras, "cameras")
    ordered = _ordered(identities, cameras, rows)
    labels = np.stack([identities[ordered], cameras[ordered]], axis=1)
    cuts = np.flatnonzero((labels[1:] != labels[:-1]).any(axis=1)) + 1
    parts = np.split(ordered, cuts)
    return {(int(identities[part[0]]), int(cameras[part[0]])): part for part in parts}


def seeded_gallery(groups: Mapping[tuple[int, int], Rows], trial: int, shots: int = 1) -> Rows:
    """Gallery rows of one trial by the seeded draw; `groups` as `group_rows` gives them."""
    generator = random.Random(trial)
    drawn: list[int] = []
    for key in sorted(groups):
        rows = groups[key].tolist()
        if shots == 1:
            drawn.append(generator.choice(rows))
        else:
            drawn.extend(generator.sample(rows, min(shots, len(rows))))
    return np.array(drawn, dtype=np.int64)


def official_gallery(
    groups: Mapping[tuple[int, int], Rows], permutations: Permutations, trial: int, shots: int = 1
) -> Rows:
    """Gallery rows of one trial by the official permutations.

    Raises ValueError when a trial is not in the file, or an identity's number of images differs from it.
    """
    drawn: list[Rows] = []
    for camera, identity in sorted((camera, identity) for identity, camera in groups):
        rows = groups[identity, camera]
        permutation = permutations.get((camera, identity))
        listed = 0 if permutation is None else permutation.shape[1]
        if permutation is None or listed != len(rows):
            raise ValueError(
                f"camera {camera}, identity {identity}: {len(rows)} images found, but the permutation file "
                f"lists {listed}; the data set is incomplete or has stray images there"
            )
        if trial >= len(permutation):
            raise ValueError(
                f"the permutation file has {len(permutation)} trials; trial {trial + 1} is asked for"
            )
        drawn.append(rows[permutation[trial, :shots] - 1])
    return np.concatenate(drawn)


def _ordered(identities: NDArray[np.int64], cameras: NDArray[np.int64], rows: Rows) -> Rows:
    """The rows by identity, then camera, their own order kept within."""
    return rows[np.lexsort((cameras[rows], identities[rows]))].astype(np.int64)
