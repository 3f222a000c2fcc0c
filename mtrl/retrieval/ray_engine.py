"""Encoding on several machines with Ray Data (optional): images are read and decoded by tasks, encoded by actors.

The images are cut into shards of fixed rows. A shard's features become one file of a folder that all machines see,
written whole or not at all: a worker that dies costs its shard, which Ray gives to another one, and writing a shard
twice writes the same file. A run that was ended goes on with the shards that are missing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtrl.console.progress import Progress
from mtrl.data.video.thermal import check_scaling
from mtrl.files.atomic import make_folder, write_atomically
from mtrl.files.images import to_batch
from mtrl.files.levels import ValueRange
from mtrl.files.tensor_file import tensor_bytes
from mtrl.files.untrusted import open_tensors, outline
from mtrl.models.config import Modality
from mtrl.models.load import load_pretrained
from mtrl.models.reid import MTRL
from mtrl.models.spectrum import encode_each

SHARD = 1024


@dataclasses.dataclass(frozen=True)
class Work:
    """What every worker needs to know.

    checkpoint, revision, device  as `load_pretrained` takes them, on the worker's machine, where Ray chooses the GPU:
                "cuda", without a number
    parts       folder of the shards' files
    shard, batch_size  images of a file and of a forward pass
    """

    checkpoint: str | None
    revision: str | None
    device: str
    image_size: tuple[int, int]
    parts: str
    batch_size: int = 64
    value_range: ValueRange | None = None
    shard: int = SHARD


def encode_with_ray(
    model: MTRL,
    paths: Sequence[Path],
    modalities: Sequence[Modality],
    work: Work,
    workers: int,
    encoder: type[ShardEncoder] | None = None,
) -> Tensor:
    """Features float32 [N,D] of image files in their order, the same as `MTRL.encode` gives up to rounding.

    workers  actors that encode, each with one CPU (with a GPU, where the device is cuda)
    Ray is started on this machine unless it runs, or RAY_ADDRESS names a cluster. Raises ImportError without Ray,
    ValueError for an image that cannot be read.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError('--engine ray needs Ray: pip install "ray[data]>=2.40"') from error
    folder = Path(work.parts) / _digest(model, paths, modalities, work)
    make_folder(folder)
    work = dataclasses.replace(work, parts=str(folder))
    shards = range(-(-len(paths) // work.shard))
    left = [
        shard for shard in shards if not _is_whole(folder, shard, _size(shard, len(paths), work), model.dim)
    ]
    with Progress[None](
        total=len(shards), initial=len(shards) - len(left), title="encode", unit="shard"
    ) as bar:
        if left:
            ray.init(ignore_reinit_error=True, logging_level=logging.ERROR, include_dashboard=False)
            ray.data.DataContext.get_current().enable_progress_bars = False
            data = _pipeline(ray, paths, modalities, work, left, workers, encoder or ShardEncoder)
            for row in data.iter_rows():
                if row["failed"]:
                    raise ValueError(row["failed"])
                bar.update()
    missing = [s for s in shards if not _is_whole(folder, s, _size(s, len(paths), work), model.dim)]
    if missing:
        raise OSError(f"{len(missing)} shards are missing in {folder}; run the command again to make them")
    return torch.cat([read_part(folder, shard) for shard in shards])


def _pipeline(
    ray: Any,
    paths: Sequence[Path],
    modalities: Sequence[Modality],
    work: Work,
    shards: Sequence[int],
    workers: int,
    encoder: type[ShardEncoder],
) -> Any:
    """Streaming: shards of paths -> decoded images -> features in files. Nothing but shard numbers comes back."""
    rows = [
        {
            "shard": shard,
            "paths": [str(path.absolute()) for path in paths[shard * work.shard : (shard + 1) * work.shard]],
            "modalities": [int(value) for value in modalities[shard * work.shard : (shard + 1) * work.shard]],
        }
        for shard in shards
    ]
    data = ray.data.from_items(rows, override_num_blocks=len(rows))
    decoded = data.map(decode_shard, fn_kwargs={"work": work}, num_cpus=1)
    gpus = 1 if work.device.startswith("cuda") else 0
    return decoded.map(
        encoder,
        fn_constructor_args=(work,),
        concurrency=workers,
        num_cpus=0 if gpus else 1,
        num_gpus=gpus,
    )


def decode_shard(row: dict[str, Any], work: Work) -> dict[str, Any]:
    """Reads and resizes the images of a shard: uint8 [N,3,H,W].

    "failed" says what is wrong with an image that cannot be read, or was scaled otherwise, else it is "". An error that
    is raised here would lose its own type in Ray.
    """
    failed = ""
    try:
        paths = list(map(Path, row["paths"]))
        check_scaling(paths, [Modality(int(kind)) for kind in row["modalities"]], work.value_range)
        images = to_batch(paths, work.image_size, work.value_range)
    except (ValueError, OSError) as error:
        failed, images = str(error), torch.zeros(1, 3, *work.image_size)
    return {
        "shard": row["shard"],
        "images": images.mul_(255).round_().byte().numpy(),
        "modalities": row["modalities"],
        "failed": failed,
    }


class ShardEncoder:
    """An actor: the model, loaded once, and a file for each shard."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.model = load_pretrained(work.checkpoint, device=work.device, revision=work.revision)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        if row["failed"]:
            return {"shard": int(row["shard"]), "failed": row["failed"]}
        images, kinds = torch.tensor(row["images"]), [Modality(int(kind)) for kind in row["modalities"]]
        features = encode_each(self.model, images, kinds, self.work.batch_size)
        write_atomically(_part(Path(self.work.parts), row["shard"]), tensor_bytes({"features": features}, {}))
        return {"shard": int(row["shard"]), "failed": ""}


def read_part(folder: Path, shard: int) -> Tensor:
    """float32 [N,D], the features of a shard."""
    with open_tensors(_part(folder, shard)) as file:
        features: Tensor = file.get_tensor("features")
        return features


def _is_whole(folder: Path, shard: int, count: int, dim: int) -> bool:
    try:
        with open_tensors(_part(folder, shard)) as file:
            return outline(file).get("features") == ("F32", (count, dim))
    except (OSError, ValueError):
        return False


def _size(shard: int, count: int, work: Work) -> int:
    return min(work.shard, count - shard * work.shard)


def _part(folder: Path, shard: int) -> Path:
    return folder / f"part-{shard:06d}.safetensors"


def _digest(model: MTRL, paths: Sequence[Path], modalities: Sequence[Modality], work: Work) -> str:
    """Of everything that decides the features: parts of other images or another model are never mixed in."""
    files = [(str(path.absolute()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    told = [model.fingerprint(), files, list(map(int, modalities)), work.value_range, work.shard]
    return hashlib.sha256(json.dumps(told).encode("utf-8", "surrogateescape")).hexdigest()[:16]
