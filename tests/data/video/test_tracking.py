"""Tracking: people followed by ByteTrack, and the command that finds, follows and cuts them out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mtrl.data.video.boxes import MotBoxes
from mtrl.data.video.tracking import track_people
from mtrl.hub.detector import Detector
from tests.helpers.commands import command
from tests.helpers.detector import tiny_rtdetr

pytestmark = pytest.mark.slow


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
    tiny_rtdetr(folder, {0: "person", 1: "bus"})  # another detector in the same place
    with pytest.raises(ZeroDivisionError):
        command(*words)
    with pytest.raises(ValueError, match="or --detector SOURCE"):
        command(*words, "--boxes", tmp_path / "x.txt")
