"""The backbone: any timm model with pooling, which gives one feature vector per image."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers.patch_embed import PatchEmbed
from timm.models.resnet import ResNet
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from mtrl.models.config import Modality, ModelConfig
from mtrl.models.head import pool, suitable_pooling
from mtrl.models.pretrained import check_complete, read_weights
from mtrl.models.stem import ModalityEmbedding, take_stems, through_stems

# Modules that only timm's classifier uses.
_HEADS = ("head", "head_dist", "fc", "fc_norm", "classifier", "attn_pool")
# Arguments of timm that this module sets itself, or that could read files or the network.
_RESERVED = {
    "checkpoint_path", "cache_dir", "device", "dtype", "feature_cfg", "features_only", "global_pool", "img_size",
    "in_chans", "model_name", "num_classes", "out_indices",
}  # fmt: skip


class Backbone(nn.Module):
    """A timm model with pooling: images [B,3,H,W] -> pooled features [B,D], float32.

    What a stem other than "shared" does is told in `mtrl.models.stem`. The layers behind the stem are shared.
    """

    def __init__(self, config: ModelConfig, pretrained: bool | str | Path = False) -> None:
        super().__init__()
        self.name = config.backbone
        weights = None if isinstance(pretrained, bool) else read_weights(pretrained)
        self.body = _create(config, bool(pretrained), weights)
        self.dim = int(self.body.num_features)
        for name in _HEADS:
            if isinstance(getattr(self.body, name, None), nn.Module):
                setattr(self.body, name, nn.Identity())
        if weights is not None:
            try:
                check_complete(weights, self.body)
            except RuntimeError as error:
                raise _pretrained_error(config, error) from error
        if config.last_stride == 1 and isinstance(self.body, ResNet):
            keep_last_stage_resolution(self.body)
        self.pooling = config.pooling if config.pooling != "auto" else self._suitable(config.image_size)
        self.stems: nn.ModuleList | None = None
        self.modality_embedding: ModalityEmbedding | None = None
        if config.stem != "shared":
            self.change_stem(config)

    def change_stem(self, config: ModelConfig) -> None:
        """Makes of the shared stem the one of `config`: two equal ones, or one with an embedding of zeros."""
        self.stems = take_stems(self.body, config)
        if config.stem == "embedding":
            self.modality_embedding = ModalityEmbedding(self.stems[0], self.body, self.name)

    def forward(self, images: Tensor, modality: Tensor | Modality | None = None) -> Tensor:
        """Images [B,3,H,W] -> pooled features [B,D], float32.

        modality  integers [B], or one for all images; needed by a dual stem, and by an embedding in training
        """
        x = images if self.stems is None else through_stems(self.stems, images, modality, self.name)
        if self.modality_embedding is not None and self.training:
            x = self.modality_embedding(x, modality)
        x = self._checked(self.body.forward_features(x))
        prefix = int(getattr(self.body, "num_prefix_tokens", self._class_token))
        with torch.autocast(x.device.type, enabled=False):
            return pool(
                x,
                self.pooling,
                channels_last=self._channels_last,
                prefix_tokens=prefix,
                class_token=self._class_token,
            )

    @property
    def _channels_last(self) -> bool:
        return getattr(self.body, "output_fmt", None) == "NHWC"

    @property
    def _class_token(self) -> bool:
        return getattr(self.body, "cls_token", None) is not None

    def _checked(self, x: Any) -> Tensor:
        """Returns timm's features. Raises ValueError unless they are a map or tokens of the expected channels."""
        axis = 1 if getattr(x, "ndim", 0) == 4 and not self._channels_last else -1
        if not isinstance(x, Tensor) or x.ndim not in (3, 4) or x.shape[axis] != self.dim:
            raise ValueError(
                f"a {type(self.body).__name__} gives features {list(getattr(x, 'shape', []))}; "
                f"expected a map or tokens with {self.dim} channels, so choose another backbone"
            )
        return x

    def _suitable(self, size: tuple[int, int]) -> str:
        """The pooling that replaces "auto". Features of two noise images show whether features can be negative."""
        if next(self.body.parameters()).is_meta:
            return "auto"  # a model on the meta device has no values; `pool` refuses "auto"
        noise = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0), device="cpu")
        noise = noise.to(next(self.body.parameters()))
        training = self.body.training
        try:
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                x = self._checked(self.body.eval().forward_features(noise))
        except RuntimeError as error:
            raise ValueError(
                f"{self.name} cannot work on images of {size[0]} x {size[1]}: {error}; choose another size"
            ) from error
        finally:
            self.body.train(training)
        timm_pool = getattr(self.body, "global_pool", "")
        return suitable_pooling(x, class_token=self._class_token, timm_pool=str(timm_pool))


def default_config(backbone: str, image_size: tuple[int, int] = (288, 144), **options: Any) -> ModelConfig:
    """A `ModelConfig` with the mean and std for which timm's weights of this backbone were trained.

    options  further fields of `ModelConfig`
    Needs no network. Raises ValueError for a name that timm does not know.
    """
    cfg = _timm_config(backbone)
    values: dict[str, Any] = {"mean": tuple(cfg.mean), "std": tuple(cfg.std)}
    return dataclasses.replace(ModelConfig(backbone, image_size), **{**values, **options})


def _timm_config(backbone: str) -> Any:
    # With a colon in the name ("hf-hub:...", "local-dir:..."), timm would read from the network or a folder.
    if ":" in backbone or not timm.is_model(backbone):
        near = ", ".join(timm.list_models(f"*{backbone.split('_')[0][:12]}*")[:5])
        raise ValueError(f"timm knows no model {backbone!r}" + (f"; it has {near}" if near else ""))
    return timm.get_pretrained_cfg(backbone)


def _create(config: ModelConfig, pretrained: bool, weights: Mapping[str, Tensor] | None) -> Any:
    cfg = _timm_config(config.backbone)
    reserved = sorted(k for k in config.backbone_args if k in _RESERVED or k.startswith("pretrained"))
    if reserved:
        raise ValueError(f"backbone_args may not set {reserved}")
    values: dict[str, Any] = dict(config.backbone_args)
    if cfg.fixed_input_size:
        values["img_size"] = config.image_size
    if config.patch_stride:
        values["img_size"] = unfolded_size(config)
    if weights is not None:
        values["pretrained_cfg_overlay"] = {"state_dict": dict(weights)}
    try:
        body: Any = timm.create_model(config.backbone, pretrained=pretrained, num_classes=0, **values)
    except Exception as error:
        if pretrained:
            raise _pretrained_error(config, error) from error
        if isinstance(error, (OSError, MemoryError)):
            raise
        raise ValueError(
            f"timm cannot build {config.backbone} for images of {config.image_size} with backbone_args "
            f"{config.backbone_args}: {error}"
        ) from error
    for kept in (body.pretrained_cfg, body.default_cfg):
        kept.pop("state_dict", None)  # drops a second copy of the weights
    if config.patch_stride:
        overlap_patches(body, config)
    return body


def unfolded_size(config: ModelConfig) -> tuple[int, int]:
    """The image that has as many patches side by side as the real one has overlapping ones.

    A transformer built for it, and its position embeddings resized by timm, fit `overlap_patches`.
    """
    patch, stride = _patch(config), config.patch_stride
    if stride > patch or min(config.image_size) < patch:
        raise ValueError(
            f"patch_stride must be at most the patch's {patch} pixels, and the image as large, not {stride} for "
            f"{config.image_size[0]} x {config.image_size[1]}"
        )
    height, width = (((size - patch) // stride + 1) * patch for size in config.image_size)
    return height, width


def overlap_patches(body: nn.Module, config: ModelConfig) -> None:
    """Makes a vision transformer built for `unfolded_size` cut patches `patch_stride` apart. No weight changes.

    Raises ValueError for other backbones.
    """
    embed: Any = getattr(body, "patch_embed", None)
    plain = isinstance(body, VisionTransformer) and body.pos_embed is not None
    if not (plain and isinstance(embed, PatchEmbed) and embed.patch_size == (_patch(config),) * 2):
        raise ValueError(
            f"patch_stride is for timm's vision transformers with square patches, not {config.backbone}"
        )
    embed.proj.stride = (config.patch_stride,) * 2
    embed.img_size = config.image_size


def _patch(config: ModelConfig) -> int:
    """The patch size of a vision transformer, from its arguments or its name; timm's default is 16."""
    given = config.backbone_args.get("patch_size")
    named = re.search(r"patch(\d+)", config.backbone)
    return given if type(given) is int else int(named[1]) if named else 16


def _pretrained_error(config: ModelConfig, error: Exception) -> Exception:
    """The error to raise if pretrained weights do not exist, do not fit, or cannot be downloaded, with advice."""
    advice = (
        "build the model with pretrained=False (--no-pretrained), or give pretrained the path of a local .safetensors "
        "or .pth file of this backbone (a checkpoint of this library is given to --init)"
    )
    # torch names the first tensor that does not fit in the second line
    detail = " ".join(str(error).split("\n", 2)[:2]).replace("\t", "") or type(error).__name__
    if isinstance(error, (RuntimeError, TypeError, KeyError, AssertionError)):
        return ValueError(
            f"the pretrained weights of {config.backbone} do not fit or do not exist; {advice} ({detail})"
        )
    return OSError(
        f"the pretrained weights of {config.backbone} cannot be downloaded: connect to the Hugging Face Hub "
        f"once (they stay in its cache), {advice} ({detail})"
    )


def keep_last_stage_resolution(resnet: ResNet) -> None:
    """Sets stride 1 in the first block of the last stage, so that its feature map is twice as fine. Keeps the weights.

    timm's `output_stride=16` gives a fine map too, but dilates the following blocks, so that trained weights would
    compute something else.
    """
    block: nn.Module = resnet.layer4[0]  # type: ignore[index,assignment]
    for name, module in list(block.named_modules()):
        if max(_pair(getattr(module, "stride", 1))) == 1 or list(module.children()):
            continue
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
        elif all(k % 2 == 1 and p == k // 2 for k, p in zip(_size(module), _pad(module), strict=True)):
            module.stride = 1
        else:
            block.set_submodule(name, nn.Identity())


def _pair(value: Any) -> tuple[int, int]:
    return (value[0], value[1]) if isinstance(value, (tuple, list)) else (int(value), int(value))


def _size(module: nn.Module) -> tuple[int, int]:
    return _pair(getattr(module, "kernel_size", 0))


def _pad(module: nn.Module) -> tuple[int, int]:
    padding = getattr(module, "padding", 0)
    return _pair(padding) if isinstance(padding, (int, tuple, list)) else (0, 0)
