"""The configuration of a model, `ModelConfig` (stored in `config.json` of every checkpoint), and the modalities."""

from __future__ import annotations

import dataclasses
from enum import IntEnum
from typing import Any

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
STEMS = ("shared", "dual", "embedding")
POOLINGS = ("auto", "gem", "avg", "token")


class Modality(IntEnum):
    """The spectrum in which an image was taken. Stored as a small integer beside each image."""

    VISIBLE = 0
    INFRARED = 1

    @classmethod
    def parse(cls, value: str | int | Modality) -> Modality:
        """`"visible"`, `"infrared"`, 0, 1 or a `Modality`. Raises ValueError for anything else."""
        if isinstance(value, str):
            try:
                return cls[value.strip().upper()]
            except KeyError:
                pass
        elif value in (0, 1):
            return cls(value)
        raise ValueError(f'modality must be "visible" or "infrared", not {value!r}')


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The architecture of a model: all that is needed to build it, apart from its weights.

    backbone       timm model name
    image_size     (height, width) in pixels that images are resized to
    mean, std      per-channel normalisation of images in [0, 1]
    stem           "shared"; "dual": one copy of the first layers per modality; "embedding": one that adds a vector
                   for the modality, in training alone (see `mtrl.models.stem`)
    pooling        "gem" | "avg" for feature maps; token models also take "token" (class token, else mean of tokens).
                   "auto" is replaced by the one that suits the backbone when the model is built
    last_stride    stride of a ResNet's last stage; 1 keeps a finer map and is usual in re-identification
    patch_stride   pixels from one patch of a vision transformer to the next: below its size they overlap; 0: its size
    backbone_args  further keyword arguments for timm (JSON values), e.g. {"channels": [32, 64, 128, 256]}
    num_identities number of training identities in the classifier; 0 for a model without classifier
    """

    backbone: str = "resnet50"
    image_size: tuple[int, int] = (288, 144)
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    stem: str = "shared"
    pooling: str = "auto"
    last_stride: int = 1
    patch_stride: int = 0
    backbone_args: dict[str, Any] = dataclasses.field(default_factory=dict)
    num_identities: int = 0

    def __post_init__(self) -> None:
        for name in ("image_size", "mean", "std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        _require(isinstance(self.backbone, str) and self.backbone != "", "backbone must name a timm model")
        _require(
            len(self.image_size) == 2 and all(type(n) is int and 16 <= n <= 2048 for n in self.image_size),
            f"image_size must be (height, width) with 16 to 2048 pixels each, not {self.image_size}",
        )
        _require(len(self.mean) == 3 and len(self.std) == 3, "mean and std must have three values each")
        numbers = (*self.mean, *self.std)
        _require(
            all(isinstance(v, (int, float)) and type(v) is not bool and abs(v) < 1e6 for v in numbers),
            f"mean and std must be finite numbers, not {numbers}",
        )
        _require(all(value >= 1e-6 for value in self.std), f"std must be positive, not {self.std}")
        _require(self.stem in STEMS, f"stem must be one of {STEMS}, not {self.stem!r}")
        _require(self.pooling in POOLINGS, f"pooling must be one of {POOLINGS}, not {self.pooling!r}")
        _require(
            type(self.last_stride) is int and self.last_stride in (1, 2),
            f"last_stride must be 1 or 2, not {self.last_stride!r}",
        )
        _require(
            type(self.patch_stride) is int and 0 <= self.patch_stride <= 64,
            f"patch_stride must be 0 to 64 pixels, not {self.patch_stride!r}",
        )
        _require(isinstance(self.backbone_args, dict), "backbone_args must be a mapping")
        _require(
            type(self.num_identities) is int and 0 <= self.num_identities <= 10_000_000,
            f"num_identities must be a count, not {self.num_identities!r}",
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping; `from_dict` is its inverse.

        What is switched off and older versions do not know is left out: they read the file, and fingerprints stay.
        """
        values = dataclasses.asdict(self)
        return {name: value for name, value in values.items() if name != "patch_stride" or value}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Strict inverse of `to_dict`. Raises ValueError for an unknown key or an impossible value."""
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        _require(not unknown, f"unknown model setting {unknown}; known are {sorted(known)}")
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"bad model settings: {error}") from error


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
