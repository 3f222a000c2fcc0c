"""Detection and tracking: a tiny random RT-DETR through the code that loads real ones; people followed by ByteTrack."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from mtrl.data.video.boxes import MotBoxes
from mtrl.data.video.detector import Detector, track_people
from tests.helpers.commands import command

pytestmark = pytest.mark.slow


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


def test_a_detector_is_loaded_and_gives_people_only(tmp_path: Path) -> None:
    folder = tiny_rtdetr(tmp_path / "model", {0: "Person", 1: "bicycle"})
    detector = Detector(str(folder))
    assert detector.people == [0]
    image = np.random.default_rng(0).integers(0, 256, (120, 90, 3), dtype=np.uint8)
    found = detector.find(image, least=0.0)
    assert found.shape[1] == 5 and 0 < len(found) <= 10 and found.dtype == np.float32
    assert ((found[:, 4] >= 0) & (found[:, 4] <= 1)).all()
    assert np.abs(found[:, :4]).max() > 2  # pixels, not shares
    assert len(detector.find(image, least=1.0)) == 0
    assert np.allclose(Detector(str(folder)).find(image, least=0.0), found, atol=1e-4)


def test_what_is_no_detector_of_people_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="but no person"):
        Detector(str(tiny_rtdetr(tmp_path / "cars", {0: "car", 1: "bicycle"})))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="is no detector that can be loaded"):
        Detector(str(tmp_path / "empty"))
    folder = tiny_rtdetr(tmp_path / "pickled", {0: "person", 1: "car"})
    torch.save(torch.zeros(1), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="is no detector that can be loaded"):
        Detector(str(folder))


def scene(folder: Path, count: int = 12) -> Path:
    """Two bright people on dark ground who walk towards each other, 4 pixels a frame."""
    folder.mkdir()
    for index in range(count):
        image = np.zeros((100, 200, 3), np.uint8)
        image[20:80, 10 + 4 * index : 35 + 4 * index] = 200
        image[20:80, 160 - 4 * index : 185 - 4 * index] = 250
        Image.fromarray(image).save(folder / f"{index + 1:04d}.png")
    return folder


def find(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Where the scene's people are; the second one is found with little confidence in half of the frames."""
    rows = []
    for level, confidence in ((200, 0.9), (250, 0.9 if int(image.sum()) % 2 else 0.3)):
        columns = np.flatnonzero(image[50, :, 0] == level)
        rows.append((columns[0], 20, columns[-1] + 1, 80, confidence))
    return np.array(rows, np.float32)


def test_people_keep_their_number(tmp_path: Path) -> None:
    pytest.importorskip("trackers")
    boxes = tmp_path / "boxes.txt"
    count = track_people(find, scene(tmp_path / "frames"), boxes, rate=30)
    found = MotBoxes(boxes)
    tracks: dict[int, list[float]] = {}
    for index in range(12):
        for box in found.at(index):
            tracks.setdefault(box.track, []).append(box.x)
    assert found.count == count and len(tracks) <= 2
    for places in tracks.values():  # each goes one way
        steps = np.diff(places)
        assert (steps > 0).all() or (steps < 0).all()


def test_the_command_finds_and_cuts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    pytest.importorskip("trackers")
    folder = tiny_rtdetr(tmp_path / "model", {0: "person", 1: "car"})
    monkeypatch.setattr(Detector, "find", lambda self, image: find(image))
    words = ("crops", scene(tmp_path / "frames"), "--detector", folder, "--output", tmp_path / "out")
    command(*words)
    assert "crops of" in capsys.readouterr().out and len(list(tmp_path.glob("out.*.boxes.txt"))) == 1
    monkeypatch.setattr(Detector, "find", lambda self, image: 1 / 0)  # what was found is kept
    command(*words)
    with pytest.raises(ValueError, match="or --detector SOURCE"):
        command(*words, "--boxes", tmp_path / "x.txt")
