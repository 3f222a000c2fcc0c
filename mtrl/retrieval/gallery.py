"""A gallery: embeddings of known images with their labels, searched exactly by cosine, saved as
safetensors.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from mtrl.checkpoint import tensor_digest, write_atomically
from mtrl.config import Modality
from mtrl.images import ImageSource

if TYPE_CHECKING:
    from mtrl.model import MTRL

Identity = str | int
FORMAT = "mtrl-gallery-1"
TABLE = "gallery.json"
_SHA256 = re.compile("[0-9a-f]{64}")
_BLOCK_ELEMENTS = 1 << 24  # scores computed at once: 64 MiB, whatever the number of queries


@dataclasses.dataclass(frozen=True)
class Match:
    """One search result. rank counts from 1; score is the cosine; index is the row in the gallery."""

    rank: int
    score: float
    index: int
    name: str
    identity: Identity | None
    camera: int | None


@dataclasses.dataclass(frozen=True, eq=False)
class Gallery:
    """Embeddings with their labels, row by row. Never changed in place: `add` gives a new one.

    features    float32 [G,D] on the CPU, rows of unit length
    names       G names, for people to read; the paths of images that came from files
    modality    spectrum of the images
    identities  G labels, or None
    cameras     G integers, or None
    model       fingerprint of the model that made the features ("" when unknown)
    Raises ValueError for features that are not finite unit rows, or labels of another number.
    """

    features: Tensor
    names: tuple[str, ...]
    modality: Modality = Modality.INFRARED
    identities: tuple[Identity, ...] | None = None
    cameras: tuple[int, ...] | None = None
    model: str = ""

    def __post_init__(self) -> None:
        features = _checked(self.features, "gallery features")
        if len(features) and not torch.allclose(features.norm(dim=1), torch.ones(len(features)), atol=1e-3):
            raise ValueError("gallery features must be rows of unit length, as `encode` gives them")
        object.__setattr__(self, "features", features)
        object.__setattr__(self, "modality", Modality.parse(self.modality))
        for field in ("names", "identities", "cameras"):
            values = getattr(self, field)
            if values is None:
                continue
            if len(values) != len(features):
                raise ValueError(f"{len(features)} gallery images, but {len(values)} {field}")
            object.__setattr__(self, field, tuple(_LABELS[field](value) for value in values))

    def __len__(self) -> int:
        return len(self.names)

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
    ) -> Gallery:
        """A gallery of `images` (as `MTRL.encode` takes them). Names default to paths, else to row
        numbers.
        """
        for what, labels in (("identities", identities), ("cameras", cameras), ("names", names)):
            if labels is not None and len(labels) != len(images):
                raise ValueError(f"{len(images)} gallery images, but {len(labels)} {what}")
        return cls(
            features=model.encode(images, modality, batch_size),
            names=tuple(names) if names is not None else _default_names(images),
            modality=Modality.parse(modality),
            identities=None if identities is None else tuple(identities),
            cameras=None if cameras is None else tuple(cameras),
            model=model.fingerprint(),
        )

    def add(
        self,
        model: MTRL,
        images: Sequence[ImageSource] | Tensor,
        identities: Sequence[Identity] | None = None,
        cameras: Sequence[int] | None = None,
        names: Sequence[str] | None = None,
        batch_size: int = 64,
    ) -> Gallery:
        """A new gallery with `images` behind the present ones. Raises ValueError for another model, or when
        only one
        of the two has identities or cameras."""
        self.check_model(model)
        new = Gallery.build(model, images, self.modality, identities, cameras, names, batch_size)
        for field in ("identities", "cameras"):
            if (getattr(self, field) is None) != (getattr(new, field) is None):
                raise ValueError(f"either all images of a gallery have {field}, or none")
        return dataclasses.replace(
            self,
            features=torch.cat([self.features, new.features]),
            names=self.names + new.names,
            identities=None if self.identities is None else self.identities + (new.identities or ()),
            cameras=None if self.cameras is None else self.cameras + (new.cameras or ()),
        )

    def check_model(self, model: MTRL) -> None:
        """Raises ValueError unless `model` is the one that made this gallery (a gallery without record
        passes).
        """
        if self.model and self.model != model.fingerprint():
            raise ValueError(
                "this gallery was made with another model, whose features cannot be compared; build it again"
            )

    def search(self, features: Tensor, k: int = 10) -> tuple[Tensor, Tensor]:
        """The k nearest gallery rows of each query: (cosine float32 [Q,k] falling, row int64 [Q,k]).

        features [Q,D], or [D] for one query; any length, compared by direction. Equal scores come in gallery
        order. k is at most the gallery's size. Raises ValueError for an empty gallery, another D, or values
        not finite.
        """
        queries = _checked(features[None] if features.ndim == 1 else features, "query features")
        if not len(self):
            raise ValueError("the gallery is empty; add images to it first")
        if queries.shape[1] != self.features.shape[1]:
            raise ValueError(
                f"queries have {queries.shape[1]} dimensions, the gallery has {self.features.shape[1]}; "
                "both must come from the same model"
            )
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ValueError(f"k must be a positive integer, not {k!r}")
        k = min(k, len(self))
        queries = F.normalize(queries)
        blocks = [_top(q @ self.features.T, k) for q in queries.split(max(1, _BLOCK_ELEMENTS // len(self)))]
        return torch.cat([scores for scores, _ in blocks]), torch.cat([rows for _, rows in blocks])

    def matches(self, feature: Tensor, k: int = 10) -> list[Match]:
        """`search` for one query [D] or [1,D], with names and labels."""
        scores, rows = self.search(feature, k)
        if len(scores) != 1:
            raise ValueError(f"matches takes one query, not {len(scores)}; use search for several")
        identities = self.identities or (None,) * len(self)
        cameras = self.cameras or (None,) * len(self)
        found = zip(scores[0].tolist(), rows[0].tolist(), strict=True)
        return [
            Match(rank, score, row, self.names[row], identities[row], cameras[row])
            for rank, (score, row) in enumerate(found, start=1)
        ]

    def save(self, folder: str | Path) -> None:
        """Writes `gallery.json` and a features file into `folder`.

        The features file is named by its checksum, and the table, which holds it, is replaced last: a save
        that is cut off leaves the old gallery whole.
        """
        folder = Path(folder)
        tensors = {"features": self.features.contiguous()}
        digest = tensor_digest(tensors)
        table = {
            "format": FORMAT,
            "sha256": digest,
            "model": self.model,
            "modality": self.modality.name.lower(),
            "names": self.names,
            "identities": self.identities,
            "cameras": self.cameras,
        }
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(_features_file(folder, digest), save_tensors(tensors, metadata={"format": "pt"}))
        write_atomically(folder / TABLE, json.dumps(table, ensure_ascii=False).encode())
        for stale in folder.glob("features-*.safetensors"):
            if stale != _features_file(folder, digest):
                stale.unlink(missing_ok=True)

    @classmethod
    def load(cls, folder: str | Path) -> Gallery:
        """The gallery of a folder. Raises FileNotFoundError when it is not there, ValueError when it is
        damaged.
        """
        folder = Path(folder)
        if not (folder / TABLE).is_file():
            raise FileNotFoundError(
                f"{folder} is no gallery: it lacks {TABLE}; make one with `python -m mtrl index IMAGES --output DIR`"
            )
        table = _read_table(folder / TABLE)
        path = _features_file(folder, table["sha256"])
        if not path.is_file():
            raise FileNotFoundError(f"{folder} lacks {path.name}; build the gallery again")
        try:
            tensors = load_tensors(path.read_bytes())
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged ({error}); build the gallery again") from error
        if tensors.keys() != {"features"} or tensor_digest(tensors) != table["sha256"]:
            raise ValueError(f"{path} is damaged (its checksum differs); build the gallery again")
        try:
            return cls(
                tensors["features"],
                table["names"],
                Modality.parse(table["modality"]),
                table.get("identities"),
                table.get("cameras"),
                table["model"],
            )
        except ValueError as error:
            raise ValueError(f"{folder / TABLE}: {error}") from error


def _checked(features: Tensor, what: str) -> Tensor:
    if not isinstance(features, Tensor) or features.ndim != 2 or not features.is_floating_point():
        shape = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ValueError(f"{what} must be a floating tensor [N,D], not {shape}")
    features = features.detach().float().cpu()
    if not bool(torch.isfinite(features).all()):
        raise ValueError(f"{what} hold NaN or infinity")
    return features


def _identity(value: Any) -> Identity:
    return value if isinstance(value, str) else _camera(value)


def _camera(value: Any) -> int:
    """An integer, also one of NumPy or torch. Raises ValueError for anything else."""
    if isinstance(value, (bool, str)) or not hasattr(value, "__index__"):
        raise ValueError(f"a gallery label must be an integer (an identity may be text), not {value!r}")
    return int(value)


_LABELS: dict[str, Any] = {"names": str, "identities": _identity, "cameras": _camera}


def _default_names(images: Sequence[ImageSource] | Tensor) -> tuple[str, ...]:
    if isinstance(images, Tensor):
        return tuple(str(row) for row in range(len(images)))
    return tuple(
        str(image) if isinstance(image, (str, Path)) else str(row) for row, image in enumerate(images)
    )


def _top(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row, equal ones by rising index, which `topk` alone does not promise."""
    values, rows = scores.topk(k, dim=1)
    rows = rows.sort(dim=1).values
    values, order = scores.gather(1, rows).sort(dim=1, descending=True, stable=True)
    rows = rows.gather(1, order)
    # Where more than k rows reach the last score, topk may have left out one with a smaller index.
    for query in torch.nonzero((scores >= values[:, -1:]).sum(1) > k).flatten().tolist():
        rows[query] = scores[query].sort(descending=True, stable=True).indices[:k]
    return values, rows


def _features_file(folder: Path, digest: str) -> Path:
    return folder / f"features-{digest[:16]}.safetensors"


def _read_table(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}); build the gallery again") from error
    if not isinstance(table, dict) or table.get("format") != FORMAT:
        raise ValueError(f'{path} is no gallery of this library: it does not say "format": "{FORMAT}"')
    text, optional = (str,), (list, type(None))
    kinds = {"sha256": text, "model": text, "modality": text, "names": (list,)}
    for key, kind in {**kinds, "identities": optional, "cameras": optional}.items():
        if not isinstance(table.get(key), kind):
            raise ValueError(f"{path} lacks {key}, or it is of the wrong kind; build the gallery again")
    # It becomes part of a file name, and the table may be a stranger's: it must not lead out of the folder.
    if not _SHA256.fullmatch(table["sha256"]):
        raise ValueError(f"{path} holds no checksum; build the gallery again")
    return table
