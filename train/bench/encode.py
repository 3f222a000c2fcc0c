"""Speed of encoding images, compared with the plain backbone and the same preprocessing."""

from __future__ import annotations

import copy
import importlib.util
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor, resize

from mtrl.models.backbone import default_config
from mtrl.models.export import INPUT, OUTPUT, export_onnx
from mtrl.models.reid import MTRL
from train.bench.table import Line, Options, paired

BATCH = 16
STORED = (600, 300)


def lines(options: Options) -> Iterator[Line]:
    """Measures encoding from tensors and from files, in bfloat16, and with ONNX Runtime if it is installed."""
    name, count = ("test_resnet", 32) if options.quick else ("resnet50", 64)
    torch.manual_seed(0)
    with torch.random.fork_rng():
        model = MTRL(default_config(name)).eval().to(options.device)
    size = model.config.image_size
    random = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=random)
    plain = copy.deepcopy(model)
    plain.backbone.body.to(memory_format=torch.contiguous_format)  # timm's default
    about = f"{count} images, {name}, {size[0]} x {size[1]}"
    yield _line(f"{about}, in memory", paired(lambda: _run(model, images), lambda: _plain(plain, images),
                options.repeats), count, "plain timm backbone, same preprocessing")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        files = _write(Path(folder), count)
        yield _line(f"{about}, JPEG files of {STORED[0]} x {STORED[1]}", paired(lambda: _run(model, files),
                    lambda: _plain_files(plain, files), options.repeats), count,
                    "plain backbone, files read one after the other")  # fmt: skip
    fine, coarse = model.encode(images, batch_size=BATCH), model.encode(images, batch_size=BATCH, bf16=True)
    note = f"least cosine to float32 {float((fine * coarse).sum(1).min()):.5f}"
    yield _line(f"{about}, bfloat16", paired(lambda: _run(model, images, bf16=True), lambda: _run(model, images),
                options.repeats), count, "float32", note)  # fmt: skip
    if all(map(importlib.util.find_spec, ("onnx", "onnxruntime", "onnxscript"))):
        yield _onnx(model.cpu(), images, about, options)


def _onnx(model: MTRL, images: Tensor, about: str, options: Options) -> Line:
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        cosine = export_onnx(model, path)
        choices = onnxruntime.SessionOptions()
        choices.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(path, choices, providers=["CPUExecutionProvider"])

        def run() -> None:
            for part in images.split(BATCH):
                session.run([OUTPUT], {INPUT: (part.float() / 255).numpy()})

        timed = paired(run, lambda: _run(model, images), options.repeats)
    return _line(f"{about}, ONNX Runtime on the CPU", timed, len(images), "torch on the CPU",
                 f"least cosine to torch {cosine:.5f}")  # fmt: skip


def _line(what: str, timed: tuple[float, float | None], count: int, name: str, note: str = "") -> Line:
    return Line("encode", what, count / timed[0], count / (timed[1] or 1), name, "images/s", True, note)


def _run(model: MTRL, images: Sequence[Path] | Tensor, bf16: bool = False) -> None:
    model.encode(images, batch_size=BATCH, bf16=bf16)


@torch.inference_mode()
def _plain(model: MTRL, images: Tensor) -> None:
    """The baseline, as a short script does it: scale, normalise, features, mean over the map, unit length."""
    body: Any = model.backbone.body
    for part in images.split(BATCH):
        x = (part.to(model.mean.device).float() / 255 - model.mean) / model.std
        F.normalize(body.forward_features(x).mean((2, 3))).cpu()


@torch.inference_mode()
def _plain_files(model: MTRL, files: Sequence[Path]) -> None:
    for start in range(0, len(files), BATCH):
        decoded = [pil_to_tensor(Image.open(path).convert("RGB")) for path in files[start : start + BATCH]]
        size = list(model.config.image_size)
        _plain(model, torch.stack([resize(image, size, antialias=True) for image in decoded]))


def _write(folder: Path, count: int) -> list[Path]:
    """Writes JPEG files of smooth colour noise, which take about as long to decode as photographs."""
    random = np.random.default_rng(0)
    paths = [folder / f"{row}.jpg" for row in range(count)]
    for path in paths:
        small = Image.fromarray(random.integers(0, 256, (STORED[0] // 8, STORED[1] // 8, 3), dtype=np.uint8))
        small.resize(STORED[::-1], Image.Resampling.BICUBIC).save(path, quality=90)
    return paths
