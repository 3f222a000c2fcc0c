"""The plain model of the cost comparison: backbone, pooling and batch normalisation, built without `MTRL`."""

from __future__ import annotations

from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.models.resnet import ResNet
from torch import Tensor, nn

from mtrl.files.images import to_batch
from mtrl.models.backbone import keep_last_stage_resolution, overlap_patches, unfolded_size
from mtrl.models.config import ModelConfig
from mtrl.models.head import pool


class PlainModel(nn.Module):
    """timm's backbone of a config, with pooling and batch normalisation. Its weights are random."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        values: dict[str, Any] = dict(config.backbone_args)
        cfg = timm.get_pretrained_cfg(config.backbone)
        if cfg is not None and cfg.fixed_input_size:
            values["img_size"] = config.image_size
        if config.patch_stride:
            values["img_size"] = unfolded_size(config)
        self.body: Any = timm.create_model(config.backbone, num_classes=0, **values)
        if config.patch_stride:
            overlap_patches(self.body, config)  # sets a stride, adds nothing
        if config.last_stride == 1 and isinstance(self.body, ResNet):
            keep_last_stage_resolution(self.body)  # changes strides, adds no module
        self.norm = nn.BatchNorm1d(self.body.num_features)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(config.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(3, 1, 1), persistent=False)
        self.to(memory_format=torch.channels_last)  # as in `MTRL`, so that times are comparable

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [B,3,H,W] -> embeddings [B,D]."""
        x = self.body.forward_features(images)
        token = getattr(self.body, "cls_token", None) is not None
        prefix = int(getattr(self.body, "num_prefix_tokens", token))
        last = getattr(self.body, "output_fmt", None) == "NHWC"
        pooled = pool(x, self.config.pooling, channels_last=last, prefix_tokens=prefix, class_token=token)
        return self.norm(pooled)

    def encode(self, images: Tensor) -> Tensor:
        """As `MTRL.encode`: uint8 [N,3,h,w] -> float32 [N,D] of unit length on the CPU, in one batch."""
        with torch.inference_mode():
            x = (to_batch(images, self.config.image_size).to(self.mean.device) - self.mean) / self.std
            return F.normalize(self(x).float()).cpu()
