"""A tiny detector of people as the Hugging Face Hub holds detectors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch


def tiny_rtdetr(folder: Path, labels: dict[int, str]) -> Path:
    """A random RT-DETR of a few thousand weights, with its processor, as `save_pretrained` writes both."""
    pytest.importorskip("transformers")
    from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrImageProcessor, RTDetrResNetConfig

    torch.manual_seed(0)
    backbone = RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 8, 8],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_indices=[2, 3, 4],
    )
    config = RTDetrConfig(
        backbone_config=backbone, encoder_in_channels=[8, 8, 8], encoder_hidden_dim=16, d_model=16, decoder_layers=1,
        encoder_layers=1, encoder_ffn_dim=16, decoder_ffn_dim=16, num_queries=10, decoder_attention_heads=2,
        encoder_attention_heads=2, decoder_in_channels=[16, 16, 16], id2label=labels,
        label2id={name: number for number, name in labels.items()},
    )  # fmt: skip
    RTDetrForObjectDetection(config).save_pretrained(folder)
    RTDetrImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder
