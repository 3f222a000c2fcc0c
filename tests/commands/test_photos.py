"""What `index` reads of folders that `crops` wrote: whole ones only, with their value range, quality and tracks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtrl import MTRL
from mtrl.commands.photos import read_photos
from mtrl.data.video.boxes import Box
from mtrl.data.video.crops import Crop
from mtrl.data.video.listing import CropFolder
from mtrl.data.video.thermal import check_scaling
from mtrl.files.levels import ValueRange
from mtrl.models.config import Modality
from tests.helpers.commands import command


def crops(
    folder: Path,
    value_range: ValueRange | None = None,
    modality: Modality = Modality.INFRARED,
    finished: bool = True,
) -> Path:
    """A folder with a crop of person 7."""
    written = CropFolder(folder, {})
    crop = Crop(Image.new("RGB", (20, 50)), 7, 0, None, Box(7, 0, 0, 20, 50), 0.5)
    written.add(crop, modality, None, None, value_range)
    written.done_until(1)
    if finished:
        written.finish()
    else:
        written.keep()
    return folder


def test_finished_crops_are_read_by_their_listings_at_any_depth(tmp_path: Path) -> None:
    crops(tmp_path / "monday" / "day", modality=Modality.VISIBLE)
    crops(tmp_path / "night")
    photos, _ = read_photos(tmp_path, tracks="track")
    assert photos.names == ["monday/day/7/000001.jpg", "night/7/000001.jpg"]
    assert photos.modalities == [Modality.VISIBLE, Modality.INFRARED]
    assert photos.tracks == ["monday/day/7", "night/7"] and photos.qualities == [0.5, 0.5]


@pytest.mark.parametrize(("unfinished", "finished"), [("b", "a"), (".", ""), ("deep/b", ""), ("deep/b", "a")])
def test_unfinished_crops_are_never_left_out_nor_read_as_photographs(
    unfinished: str, finished: str, tmp_path: Path
) -> None:
    crops(tmp_path / "x" / unfinished, modality=Modality.VISIBLE, finished=False)
    if finished:
        crops(tmp_path / "x" / finished)
    with pytest.raises(ValueError, match="are not finished: run `crops` again"):
        read_photos(tmp_path / "x")


@pytest.mark.parametrize(
    "content", ['{"crops": ["wheat", "rye"]}', "[1, 2]", "{", "\x00", '{"settings": {}}']
)
def test_a_file_of_another_program_does_not_block_a_folder(content: str, tmp_path: Path) -> None:
    (tmp_path / "farm").mkdir()
    (tmp_path / "farm" / "crops.json").write_text(content)
    Image.new("RGB", (20, 50)).save(tmp_path / "farm" / "a.png")
    assert read_photos(tmp_path)[0].names == ["farm/a.png"]


def test_photographs_beside_crops_are_not_lost(tmp_path: Path) -> None:
    crops(tmp_path / "x" / "a")
    Image.new("RGB", (20, 50)).save(tmp_path / "x" / "holiday.png")
    with pytest.raises(ValueError, match=r"1 other images, such as holiday\.png"):
        read_photos(tmp_path / "x")


def test_the_value_range_is_kept_to_the_last_digit(tmp_path: Path) -> None:
    limits = (27315.25, 31500.123456789)
    photos, _ = read_photos(crops(tmp_path / "x", limits))
    assert photos.value_range == limits
    check_scaling(photos.paths, Modality.INFRARED, photos.value_range)


def test_only_infrared_crops_share_a_value_range(tmp_path: Path) -> None:
    crops(tmp_path / "x" / "day", modality=Modality.VISIBLE)
    crops(tmp_path / "x" / "night", (0.0, 9.0))
    assert read_photos(tmp_path / "x")[0].value_range == (0, 9)
    crops(tmp_path / "x" / "dusk", (0.0, 8.0))
    with pytest.raises(ValueError, match="share a range"):
        read_photos(tmp_path / "x")


def test_a_wrong_scale_is_told_before_anything_is_encoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode(*_: object, **__: object) -> None:
        raise AssertionError("encoded")

    (tmp_path / "y").mkdir()
    for number in range(5):
        Image.fromarray(np.ones((50, 20), np.uint16)).save(tmp_path / "y" / f"a{number}.png")
    crops(tmp_path / "x", (0.0, 9.0))
    (tmp_path / "x" / "7" / "000001.jpg").rename(tmp_path / "y" / "b.jpg")
    monkeypatch.setattr(MTRL, "encode", encode)
    with pytest.raises(ValueError, match=r"b\.jpg was scaled from 0 to 9"):
        command("index", tmp_path / "y", "--output", tmp_path / "i", "--value-range", 0, 8, "--batch-size", 1)


def test_tracks_and_quality_are_read_only_when_asked_for(tmp_path: Path) -> None:
    Image.new("RGB", (20, 50)).save(tmp_path / "a.png")
    Image.new("RGB", (20, 50)).save(tmp_path / "b.png")
    table = tmp_path / "table.csv"
    table.write_text("path,quality,track\na.png,good,\nb.png,bad,3\n")
    photos, _ = read_photos(table)
    assert photos.tracks is None and photos.qualities is None
    with pytest.raises(ValueError, match="the column track must be filled"):
        read_photos(table, tracks="track")
    table.write_text("path,quality,track\na.png,good,3\nb.png,bad,3\n")
    with pytest.raises(ValueError, match="a quality is a number above 0, not 'good'"):
        read_photos(table, tracks="track")
