"""Features of an image set, each image encoded once, with a cache on disk."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtrl.console.progress import Progress
from mtrl.data.code_digest import code_digest
from mtrl.data.imageset import ImageSet
from mtrl.files.atomic import write_atomically
from mtrl.models.checkpoint.wrappers import plain_state
from mtrl.models.reid import MTRL, evaluating

FEATURES = ("after", "before")
_HASHED_ROWS = 256


@dataclasses.dataclass(frozen=True)
class Extraction:
    """How features are made.

    feature     "after" | "before" the batch-normalisation neck
    flip        average the features of each image and of its mirror image
    batch_size  images per forward pass
    bf16        bfloat16 autocast: faster, a little coarser
    cache       folder for finished features, or None; a subclass of MTRL is always run, its code is not known
    progress    show progress on stderr
    """

    feature: str = "after"
    flip: bool = False
    batch_size: int = 64
    bf16: bool = False
    cache: Path | None = None
    progress: bool = False

    def __post_init__(self) -> None:
        if self.feature not in FEATURES:
            raise ValueError(f"feature must be one of {', '.join(FEATURES)}, not {self.feature!r}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {self.batch_size}")


def extract(
    model: MTRL, images: ImageSet, rows: NDArray[np.int64], how: Extraction | None = None
) -> NDArray[np.float32]:
    """float32 [len(rows), D], not normalised, for some rows of an image set.

    Works in evaluation mode on the model's device and leaves the model as it was. Raises ValueError when a
    feature is not finite.
    """
    how = how or Extraction()
    path = _cache_path(model, images, rows, how) if how.cache and type(model) is MTRL else None
    if path is not None and (cached := _read_cache(path, (len(rows), model.dim))) is not None:
        return cached
    result = np.empty((len(rows), model.dim), dtype=np.float32)
    bar = Progress[None](total=len(rows), title="encode", unit="image", show=how.progress, keep=False)
    with evaluating(model), torch.inference_mode(), bar:
        for start in range(0, len(rows), how.batch_size):
            part = rows[start : start + how.batch_size]
            result[start : start + len(part)] = _forward(model, images, part, how).cpu().numpy()
            bar.update(len(part))
    if not np.isfinite(result).all():
        raise ValueError("the model gives features that are not finite; its weights are damaged or diverged")
    if path is not None:
        _write_cache(path, result)
    return result


def _forward(model: MTRL, images: ImageSet, rows: NDArray[np.int64], how: Extraction) -> Tensor:
    pixels = torch.from_numpy(np.ascontiguousarray(images.images[rows]).transpose(0, 3, 1, 2))
    modality = torch.from_numpy(images.modalities[rows].astype(np.int64))
    x = model.preprocess(pixels)
    modality = modality.to(x.device)
    views = (x, x.flip(3)) if how.flip else (x,)
    with torch.autocast(x.device.type, torch.bfloat16, enabled=how.bf16):
        outputs = [model(view, modality) for view in views]
    chosen = [out.embedding if how.feature == "after" else out.pooled for out in outputs]
    return torch.stack([features.float() for features in chosen]).mean(dim=0)


def _cache_path(model: MTRL, images: ImageSet, rows: NDArray[np.int64], how: Extraction) -> Path:
    """A file name that changes with the model, the pixels, their order, the kind of feature, code and libraries."""
    code = code_digest("eval.features", "mtrl.models.reid")
    made_by = [code, torch.__version__, timm.__version__, model.mean.device.type]
    digest = hashlib.sha256()
    asked = [model.config.to_dict(), how.feature, how.flip, how.bf16]
    digest.update(json.dumps([asked, made_by], default=str).encode())
    for name, value in plain_state(model).items():
        digest.update(f"{name} {value.dtype} {list(value.shape)};".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    digest.update(f"{images.images.shape[1:]} {len(rows)};".encode())
    digest.update(images.modalities[rows].tobytes())
    for start in range(0, len(rows), _HASHED_ROWS):
        digest.update(np.ascontiguousarray(images.images[rows[start : start + _HASHED_ROWS]]).data)
    assert how.cache is not None
    return how.cache / f"features-{digest.hexdigest()[:32]}.safetensors"


def _read_cache(path: Path, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    """The stored features, or None when there are none or they are damaged (then they are made again)."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            features, checksum = file.get_tensor("features"), (file.metadata() or {}).get("sha256")
    except (SafetensorError, OSError):
        return None
    usable = features.shape == shape and features.dtype == np.float32
    return features if usable and checksum == _checksum(features) else None


def _write_cache(path: Path, features: NDArray[np.float32]) -> None:
    from safetensors.numpy import save

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, save({"features": features}, {"sha256": _checksum(features)}))


def _checksum(features: NDArray[np.float32]) -> str:
    return hashlib.sha256(np.ascontiguousarray(features).data).hexdigest()
