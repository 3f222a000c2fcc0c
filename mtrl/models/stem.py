"""Stems that know the modality: the first layers of a timm model, taken out of it.

- "dual": infrared images have their own copy of the stem, which starts with equal weights.
- "embedding": one stem; while the model is trained, one learned vector is added to what the stem gives for visible
  images, and subtracted for infrared ones, at each place. In evaluation it is left out, which is the middle of the two:
  the network then computes what it would with a shared stem. It is the side information of TransReID (He et al., ICCV
  2021) with modalities for cameras. A transition image counts as what its translator says, mostly infrared.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from timm.layers.patch_embed import PatchEmbed
from torch import Tensor, nn

from mtrl.models.config import Modality, ModelConfig

EMBEDDING = "modality_embedding"
"""The embedding's name within a backbone, and so a part of its parameter's name."""

# Names of the first modules in timm's families of models, in the order in which `forward_features` runs them.
_FIRST_LAYERS = (("conv1", "bn1", "act1", "maxpool"), ("conv_stem", "bn1"), ("patch_embed",), ("stem",))


def take_stems(body: nn.Module, config: ModelConfig) -> nn.ModuleList:
    """The stem of a timm model, taken out of it: one module, or two equal ones with "dual".

    Modules that pass on their input stand in its place afterwards. Raises ValueError for an unknown kind of stem.
    """
    stem = _take_stem(body, config.backbone)
    return nn.ModuleList([stem, copy.deepcopy(stem)] if config.stem == "dual" else [stem])


def through_stems(
    stems: nn.ModuleList, images: Tensor, modality: Tensor | Modality | None, name: str
) -> Tensor:
    """Images [B,3,H,W] -> what their stem gives, a map or tokens. `modality`: integers [B], or one for all images.

    name  of the backbone, for messages. Raises ValueError for two stems where the modality is missing or wrong
    """
    if len(stems) == 1:
        return _tensor(stems[0](images), name)
    modality = _checked(modality, images, "dual")
    if not isinstance(modality, Tensor):
        return _tensor(stems[int(modality)](images), name)
    rows = [torch.nonzero(modality == value).flatten() for value in Modality]
    order = torch.cat(rows)
    if len(order) != len(images):
        raise ValueError("modality must hold 0 (visible) or 1 (infrared) for each image")
    parts = [_tensor(stem(images[own]), name) for stem, own in zip(stems, rows, strict=True) if len(own)]
    return torch.cat(parts)[torch.argsort(order)]


class ModalityEmbedding(nn.Module):
    """A learned vector that is added to what the stem gives for visible images, and subtracted for infrared ones.

    It starts as zeros. Its length is the number of channels of the stem's last convolution. Raises ValueError where it
    is not known on which axis the channels lie.
    """

    def __init__(self, stem: nn.Module, body: nn.Module, name: str) -> None:
        super().__init__()
        channels = [module.out_channels for module in stem.modules() if isinstance(module, nn.Conv2d)]
        embed = getattr(stem, "patch_embed", None)
        last = getattr(embed or body, "output_fmt", None) == "NHWC"
        if not channels or (last and embed is None) or not isinstance(embed, (PatchEmbed, type(None))):
            raise _no_stem(name)
        self.vector = nn.Parameter(torch.zeros(channels[-1]))
        self.channels_last = last
        self.name = name

    def forward(self, x: Tensor, modality: Tensor | Modality | None) -> Tensor:
        """Tokens [B,N,C], or maps [B,C,H,W] or [B,H,W,C] -> the same with the vector."""
        modality = torch.as_tensor(_checked(modality, x, "embedding"), device=x.device)
        sign = torch.where(modality == int(Modality.VISIBLE), 1.0, -1.0).to(x.dtype)
        axis = -1 if x.ndim == 3 or self.channels_last else 1
        if x.shape[axis] != len(self.vector):
            raise _no_stem(self.name)
        vector = self.vector.to(x.dtype).view(-1, *[1] * (x.ndim - 2 if axis == 1 else 0))
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
    for names in _FIRST_LAYERS:
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
