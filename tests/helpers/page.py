"""Small galleries and models for tests of the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from mtrl import MTRL
from mtrl.demo.service.service import DemoService
from mtrl.models.config import ModelConfig
from mtrl.translate import load_translator

PEOPLE = 5


def draw_person(person: int, camera: int) -> Image.Image:
    """A person of two coloured boxes; cameras 3 and 6 see no colour."""
    rng = np.random.default_rng(person)
    image = Image.new("RGB", (32, 64), (90 + 8 * camera, 120, 100))
    pen = ImageDraw.Draw(image)
    pen.rectangle((8, 10, 24, 36), fill=tuple(int(v) for v in rng.integers(20, 230, 3)))
    pen.rectangle((10, 36, 22, 60), fill=tuple(int(v) for v in rng.integers(20, 230, 3)))
    return image.convert("L").convert("RGB") if camera in (3, 6) else image


def write_gallery(folder: Path, truth: bool = True, known: bool = True) -> Path:
    """A gallery of PEOPLE people under six cameras with its manifest; not `known`: without identities."""
    entries: list[dict[str, Any]] = []
    for person in range(PEOPLE):
        for camera in range(1, 7):
            name = f"{person}_{camera}.png"
            draw_person(person, camera).save(folder / name)
            entries.append(
                {
                    "file": name,
                    "identity": person if known else None,
                    "camera": camera,
                    "modality": "infrared" if camera in (3, 6) else "visible",
                    "truth": name if truth and camera == 1 else None,
                }
            )
    (folder / "manifest.json").write_text(json.dumps(entries))
    return folder


def make_model(seed: int = 0, channels: tuple[int, ...] = (8, 16, 16, 24)) -> MTRL:
    """An untrained model with a seed."""
    torch.manual_seed(seed)
    config = ModelConfig(
        backbone="resnet10t", image_size=(64, 32), backbone_args={"channels": list(channels)}
    )
    return MTRL(config).eval()


def noise_service(folder: Path) -> DemoService:
    """A service over four people of noise without cameras, written into `folder`."""
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 255, (64, 32, 3), dtype=np.uint8)
        for kind, mode in (("visible", "RGB"), ("infrared", "L")):
            (folder / kind / f"p{number}").mkdir(parents=True)
            Image.fromarray(pixels).convert(mode).save(folder / kind / f"p{number}" / "1.png")
    torch.manual_seed(0)
    config = ModelConfig("resnet10t", (64, 32), backbone_args={"channels": [8, 16, 16, 24]})
    return DemoService(MTRL(config).eval(), folder, {"luminance": load_translator("luminance")})
