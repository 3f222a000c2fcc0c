"""Drawn images beside real ones: measures against loops, a classifier that can and cannot tell, the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import eval.translation.drawings as drawings
from eval.__main__ import main as evaluate
from eval.translation.drawings import DrawingsSettings, Group, measures, told_apart


def noise(seed: int, count: int = 40, smooth: bool = False) -> Group:
    """Random images of `count` identities, rough or smooth."""
    rng = np.random.default_rng(seed)
    size = (count, 1, 8, 4) if smooth else (count, 1, 32, 16)
    pixels = rng.integers(0, 256, size, dtype=np.uint8)
    pixels = pixels.repeat(4, 2).repeat(4, 3) if smooth else pixels
    return Group(torch.from_numpy(pixels), np.arange(count))


def settings(**changes: object) -> DrawingsSettings:
    return DrawingsSettings(image_size=(32, 16), steps=60, device="cpu", **changes)  # type: ignore[arg-type]


def test_measures_against_a_loop() -> None:
    grey = torch.from_numpy(np.random.default_rng(1).random((3, 1, 40, 20), dtype=np.float32))
    found = measures(grey)
    for number, image in enumerate(grey[:, 0].double().numpy()):
        across = np.mean([abs(image[i, j + 1] - image[i, j]) for i in range(40) for j in range(19)])
        down = np.mean([abs(image[i + 1, j] - image[i, j]) for i in range(39) for j in range(20)])
        contrast = image.std(ddof=1)
        middle = np.mean([image[i, j] for i in range(6, 36) for j in range(6, 14)])
        sides = np.mean([image[i, j] for i in range(40) for j in (0, 1, 18, 19)])
        wanted = {
            "brightness": image.mean(),
            "contrast": contrast,
            "sharpness": (across + down) / 2 / contrast,
            "person": middle - sides,
            "black": np.mean(image < 0.1),
            "white": np.mean(image > 0.92),
        }
        assert {name: values[number].item() for name, values in found.items()} == pytest.approx(
            wanted, abs=1e-5
        )


def test_a_person_brighter_than_the_ground() -> None:
    image = torch.zeros(1, 1, 40, 20)
    image[..., 4:16] = 0.8
    assert measures(image)["person"].item() == pytest.approx(0.8)
    assert measures(1 - image)["person"].item() == pytest.approx(-0.8)
    assert torch.isfinite(measures(torch.zeros(1, 1, 40, 20))["sharpness"]).all()


@pytest.mark.slow
def test_the_classifier_tells_other_images_and_not_the_same() -> None:
    assert told_apart(noise(0), noise(1, smooth=True), settings()) > 0.95
    assert 0.25 < told_apart(noise(0), noise(1), settings()) < 0.75


def own_images(root: Path, people: int) -> Path:
    """A folder of infrared images as `--dataset folder` takes it, with one visible image of each identity."""
    rng = np.random.default_rng(4)
    lines = ["path,identity,camera,modality,split"]
    for person in range(people):
        for modality in ("infrared", "visible"):
            for shot in range(3):
                path = f"{modality}-{person}-{shot}.png"
                root.mkdir(exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (32, 16), dtype=np.uint8)).save(root / path)
                lines.append(f"{path},{person},1,{modality},test")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    return root


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = own_images(tmp_path / "own", 4)
    arguments = [
        "--people",
        "2",
        "--image-size",
        "32",
        "16",
        "--steps",
        "2",
        "--spectra",
        "thermal",
        "--device",
        "cpu",
    ]
    arguments += [
        "--data-root",
        str(root),
        "--cache-dir",
        str(tmp_path / "cache"),
        "--json",
        str(tmp_path / "a.json"),
    ]
    assert evaluate(["drawings", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| | real | thermal |"
    assert lines[2] == "| images | 12 | 16 |"
    result = json.loads((tmp_path / "a.json").read_text())
    assert result["images"] == {"real": 12, "thermal": 16}
    assert set(result["accuracy"]) == {"thermal"}
    low, middle, high = result["measures"]["contrast"]["thermal"]
    assert 0 < low <= middle <= high


def test_what_cannot_be_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawings, "load_part", None)  # refused before anything is drawn
    root = own_images(tmp_path / "one", 1)
    with pytest.raises(ValueError, match="infrared images of 1 identities; a classifier needs two"):
        drawings.compare(settings(data_root=str(root), cache_dir=str(tmp_path / "cache")))
    for wrong, why in (
        ({"people": 1}, "people"),
        ({"steps": 0}, "steps"),
        ({"image_size": (8, 8)}, "image_size"),
    ):
        with pytest.raises(ValueError, match=why):
            DrawingsSettings(**wrong)  # type: ignore[arg-type]
