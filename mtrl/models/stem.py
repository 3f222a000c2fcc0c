"""Stems that know the modality: the first layers of a timm model, taken out of it.

- "dual": infrared images have their own copy of the stem, which starts with equal weights.
- "embedding": one stem; while the model is trained, a learned vector is added to what the stem gives for visible
  images, and subtracted for infrared ones, at each place. In evaluation it is left out, which is the middle of the two:
  the network then computes what it would with a shared stem. It is the side information of TransReID (He et al., ICCV
  2021) with modalities for cameras.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from mtrl.models.config import Modality, ModelConfig

# Names of the first modules in timm's families of models, in the order in which `forward_features` runs them.
_STEMS = (("conv1", "bn1", "act1", "maxpool"), ("conv_stem", "bn1"), ("patch_embed",), ("stem",))


class Stems(nn.ModuleList):
    """The stem of a timm model, taken out of it: one module, or two equal ones with "dual".

    body  the timm model; modules that pass on their input stand in the place of its stem afterwards
    Raises ValueError for a model whose stem is not known.
    """

    def __init__(self, body: nn.Module, config: ModelConfig) -> None:
        stem = _take_stem(body, config.backbone)
        super().__init__([stem, copy.deepcopy(stem)] if config.stem == "dual" else [stem])
        self.name = config.backbone

    def forward(self, images: Tensor, modality: Tensor | Modality | None = None) -> Tensor:
        """Images [B,3,H,W] -> what the stem gives, a map or tokens. `modality`: integers [B], or one for all images.

        Raises ValueError where there are two stems and the modality is missing or wrong.
        """
        if len(self) == 1:
            return _tensor(self[0](images), self.name)
        modality = _checked(modality, images, "dual")
        if not isinstance(modality, Tensor):
            return _tensor(self[int(modality)](images), self.name)
        rows = [torch.nonzero(modality == value).flatten() for value in Modality]
        order = torch.cat(rows)
        if len(order) != len(images):
            raise ValueError("modality must hold 0 (visible) or 1 (infrared) for each image")
        parts = [
            _tensor(stem(images[own]), self.name) for stem, own in zip(self, rows, strict=True) if len(own)
        ]
        return torch.cat(parts)[torch.argsort(order)]


class ModalityEmbedding(nn.Module):
    """A learned vector that is added to what the stem gives for visible images, and subtracted for infrared ones.

    It starts as zeros. `stems` are those of the backbone: their last convolution says how many channels there are.
    """

    def __init__(self, stems: Stems) -> None:
        super().__init__()
        found = [module.out_channels for module in stems.modules() if isinstance(module, nn.Conv2d)]
        if not found:
            raise _no_stem(stems.name)
        self.vector = nn.Parameter(torch.zeros(found[-1]))
        # Only timm's patches can come as maps with the channels last.
        self.channels_last = getattr(getattr(stems[0], "patch_embed", None), "output_fmt", None) == "NHWC"

    def forward(self, x: Tensor, modality: Tensor | Modality | None) -> Tensor:
        """Tokens [B,N,C], or maps [B,C,H,W] or [B,H,W,C] -> the same with the vector."""
        modality = _checked(modality, x, "embedding")
        sign = 1 - 2 * torch.as_tensor(modality, device=x.device).to(x.dtype)  # +1 visible, -1 infrared
        places = 0 if x.ndim == 3 or self.channels_last else x.ndim - 2  # axes behind the channels
        vector = self.vector.to(x.dtype).view(-1, *[1] * places)
        return x + sign.view(-1, *[1] * (x.ndim - 1)) * vector


def _checked(modality: Tensor | Modality | None, images: Tensor, stem: str) -> Tensor | Modality:
    """The modality as it was given. Raises ValueError for none, or for another number of entries than of images."""
    if modality is None:
        raise ValueError(f'a model with stem="{stem}" needs the modality of each image')
    if isinstance(modality, Tensor) and modality.shape != images.shape[:1]:
        raise ValueError(f"modality must have one entry per image, not {list(modality.shape)}")
    return modality


class _Passage(nn.Identity):
    """Replaces a module of a removed stem. Returns its input, and has the attributes that timm reads, as the grid."""

    def __init__(self, replaced: nn.Module) -> None:
        super().__init__()
        for name, value in vars(replaced).items():
            if not name.startswith("_") and name != "training":
                setattr(self, name, value)


def _take_stem(body: nn.Module, name: str) -> nn.Sequential:
    """Removes the stem (the first layers) from a timm model, puts `_Passage` modules in its place, and returns it.

    Raises ValueError for a model whose stem is not known.
    """
    for names in _STEMS:
        if all(isinstance(getattr(body, part, None), nn.Module) for part in names):
            stem = nn.Sequential()
            for part in names:
                module = getattr(body, part)
                stem.add_module(part, module)
                setattr(body, part, _Passage(module))
            return stem
    raise _no_stem(name)


def _tensor(x: Any, name: str) -> Tensor:
    if not isinstance(x, Tensor):  # a stem that returns more than a feature map
        raise _no_stem(name)
    return x


def _no_stem(name: str) -> ValueError:
    families = "ResNet, EfficientNet, MobileNet, ViT, Swin, ConvNeXt and RegNet families"
    return ValueError(f'a stem other than "shared" is known for {families}, not for {name}')
