"""Damaged, hostile and odd images: `encode`, the page and the data cache answer each alike, with a clear error."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.helpers import trees
from tests.helpers.paths import ROOT

pytest.importorskip("gradio")
from mtrl.data import load_data
from mtrl.files.images import read_image
from tests.robustness.fuzz_images import Examiner
from tests.robustness.image_mutations import KINDS, make, saved

IMAGE = Image.radial_gradient("L").convert("RGB").resize((64, 128))


def test_some_hundred_inputs(tmp_path: Path) -> None:
    examiner = Examiner(tmp_path)
    outcomes, files = [], {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pytest has taken the library's own filter away
        for number in range(5 * len(KINDS)):
            outcome = examiner.examine(make(1, number))
            outcomes.append(outcome)
            files |= {path.name: outcome for path in tmp_path.glob(f"case{number}.*")}
        examiner.cache(files)
    assert not [(o.number, o.kind, o.failures) for o in outcomes if o.failures]
    results = sum(not outcome.error for outcome in outcomes)
    assert 0.2 < results / len(outcomes) < 0.7  # neither everything refused nor everything taken


@pytest.mark.slow
def test_the_script_finds_nothing_and_prints_no_flood() -> None:
    arguments = [sys.executable, "-m", "tests.robustness.fuzz_images", "--count", "200", "--seed", "2"]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and "0 failures" in done.stdout, done.stdout + done.stderr
    said = done.stdout.replace(
        "DecompressionBombWarning", ""
    )  # Pillow's, once per size; the image is refused
    assert "Warning" not in said and "Traceback" not in said, said


def test_metadata_in_very_many_parts_is_refused(tmp_path: Path) -> None:
    jpeg, path = saved(IMAGE, "JPEG"), tmp_path / "flood.jpg"
    part = b"\xff\xe1" + struct.pack(">H", 10) + b"Exif\0\0MM"
    path.write_bytes(jpeg[:2] + part * 100_000 + jpeg[2:])
    with pytest.raises(ValueError, match=r"flood\.jpg .*too many parts"):
        read_image(path)
    # What cameras write is far from it: a large remark in parts as long as the format allows.
    large = b"\xff\xe1" + struct.pack(">H", 65_000) + bytes(64_998)
    path.write_bytes(jpeg[:2] + large * 60 + jpeg[2:])
    assert read_image(path).size == IMAGE.size


def test_a_jpeg_drawn_again_and_again_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "passes.jpg"
    for progressive in (True, False):
        content = saved(IMAGE, "JPEG", progressive=progressive)
        last = content[content.rindex(b"\xff\xda") : -2]
        hidden = b"\xff\xfe\0\x04\xff\xd9"  # an end marker in a remark does not end the image
        path.write_bytes(content[:-2] + (hidden + last) * 200 + content[-2:])
        with pytest.raises(ValueError, match=r"passes\.jpg is drawn in more than 100 passes"):
            read_image(path)
        # Behind the end anything may follow, as the film of a moving photograph does.
        path.write_bytes(content + (hidden + last) * 200)
        assert read_image(path).size == IMAGE.size


def test_jpeg_2000_is_not_read(tmp_path: Path) -> None:
    IMAGE.save(tmp_path / "a.jp2")
    with pytest.raises(ValueError, match=r"a\.jp2 is not an image that can be read; use PNG"):
        read_image(tmp_path / "a.jp2")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(OSError, match=r"pipe\.jpg is no ordinary file"):
        read_image(tmp_path / "pipe.jpg")


def test_wide_numbers_take_little_memory() -> None:
    values = torch.arange(2000 * 3000, dtype=torch.int32).reshape(2000, 3000).numpy()
    grey = read_image(Image.fromarray(values)).getchannel(0)
    wanted = [round(255 * float(values[row, 7]) / float(values.max())) for row in (0, 500, 1000, 1999)]
    assert [grey.getpixel((7, row)) for row in (0, 500, 1000, 1999)] == wanted


@pytest.mark.parametrize("dataset", ["sysu", "regdb", "llcm", "folder"])
def test_a_bad_image_of_a_data_set_stops_it_or_is_left_out(dataset: str, tmp_path: Path) -> None:
    root = trees.MAKERS[dataset](tmp_path / "data")

    def load(on_bad: str) -> list[str]:
        cache = tmp_path / "cache"
        data = load_data(dataset, root, image_size=(16, 8), cache_dir=cache, parts=("test",), on_bad=on_bad)
        return list(data.test.names)

    names = load("error")
    kinds = [b"", b"no picture", saved(IMAGE, "JPEG")[:900], saved(IMAGE, "PNG")[:-300]]
    for name, content in zip(names[::3], kinds, strict=False):
        (root / name).write_bytes(content)
    bad = names[::3][: len(kinds)]
    with pytest.raises(ValueError, match=f"{len(bad)} of {len(names)} images cannot be read") as caught:
        load("error")
    assert all(name in str(caught.value) for name in bad)
    assert "verify --full" in str(caught.value) and "--on-bad skip" in str(caught.value)
    with pytest.warns(UserWarning, match="they are left out") as warned:
        assert load("skip") == [name for name in names if name not in bad]
    assert all(name in str(warned[0].message) for name in bad)
