"""Exports a model to ONNX (optional), and compares the exported file with the model before it is kept.

The file's input `images` is float32 [N,3,H,W] with values in [0,1] and any N, already resized to the model's size
(antialiased bilinear, as in `mtrl.files.images.to_batch`). The normalisation by mean and standard deviation is part of
the file. Its output `embeddings` is float32 [N,D] with rows of unit length.
"""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtrl.files.atomic import write_atomically
from mtrl.models.checkpoint.wrappers import unwrapped
from mtrl.models.config import Modality
from mtrl.models.reid import MTRL

INPUT, OUTPUT = "images", "embeddings"
RECORD = "mtrl"
LEAST_COSINE = 0.9999
LEAST_COSINE_HALF = 0.999
_OPSET = 18


class _Encoder(nn.Module):
    """The exported network: images [N,3,H,W] in [0,1] -> embeddings [N,D], rows of unit length.

    half  computes the backbone in float16
    """

    def __init__(self, model: MTRL, modality: Modality | None, half: bool) -> None:
        super().__init__()
        self.backbone = model.backbone.half() if half else model.backbone
        self.norm = model.neck.norm
        self.dtype = torch.float16 if half else torch.float32
        self.modality = modality
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", model.mean.clone())
        self.register_buffer("std", model.std.clone())

    def forward(self, images: Tensor) -> Tensor:
        x = ((images - self.mean) / self.std).to(self.dtype)
        return F.normalize(self.norm(self.backbone(x, self.modality).float()))


def export_onnx(
    model: MTRL, path: str | Path, modality: str | int | Modality | None = None, *, half: bool = False
) -> float:
    """Writes `model` as one ONNX file. Returns the smallest cosine between their embeddings of random images.

    modality  required for a model with a dual stem, whose file is for one modality; other files are for both
    half      True computes and stores the backbone in float16; input and output stay float32. A model that was
              converted to another type is exported in float32 otherwise
    The file's metadata have an entry "mtrl": JSON with image_size, dim, modality, fingerprint and half. If the
    embeddings differ too much, no file is written. Raises ValueError for that and for a missing modality, ImportError
    without onnx, onnxruntime and onnxscript, and OSError if the file cannot be written.
    """
    onnx = _packages()
    path = Path(path)
    kind = None if modality is None else Modality.parse(modality)
    if model.config.stem == "dual" and kind is None:
        raise ValueError(
            "this model has a stem for each modality: export one file for visible and one for infrared"
        )
    encoder = _Encoder(unwrapped(copy.deepcopy(model)).cpu().float().eval(), kind, half).eval()
    content = _to_onnx(encoder, model.config.image_size)
    graph = onnx.load_from_string(content)
    # Removes stack traces, which hold paths of this machine and vary between runs.
    for node in graph.graph.node:
        del node.metadata_props[:]
    record = {
        "image_size": list(model.config.image_size),
        "dim": model.dim,
        "modality": "any" if model.config.stem != "dual" or kind is None else kind.name.lower(),
        "fingerprint": model.fingerprint(),
        "half": half,
    }
    onnx.helper.set_model_props(graph, {RECORD: json.dumps(record)})
    content = graph.SerializeToString()
    cosine = _least_cosine(content, copy.deepcopy(model).float(), kind)
    least = LEAST_COSINE_HALF if half else LEAST_COSINE
    if not cosine >= least:
        raise ValueError(
            f"the exported graph disagrees with the model: cosine {cosine:.6f}, below {least}; nothing was written"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
    return cosine


def _packages() -> Any:
    try:
        import onnx
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'export needs three packages: pip install onnx onnxruntime "onnxscript>=0.6"'
        ) from error
    return onnx


def _to_onnx(encoder: nn.Module, size: tuple[int, int]) -> bytes:
    example = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        with torch.no_grad():
            torch.onnx.export(
                encoder,
                (example,),
                str(file),
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1, max=65536)}},
                opset_version=_OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        return file.read_bytes()


def _least_cosine(content: bytes, model: MTRL, modality: Modality | None) -> float:
    """The smallest cosine between the ONNX file's embeddings and the model's, for batches of one and three images."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    random = torch.Generator().manual_seed(1)
    least = 1.0
    for count in (1, 3):
        images = torch.rand(count, 3, *model.config.image_size, generator=random)
        got = torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])
        wanted = model.encode(images, modality or Modality.VISIBLE)
        least = min(least, float((got * wanted).sum(1).min()), float(F.cosine_similarity(got, wanted).min()))
    return least
