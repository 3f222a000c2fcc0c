"""Detectors of people: a tiny random RT-DETR through the code that loads real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mtrl.hub.detector import Detector
from tests.helpers.detector import tiny_rtdetr

pytestmark = pytest.mark.slow


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
    damaged = tiny_rtdetr(tmp_path / "damaged", {0: "person", 1: "car"}) / "model.safetensors"
    for content in (damaged.read_bytes()[:-100], b"", b"x" * 100):
        damaged.write_bytes(content)
        with pytest.raises(ValueError, match="is no detector that can be loaded"):
            Detector(str(damaged.parent))
    folder = tiny_rtdetr(tmp_path / "pickled", {0: "person", 1: "car"})
    torch.save(torch.zeros(1), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="is no detector that can be loaded"):
        Detector(str(folder))
