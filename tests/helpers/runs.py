"""Short trainings: random people, settings of a run of seconds, and the comparison of two runs bit by bit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from mtrl.data.imageset import ImageSet
from train.settings import TrainSettings, parse

# Words of `python -m train` for a run of one step on a tiny network.
ONE_STEP = (
    *(
        "--size",
        "tiny",
        "--epochs",
        "1",
        "--batches",
        "1",
        "--hold-out",
        "0",
        "--device",
        "cpu",
        "--pad",
        "1",
    ),
    *("--backbone", "test_resnet", "--backbone-args", "{}", "--image-size", "32", "16"),
)


def colour_people(identities: int, seed: int, first: int = 1) -> ImageSet:
    """Two images per identity and SYSU camera: a brightness per identity under noise."""
    rng = np.random.default_rng(seed)
    rows = [(i, camera) for i in range(first, first + identities) for camera in range(1, 7) for _ in range(2)]
    images = np.empty((len(rows), 32, 16, 3), np.uint8)
    for row, (identity, camera) in enumerate(rows):
        base = 40 + 170 * (identity % 7) / 7 + rng.normal(0, 20, (32, 16, 1 if camera in (3, 6) else 3))
        images[row] = np.clip(base, 0, 255)
    cameras = np.array([camera for _, camera in rows])
    return ImageSet(
        images=images,
        identities=np.array([identity for identity, _ in rows]),
        cameras=cameras,
        modalities=np.isin(cameras, (3, 6)).astype(np.uint8),
        names=tuple(f"cam{c}/{i:04d}/{n:04d}.png" for n, (i, c) in enumerate(rows)),
    )


def settings(output: Path, **changes: object) -> TrainSettings:
    """Two epochs of four batches of a small network on the CPU; `changes` replaces single settings."""
    base = parse(["--size", "tiny", "--epochs", "2", "--precision", "fp32", "--device", "cpu"])
    small = {
        "backbone": "test_resnet",
        "backbone_args": "{}",
        "image_size": (32, 16),
        "hold_out": 3,
        "identities": 3,
        "instances": 2,
        "batches": 4,
        "log_every": 2,
        "ema": 0.5,
        "output": str(output),
    }
    return dataclasses.replace(base, **{**small, **changes})


def same(a: Path, b: Path) -> bool:
    """Whether two run folders hold the same training state."""
    left, right = load_file(a / "last" / "state.safetensors"), load_file(b / "last" / "state.safetensors")
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)
