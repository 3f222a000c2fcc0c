"""Crops and `mtrl crops`: geometry, what is left out, the listing, resuming, and the real clips."""

from __future__ import annotations

import csv
import json
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from mtrl.data.video import Box, CropRules, iter_crops
from mtrl.data.video.crops import cut, sharpness
from mtrl.data.video.frames import Frame
from mtrl.data.video.listing import CropFolder
from mtrl.data.video.thermal import recorded_range
from tests.helpers.commands import command
from tests.helpers.real_clips import REAL, needs_real_clips, write_boxes
from tests.helpers.videos import picture, shade, write_video

RULES = CropRules(min_height=4)


def frame() -> Frame:
    rows, columns = np.mgrid[:60, :80]
    return Frame(4, np.stack([rows, columns, rows + columns], 2).astype(np.uint8), 0.5)


def corner(image: Image.Image) -> tuple[int, int]:
    """(x, y) in the frame of the crop's left upper corner."""
    pixel = np.asarray(image)[0, 0]
    return int(pixel[1]), int(pixel[0])


def test_a_box_is_cut_with_its_margin_within_the_frame() -> None:
    crop = cut(frame(), Box(3, 10, 20, 20, 30), RULES)
    assert crop is not None and crop.image.size == (20, 30) and corner(crop.image) == (10, 20)
    assert (crop.track, crop.frame, crop.seconds) == (3, 4, 0.5)
    crop = cut(frame(), Box(3, 10, 20, 20, 30), CropRules(margin=0.1, min_height=4))
    assert crop is not None and crop.image.size == (24, 36) and corner(crop.image) == (8, 17)
    crop = cut(frame(), Box(3, 65, 35, 20, 30), CropRules(margin=0.1, min_height=4, min_inside=0.5))
    assert crop is not None and crop.image.size == (17, 28) and corner(crop.image) == (63, 32)


def test_small_and_cut_off_people_are_left_out() -> None:
    box = Box(3, 70, 20, 20, 30)  # half of it lies in the frame
    assert cut(frame(), box, CropRules(min_height=30, min_inside=0.5))
    assert cut(frame(), box, CropRules(min_height=31, min_inside=0.5)) is None
    assert cut(frame(), box, CropRules(min_height=30, min_inside=0.51)) is None
    for x, y in ((80, 0), (-20, 0), (0, 60), (0, -30), (500, 500)):
        assert cut(frame(), Box(3, x, y, 20, 30), CropRules(min_height=1, min_inside=0)) is None


def test_quality_falls_with_size_cut_and_confidence() -> None:
    def quality(box: Box) -> float:
        crop = cut(frame(), box, CropRules(min_height=1, min_inside=0))
        assert crop is not None
        return crop.quality

    assert quality(Box(3, 10, 20, 20, 32)) == pytest.approx(32 / 128)
    assert quality(Box(3, 10, 20, 20, 32, 0.5)) == pytest.approx(16 / 128)
    assert quality(Box(3, 70, 20, 20, 32)) == pytest.approx(16 / 128)


def test_sharpness_falls_with_blur_and_not_with_contrast() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (128, 64), dtype=np.uint8)
    sharp = Image.fromarray(noise)
    assert sharpness(sharp) > 3 * sharpness(sharp.filter(ImageFilter.GaussianBlur(1)))
    assert sharpness(Image.fromarray(noise // 4)) == pytest.approx(sharpness(sharp), rel=0.05)
    assert sharpness(Image.new("L", (64, 128))) == 0
    blurred = Frame(0, np.asarray(sharp.filter(ImageFilter.GaussianBlur(2)).convert("RGB")), 0)
    assert cut(blurred, Box(1, 0, 0, 64, 128), CropRules(min_sharpness=1)) is None
    assert cut(
        Frame(0, np.asarray(sharp.convert("RGB")), 0), Box(1, 0, 0, 64, 128), CropRules(min_sharpness=1)
    )


@pytest.mark.parametrize("wrong", [{"every": 0}, {"min_height": 0}, {"margin": -1}, {"min_inside": 2}])
def test_rules_that_nothing_meets_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"from 1 on|within 0 to 1"):
        CropRules(**wrong)  # type: ignore[arg-type]


@pytest.fixture
def clip(tmp_path: Path) -> tuple[Path, Path]:
    """Twenty frames as images, and two people: 1 in all, 2 in every second one."""
    for index in range(20):
        (tmp_path / "frames").mkdir(exist_ok=True)
        Image.fromarray(picture(index)).save(tmp_path / "frames" / f"{index + 1:06d}.png")
    lines = [f"{index + 1},1,20,5,20,50,0.8" for index in range(20)]
    lines += [f"{index + 1},2,60,10,20,50,1" for index in range(0, 20, 2)]
    (tmp_path / "boxes.txt").write_text("\n".join(sorted(lines, key=lambda line: int(line.split(",")[0]))))
    return tmp_path / "frames", tmp_path / "boxes.txt"


def listing(folder: Path) -> list[dict[str, str]]:
    with (folder / "listing.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_iter_crops_takes_the_boxes_of_each_frame(clip: tuple[Path, Path]) -> None:
    crops = list(iter_crops(*clip, CropRules(every=4)))
    assert [(crop.frame, crop.track) for crop in crops] == [(i, t) for i in (0, 4, 8, 12, 16) for t in (1, 2)]
    for crop in crops:
        assert np.asarray(crop.image)[40].mean() == shade(crop.frame)


def test_the_command_writes_crops_and_a_listing(clip: tuple[Path, Path], tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    words = ("crops", clip[0], "--boxes", clip[1], "--output", out, "--every", 2, "--rate", 10, "--camera", 4)
    assert command(*words, "--start", "2026-11-20T18:30:00+01:00") == 0
    assert "20 crops of 30 boxes" in capsys.readouterr().out
    rows = listing(out)
    assert len(rows) == 20 and rows[2] == {
        "path": "1/000003.jpg", "track": "1", "frame": "3", "time": "2026-11-20T17:30:00.200Z", "seconds": "0.200",
        "x": "20", "y": "5", "width": "20", "height": "50", "quality": f"{0.8 * 50 / 128:.4f}",
        "modality": "infrared", "camera": "4", "value_range": "",
    }  # fmt: skip
    for row in rows:
        with Image.open(out / row["path"]) as image:
            assert image.size == (20, 50) and image.format == "JPEG"
            assert np.asarray(image)[40].mean() == pytest.approx(shade(int(row["frame"]) - 1), abs=1)
    assert sorted(path.name for path in out.iterdir()) == ["1", "2", "crops.json", "listing.csv"]
    assert command(*words, "--start", "2026-11-20T18:30:00+01:00") == 0  # nothing is left to do
    assert "20 of them before" in capsys.readouterr().out
    with pytest.raises(ValueError, match="other settings; choose a new folder"):
        command(*words)


@pytest.mark.parametrize("killed_at", [1, 7, 19])
def test_a_run_that_was_cut_off_goes_on(
    killed_at: int, clip: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("crops", clip[0], "--boxes", clip[1], "--output")
    command(*words, tmp_path / "whole")
    count, add = [0], CropFolder.add

    def failing(self: CropFolder, *args, **kwargs) -> None:
        add(self, *args, **kwargs)
        count[0] += 1
        if count[0] == killed_at:
            raise KeyboardInterrupt

    monkeypatch.setattr(CropFolder, "add", failing)
    with pytest.raises(KeyboardInterrupt):
        command(*words, tmp_path / "cut")
    assert not (tmp_path / "cut" / "listing.csv").exists()
    with (tmp_path / "cut" / "listing.csv.part").open("a") as file:
        file.write("half a li")
    monkeypatch.setattr(CropFolder, "add", add)
    command(*words, tmp_path / "cut")
    for name in ["listing.csv", *(row["path"] for row in listing(tmp_path / "whole"))]:
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert json.loads((tmp_path / "cut" / "crops.json").read_text())["count"] == 30


def test_what_does_not_fit_is_refused(clip: tuple[Path, Path], tmp_path: Path) -> None:
    words = ("crops", clip[0], "--boxes", clip[1], "--output")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "holiday.jpg").touch()
    with pytest.raises(ValueError, match="holds other files"):
        command(*words, tmp_path / "full")
    with pytest.raises(ValueError, match="none of the 30 boxes"):
        command(*words, tmp_path / "none", "--min-height", 500)
    command(*words, tmp_path / "none", "--min-height", 40)  # nothing was lost there
    assert len(listing(tmp_path / "none")) == 30
    with pytest.raises(ValueError, match="other settings"):
        command(*words, tmp_path / "none", "--min-height", 41)
    with pytest.raises(ValueError, match="--start needs --rate"):
        command(*words, tmp_path / "x", "--start", "2026-11-20T12:00")
    with pytest.raises(ValueError, match="--camera is an integer of at most 64 bits"):
        command(*words, tmp_path / "x", "--camera", 10**19)
    for inside in (clip[0], clip[0] / "crops", clip[0] / ".." / "frames" / "deep" / "er"):
        with pytest.raises(ValueError, match="lies in the folder of frames"):
            command(*words, inside)
    assert not (tmp_path / "x").exists() and not (clip[0] / "crops").exists()
    with pytest.raises(ValueError, match="give --boxes"):
        command("crops", clip[0], "--output", tmp_path / "x")
    command(*words, tmp_path / "good")
    (tmp_path / "good" / "crops.json").write_text("{")
    with pytest.raises(ValueError, match="is damaged; delete"):
        command(*words, tmp_path / "good")
    clip[1].write_text(clip[1].read_text() + "\n77,1,0,0,20,50,1\n")
    with pytest.warns(UserWarning, match="boxes up to frame 77, but .* ends after 20"):
        command(*words, tmp_path / "short")


def test_a_video_and_its_frames_give_the_same_people(clip: tuple[Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("av")
    video = write_video(tmp_path / "a.mp4", 20)
    for one, other in zip(iter_crops(video, clip[1]), iter_crops(*clip), strict=True):
        assert (one.track, one.frame, one.image.size) == (other.track, other.frame, other.image.size)
        assert np.asarray(one.image).mean() == pytest.approx(np.asarray(other.image).mean(), abs=4)


@needs_real_clips
def test_the_real_clips(tmp_path: Path) -> None:
    pytest.importorskip("av")
    boxes = write_boxes(tmp_path)["0117_1605"]
    for kind in ("visible", "infrared"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            command(
                "crops",
                REAL / kind / "0117_1605.mp4",
                "--boxes",
                boxes,
                "--output",
                tmp_path / kind,
            )
        rows = listing(tmp_path / kind)
        assert len(rows) == len(boxes.read_text().splitlines()) and {row["modality"] for row in rows} == {
            kind
        }


def test_only_frames_that_were_scaled_say_from_what(clip: tuple[Path, Path], tmp_path: Path) -> None:
    limits, words = ("--value-range", 27315.25, 31500), ("--boxes", clip[1], "--output")
    command("crops", clip[0], *words, tmp_path / "grey", *limits)
    (tmp_path / "deep").mkdir()
    for index in range(20):
        Image.fromarray(np.full((64, 96), 29000 + index, np.uint16)).save(
            tmp_path / "deep" / f"{index + 1}.png"
        )
    command("crops", tmp_path / "deep", *words, tmp_path / "thermal", *limits)
    for name, text, wanted in (("grey", "", None), ("thermal", "27315.25 31500.0", (27315.25, 31500.0))):
        rows = listing(tmp_path / name)
        assert len(rows) == 30 and {row["value_range"] for row in rows} == {text}
        with Image.open(tmp_path / name / rows[0]["path"]) as image:
            assert recorded_range(image) == wanted


def test_frames_that_were_written_anew_are_other_frames(clip: tuple[Path, Path], tmp_path: Path) -> None:
    words = ("crops", clip[0], "--boxes", clip[1], "--output", tmp_path / "out")
    command(*words)
    Image.fromarray(255 - picture(3)).save(clip[0] / "000004.png")
    with pytest.raises(ValueError, match="another video"):
        command(*words)


def test_crops_without_their_listing_are_not_done(clip: tuple[Path, Path], tmp_path: Path) -> None:
    words = ("crops", clip[0], "--boxes", clip[1], "--output", tmp_path / "out")
    command(*words)
    (tmp_path / "out" / "listing.csv").unlink()
    with pytest.raises(ValueError, match=r"lost its listing\.csv"):
        command(*words)


def test_only_the_crops_own_files_are_flushed(
    clip: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: set[tuple[int, int]] = set()

    def noted(handle: int) -> None:
        state = os.fstat(handle)
        flushed.add((state.st_dev, state.st_ino))

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(os, "sync", lambda: pytest.fail("flushes all disks"), raising=False)
    command("crops", clip[0], "--boxes", clip[1], "--output", tmp_path / "out")
    made = [state for path in (tmp_path / "out").rglob("*.jpg") for state in [path.stat()]]
    assert len(made) == 30 and {(state.st_dev, state.st_ino) for state in made} <= flushed


def test_a_missing_video_is_missing(clip: tuple[Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("av")
    with pytest.raises(FileNotFoundError, match=r"none\.mp4 does not exist"):
        command("crops", tmp_path / "none.mp4", "--boxes", clip[1], "--output", tmp_path / "x")
