"""Frames of videos and folders: order, times, codecs, rotation, damage, and what is refused."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtrl import Gallery
from mtrl.data.sources.m3svd import Box, cut_clip
from mtrl.data.video.frames import DamagedVideo, frame_count, iter_frames
from tests.helpers.commands import command
from tests.helpers.paths import ROOT
from tests.helpers.real_clips import REAL, needs_real_clips
from tests.helpers.videos import SIZE, picture, shade, turned, write_video

pytest.importorskip("av")


@pytest.mark.parametrize(
    ("codec", "name"),
    [("libx264", "a.mp4"), ("libx265", "a.mp4"), ("mjpeg", "a.avi"), ("mpeg4", "a.mkv"), ("libx264", "a.ts")],
)
def test_every_frame_comes_once_in_order(codec: str, name: str, tmp_path: Path) -> None:
    frames = list(iter_frames(write_video(tmp_path / name, 12, codec)))
    assert [frame.index for frame in frames] == list(range(12))
    assert all(frame.image.shape == (*SIZE, 3) and frame.image.dtype == np.uint8 for frame in frames)
    assert [frame.image[40, 60].mean() for frame in frames] == pytest.approx(
        list(map(shade, range(12))), abs=4
    )
    assert [frame.seconds for frame in frames] == pytest.approx([i / 10 for i in range(12)], abs=0.002)
    assert [frame.index for frame in iter_frames(tmp_path / name, start=9)] == [9, 10, 11]


def test_a_variable_rate_keeps_its_times(tmp_path: Path) -> None:
    times = [500, 540, 700, 1500, 1510, 4000]
    frames = list(iter_frames(write_video(tmp_path / "a.mkv", 6, "libx264", times)))
    assert [frame.seconds for frame in frames] == pytest.approx([(t - 500) / 1000 for t in times], abs=0.002)


def test_a_rotation_tag_is_applied(tmp_path: Path) -> None:
    video = turned(write_video(tmp_path / "a.mp4"), tmp_path / "b.mp4")
    image = next(iter(iter_frames(video))).image
    assert image.shape == (SIZE[1], SIZE[0], 3)
    bright = [image[:8, :8], image[:8, -8:], image[-8:, :8], image[-8:, -8:]]
    assert [part.mean() > 150 for part in bright] == [False, True, False, False]  # turned to the right


def test_a_cut_off_recording_gives_what_it_has(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "a.mkv", 40).read_bytes()
    (tmp_path / "b.mkv").write_bytes(whole[: len(whole) * 2 // 3])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DamagedVideo)
        got = list(iter_frames(tmp_path / "b.mkv"))
    assert 5 < len(got) < 40 and [frame.index for frame in got] == list(range(len(got)))
    whole = write_video(tmp_path / "a.mp4", 40).read_bytes()
    (tmp_path / "b.mp4").write_bytes(whole[: len(whole) // 4])
    with pytest.raises(ValueError, match="its index is missing because the recording was cut off"):
        list(iter_frames(tmp_path / "b.mp4"))


def test_damage_is_told_and_passed_over(tmp_path: Path) -> None:
    content = bytearray(write_video(tmp_path / "a.avi", 40, "mjpeg").read_bytes())
    starts = [i for i in range(len(content) - 3) if content[i : i + 3] == b"\xff\xd8\xff"]
    assert len(starts) == 40
    for start in starts[30:]:
        content[start : start + 640] = bytes(640)
    (tmp_path / "b.avi").write_bytes(content)
    with pytest.warns(DamagedVideo, match=r"b\.avi is damaged: 10 parts"):
        assert len(list(iter_frames(tmp_path / "b.avi"))) == 30


@pytest.mark.parametrize("lost", [(5,), (0, 1), (7, 8, 20), (39,)], ids=str)
def test_frames_after_damage_keep_their_numbers(tmp_path: Path, lost: tuple[int, ...]) -> None:
    content = bytearray(write_video(tmp_path / "a.avi", 40, "mjpeg").read_bytes())
    starts = [i for i in range(len(content) - 3) if content[i : i + 3] == b"\xff\xd8\xff"]
    for number in lost:
        content[starts[number] : starts[number] + 640] = bytes(640)
    (tmp_path / "b.avi").write_bytes(content)
    with pytest.warns(DamagedVideo):
        found = list(iter_frames(tmp_path / "b.avi"))
    assert [frame.index for frame in found] == [number for number in range(40) if number not in lost]
    whole = {frame.index: frame for frame in iter_frames(tmp_path / "a.avi")}
    for frame in found:
        assert np.array_equal(frame.image, whole[frame.index].image)
        assert frame.seconds == pytest.approx(whole[frame.index].seconds, abs=0.002)
    with pytest.raises(ValueError, match=r"b\.avi is damaged"):
        cut_clip(tmp_path / "b.avi", [Box(0, "a", "b", 20, (0, 0, 8, 8))], (8, 8))


def test_a_lost_frame_of_a_variable_rate_shifts_nothing(tmp_path: Path) -> None:
    times = [66 * n for n in range(30)] + [66 * 30 + 33 * n for n in range(60)]
    content = bytearray(write_video(tmp_path / "a.mkv", 90, "mjpeg", times).read_bytes())
    starts = [i for i in range(len(content) - 3) if content[i : i + 3] == b"\xff\xd8\xff"]
    assert len(starts) == 90
    for number in (1, 40, 41):
        content[starts[number] : starts[number] + 640] = bytes(640)
    (tmp_path / "b.mkv").write_bytes(content)
    with pytest.warns(DamagedVideo, match="3 parts"):
        found = [frame.index for frame in iter_frames(tmp_path / "b.mkv")]
    assert found == [number for number in range(90) if number not in (1, 40, 41)]


def test_what_is_no_video_is_refused_with_advice(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "list.m3u8").write_text(
        f"#EXTM3U\n#EXTINF:1,\n{write_video(tmp_path / 'x.ts')}\n#EXT-X-ENDLIST\n"
    )
    (tmp_path / "bare").mkdir()
    for name, message in (
        ("empty.mp4", "is empty"),
        ("text.mp4", "is no video"),
        ("list.m3u8", "is no video"),
        ("bare", "no images"),
    ):
        with pytest.raises(ValueError, match=message):
            list(iter_frames(tmp_path / name))
    with pytest.raises(FileNotFoundError, match="does not exist"):
        iter_frames(tmp_path / "none.mp4")
    with pytest.raises(ValueError, match="positive number"):
        iter_frames(tmp_path / "bare", rate=0)


def test_deep_frames_need_a_range(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mkv", 5, "ffv1")
    with pytest.raises(ValueError, match="--value-range"):
        list(iter_frames(video))
    frames = list(iter_frames(video, value_range=(29000, 29400)))
    assert [int(frame.image[5, 5, 0]) for frame in frames] == [0, 64, 128, 191, 255]
    for index in range(3):
        Image.fromarray(np.full(SIZE, 29000 + 200 * index, np.uint16)).save(tmp_path / f"{index}.png")
    video.unlink()
    with pytest.raises(ValueError, match="--value-range"):
        list(iter_frames(tmp_path))
    assert [f.image[5, 5, 0] for f in iter_frames(tmp_path, value_range=(29000, 29400))] == [0, 128, 255]


def test_radiometric_crops_keep_their_scale_up_to_the_search(tmp_path: Path, capsys) -> None:
    """A camera that writes hundredths of a kelvin: crops, an index, searches; other scales are refused."""
    rng = np.random.default_rng(0)
    for folder in ("frames", "single", "eight"):
        (tmp_path / folder).mkdir()
    warm = rng.integers(29000, 31000, (3, *SIZE), dtype=np.uint16)
    for index, values in enumerate(warm):
        Image.fromarray(values).save(tmp_path / "frames" / f"{index + 1}.png")
    (tmp_path / "boxes.txt").write_text("".join(f"{n},5,10,5,30,55,1\n" for n in (1, 2, 3)))
    words = ("crops", tmp_path / "frames", "--boxes", tmp_path / "boxes.txt", "--modality", "infrared")
    for low, name in ((29000, "a"), (28000, "b")):
        command(*words, "--output", tmp_path / name / "one", "--value-range", low, 31000)
    with pytest.raises(ValueError, match="--value-range"):
        command(*words, "--output", tmp_path / "c")
    command("index", tmp_path / "a", "--output", tmp_path / "ia", "--tracks")
    assert Gallery.load(tmp_path / "ia").value_range == (29000, 31000)
    Image.fromarray(warm[1, 5:60, 10:40]).save(
        tmp_path / "single" / "deep.png"
    )  # converted to the index's range
    search = ("search", tmp_path / "ia", "--modality", "infrared", "--only", "images", "--k", 1)
    capsys.readouterr()
    for query in (tmp_path / "single" / "deep.png", tmp_path / "a" / "one" / "5" / "000002.jpg"):
        command(*search, query)
        found = capsys.readouterr().out.split()
        assert found[1:4:2] == ["1", "one/5/000002.jpg"] and float(found[2]) > 0.99
    with pytest.raises(
        ValueError, match="was scaled from 28000 to 31000, but asked for is from 29000 to 31000"
    ):
        command(*search, tmp_path / "b" / "one" / "5" / "000001.jpg")
    Image.fromarray((warm[0] // 256).astype(np.uint8)).save(tmp_path / "eight" / "x.png")
    with pytest.raises(ValueError, match="does not say how they were scaled"):
        command(*search, tmp_path / "eight" / "x.png")
    with pytest.raises(ValueError, match="scaled from 29000 to 31000, the new ones from 28000"):
        command("index", tmp_path / "b", "--output", tmp_path / "ia", "--add", "--tracks")
    command("index", tmp_path / "eight", "--output", tmp_path / "plain")
    with pytest.raises(ValueError, match="asked for is each image by its own values"):
        command(
            "search",
            tmp_path / "plain",
            tmp_path / "a" / "one" / "5" / "000001.jpg",
            "--modality",
            "infrared",
        )
    (tmp_path / "both").mkdir()
    for name in ("a", "b"):
        (tmp_path / name / "one").rename(tmp_path / "both" / name)
    with pytest.raises(ValueError, match="crops of one gallery share a range"):
        command("index", tmp_path / "both", "--output", tmp_path / "x")


def test_frames_of_a_folder_are_numbered_by_their_names(tmp_path: Path) -> None:
    def numbers(*names: str) -> list[int]:
        folder = tmp_path / "-".join(names)
        folder.mkdir()
        for name in names:
            Image.fromarray(picture(0)).save(folder / name)
        return [frame.index for frame in iter_frames(folder)]

    assert numbers("000001.png", "000002.png", "000003.png") == [0, 1, 2]
    assert numbers("f0.png", "f5.png", "f10.png") == [0, 5, 10]
    assert numbers("f2.png", "f10.png") == [1, 9]
    assert numbers("a.png", "b.png") == [0, 1]
    with pytest.raises(ValueError, match="the same number, 1"):
        numbers("left1.png", "right1.png")
    folder = tmp_path / "f0.png-f5.png-f10.png"
    assert [frame.seconds for frame in iter_frames(folder, rate=5)] == [0, 1, 2]
    assert frame_count(folder) == 3


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from mtrl.data.video import iter_frames\n"
        "list(f.index for f in iter_frames(sys.argv[1], start=10**9))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )

    def peak(count: int) -> int:
        video = write_video(tmp_path / f"{count}.mp4", count, "mpeg4")
        words = [sys.executable, "-c", code, str(video)]
        return int(subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout)

    assert peak(6000) < peak(60) + 20_000  # 6000 frames would be 110 MB


@needs_real_clips
def test_the_real_clips_open() -> None:
    for kind in ("visible", "infrared"):
        video = REAL / kind / "0111_1716.mp4"
        frames = list(iter_frames(video))
        assert len(frames) == frame_count(video) == 151
        assert frames[0].image.shape == (480, 640, 3) and frames[-1].seconds == pytest.approx(5, abs=0.05)
