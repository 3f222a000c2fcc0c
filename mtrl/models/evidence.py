"""Evidence maps: which regions of two images increase the similarity of their embeddings."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtrl.files.images import ImageSource
from mtrl.files.levels import ValueRange
from mtrl.models.config import Modality
from mtrl.models.reid import MTRL, evaluating


def evidence_maps(
    model: MTRL,
    first: ImageSource | Tensor,
    second: ImageSource | Tensor,
    first_modality: str | int | Modality = "visible",
    second_modality: str | int | Modality = "infrared",
    value_range: ValueRange | None = None,
) -> tuple[Tensor, Tensor]:
    """Evidence maps of two images: two float32 [H,W] in [0,1], on the CPU. H, W are the model's image size.

    first, second  images, or tensors [3,h,w], uint8 or floating in [0,1]
    value_range    scales images of more than 8 bits, as in `MTRL.encode`

    With the unit embeddings f and f' of both images, and the feature map A of one image with channels c,

        E(place) = max(0, sum_c dS/dA_c(place) A_c(place)),    S = f . f' with the embeddings' lengths held constant,

    resized bilinearly and divided by its largest value. A map without evidence is 0 everywhere. This is Grad-CAM
    (Selvaraju et al., arXiv 1610.02391) with the product taken at each place (HiResCAM, Draelos and Carin, arXiv
    2011.08891) and with a similarity instead of a class score. The lengths are held constant because the gradient of
    the cosine itself vanishes where images agree best. A is the last feature map in the backbone on which S depends at
    more than one place: in a CNN the last map, in a ViT with a class token the patch tokens that enter the last block.

    A map shows where the similarity comes from, not whether it is right. It has the resolution of A. The model's
    weights, gradients, mode and random state are not changed, and several threads may call this at once. Raises
    ValueError or OSError for an image that cannot be read, and ValueError if the backbone has no such feature map.
    """
    return likeness(model, first, second, first_modality, second_modality, value_range)[0]


def resemblance(
    model: MTRL,
    first: ImageSource | Tensor,
    second: ImageSource | Tensor,
    first_modality: str | int | Modality = "visible",
    second_modality: str | int | Modality = "infrared",
    value_range: ValueRange | None = None,
) -> Tensor:
    """Cosine of every place of the first image to every place of the second: float32 [h,w,h,w], on the CPU.

    Places are those of the feature map A of `evidence_maps`, compared by their channels: [i,j,m,n] belongs to row i and
    column j of the first map, row m and column n of the second. Arguments and errors as there.
    """
    return likeness(model, first, second, first_modality, second_modality, value_range)[1]


def likeness(
    model: MTRL,
    first: ImageSource | Tensor,
    second: ImageSource | Tensor,
    first_modality: str | int | Modality = "visible",
    second_modality: str | int | Modality = "infrared",
    value_range: ValueRange | None = None,
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """What `evidence_maps` and `resemblance` give, from one pass of both images. Arguments and errors as there."""
    gradient, values = _last_map(model, first, second, first_modality, second_modality, value_range)
    maps = (gradient * values).sum(1).clamp(min=0).float()
    maps = F.interpolate(maps[:, None], model.config.image_size, mode="bilinear", align_corners=False)[:, 0]
    peak = maps.amax((1, 2), keepdim=True)
    maps = torch.where(peak > 0, maps / peak.clamp(min=torch.finfo(maps.dtype).tiny), 0).clamp(0, 1).cpu()
    a, b = F.normalize(values.float(), dim=1).cpu()
    return (maps[0], maps[1]), torch.einsum("cij,cmn->ijmn", a, b).clamp(-1, 1)


def _last_map(
    model: MTRL,
    first: ImageSource | Tensor,
    second: ImageSource | Tensor,
    first_modality: str | int | Modality,
    second_modality: str | int | Modality,
    value_range: ValueRange | None,
) -> tuple[Tensor, Tensor]:
    """The gradient of the similarity at the feature map A of both images, and the map: [2,C,h,w] each."""
    images = torch.cat([model.preprocess(_one(source), value_range) for source in (first, second)])
    kinds = [int(Modality.parse(kind)) for kind in (first_modality, second_modality)]
    modality = torch.tensor(kinds, device=images.device)
    with torch.inference_mode(False), torch.enable_grad(), evaluating(model):
        # The input requires a gradient, so that outputs of a frozen network have one too.
        with _recorded(model.backbone) as outputs:
            embedding = model(images.clone().requires_grad_(), modality).embedding
        unit = embedding / embedding.detach().norm(dim=1, keepdim=True).clamp(min=1e-12)
        gradient, values = _found(model, (unit[0] * unit[1]).sum(), outputs)
    return gradient, values


def _one(source: ImageSource | Tensor) -> Any:
    return source[None] if isinstance(source, Tensor) else [source]


@contextmanager
def _recorded(backbone: nn.Module) -> Iterator[list[Tensor]]:
    """Context manager: records the outputs of all modules in a list, in the order of the calls, of this thread only."""
    outputs: list[Tensor] = []
    owner = threading.get_ident()

    def note(module: nn.Module, arguments: Any, output: Any) -> None:
        if threading.get_ident() == owner and isinstance(output, Tensor) and output.requires_grad:
            outputs.append(output)

    handles = [module.register_forward_hook(note) for module in backbone.modules()]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _found(model: MTRL, similarity: Tensor, outputs: list[Tensor]) -> Tensor:
    """[2,2,C,h,w]: gradient and value of the last output on which the similarity depends at more than one place."""
    for output in reversed(outputs):
        if output.ndim not in (3, 4) or len(output) != 2 or model.dim not in output.shape[1:]:
            continue
        gradient = torch.autograd.grad(similarity, output, retain_graph=True, allow_unused=True)[0]
        if gradient is None:
            continue
        places = _places(model, torch.stack([gradient, output.detach()]))
        if places is not None and (places[0] != 0).any(1).sum((1, 2)).max() > 1:
            return places
    raise ValueError(f"no feature map was found in {model.config.backbone}: evidence needs one with places")


def _places(model: MTRL, values: Tensor) -> Tensor | None:
    """Stacked maps [2,2,C,h,w] or [2,2,h,w,C], or tokens [2,2,N,C] -> [2,2,C,h,w]; None for anything else."""
    if values.ndim == 5:
        last = getattr(model.backbone.body, "output_fmt", None) == "NHWC" or values.shape[2] != model.dim
        values = values.movedim(-1, 2) if last else values
        return values if values.shape[2] == model.dim and values[0, 0, 0].numel() > 1 else None
    if values.shape[-1] != model.dim:
        return None
    height, width = _grid(model)
    tokens = values[:, :, values.shape[2] - height * width :]  # class and register tokens come first
    return tokens.movedim(-1, 2).unflatten(-1, (height, width)) if tokens.shape[2] == height * width else None


def _grid(model: MTRL) -> tuple[int, int]:
    """(rows, columns) of a token model's patches; (0, 0) if timm does not give them."""
    size = getattr(getattr(model.backbone.body, "patch_embed", None), "grid_size", None)
    return (int(size[0]), int(size[1])) if size else (0, 0)
