"""Files that were replaced are noticed, whatever their size and times say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from mtrl.demo.service.gallery_folder import GalleryImage
from mtrl.demo.service.thumbnails import address
from mtrl.files.file_state import file_state
from mtrl.models.config import Modality


def write(path: Path, level: int) -> None:
    """A grey BMP with one time for all."""
    Image.new("RGB", (8, 16), (level, level, level)).save(path)
    os.utime(path, (1_000_000, 1_000_000))


def wait_for_the_clock(folder: Path) -> None:
    """Until the file system's clock has moved."""
    (folder / "clock").touch()
    start = (folder / "clock").stat().st_ctime_ns
    while (folder / "clock").stat().st_ctime_ns == start:
        os.utime(folder / "clock", (1, 1))


@pytest.mark.skipif(os.name == "nt", reason="no time of the last change there")
def test_a_file_written_anew_with_its_old_time_has_another_state(tmp_path: Path) -> None:
    path = tmp_path / "a.bmp"
    write(path, 10)
    image = GalleryImage("a.bmp", path, Modality.VISIBLE)
    first, shown = file_state(path), address(image)
    assert file_state(path) == first and address(image) == shown
    wait_for_the_clock(tmp_path)
    write(path, 200)
    assert file_state(path) != first and address(image) != shown
    path.unlink()
    assert file_state(path) == () and address(image) == ""
