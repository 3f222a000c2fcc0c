"""The decode cache: made once, by one process, whatever happens meanwhile."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mtrl.data import array_cache
from mtrl.data.decode import Pixels, decode_images
from mtrl.data.decoder import decode
from mtrl.files.images import to_batch
from mtrl.files.levels import ValueRange
from tests.helpers import trees
from tests.helpers.paths import ROOT

SIZE = (16, 8)
COUNT = 22


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """22 images, in blocks of 4."""
    monkeypatch.setattr(array_cache, "_BLOCK", 4)
    for number in range(COUNT):
        trees.draw(tmp_path / "images", f"{number:02d}.jpg")
    return tmp_path / "images"


def names() -> list[str]:
    return [f"{number:02d}.jpg" for number in range(COUNT)]


def load(root: Path, size: tuple[int, int] = SIZE) -> Pixels:
    return decode_images(root, names(), size, root.parent / "cache")


def folder(root: Path) -> Path:
    return root.parent / "cache" / "images"


class Decoder:
    """Counts what it decodes, and can be made to fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[str] = []
        self.stop_at = ""
        monkeypatch.setattr("mtrl.data.decode.decode", self)

    def __call__(
        self, path: Path, size: tuple[int, int], value_range: ValueRange | None = None
    ) -> NDArray[np.uint8]:
        if path.name == self.stop_at:
            raise KeyboardInterrupt
        self.seen.append(path.name)
        return decode(path, size)


def check_whole(pixels: Pixels) -> None:
    assert list(pixels.rows) == names() and not pixels.bad
    for name, row in pixels.rows.items():
        assert np.abs(pixels.images[row].astype(int) - trees.colour(name)).max() <= 4


def test_decoded_once_into_a_read_only_map(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = Decoder(monkeypatch)
    first = load(root)
    check_whole(first)
    assert sorted(decoder.seen) == names()
    assert isinstance(first.images, np.memmap) and not first.images.flags.writeable
    check_whole(load(root))
    assert len(decoder.seen) == COUNT
    assert sorted(path.suffix for path in folder(root).iterdir()) == [".json", ".lock", ".npy"]


def test_the_key_follows_content_order_and_size(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = Decoder(monkeypatch)
    load(root)
    assert load(root, (8, 16)).images.shape == (COUNT, 8, 16, 3) and len(decoder.seen) == 2 * COUNT
    trees.draw(root, "03.jpg", (40, 80))
    load(root)
    assert len(decoder.seen) == 3 * COUNT
    decode_images(root, names()[1:], SIZE, root.parent / "cache")
    assert len(decoder.seen) == 4 * COUNT - 1
    backwards = decode_images(root, names()[::-1], SIZE, root.parent / "cache")
    assert len(decoder.seen) == 5 * COUNT - 1
    assert np.abs(backwards.images[0].astype(int) - trees.colour("21.jpg")).max() <= 4


def test_new_times_and_other_places_do_not_count(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = Decoder(monkeypatch)
    load(root)
    os.utime(root / "03.jpg", (1, 1))
    check_whole(load(root))
    (root.parent / "link").symlink_to(root)
    shutil.copytree(root, root.parent / "copy")
    for place in ("link", "copy"):
        check_whole(decode_images(root.parent / place, names(), SIZE, root.parent / "cache"))
    assert len(decoder.seen) == COUNT


def grey(path: Path, level: int) -> None:
    """A BMP of one grey, with one time for all: nothing but its content tells it from others."""
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (8, 16), (level, level, level)).save(path)
    os.utime(path, (1_000_000, 1_000_000))


def test_equal_names_sizes_and_times_are_not_equal_images(tmp_path: Path) -> None:
    """Two folders; then a file overwritten where it stands; then a link that leads elsewhere."""

    def level(folder: str) -> int:
        return int(decode_images(tmp_path / folder, ["a.bmp"], SIZE, tmp_path / "cache").images[0, 0, 0, 0])

    for folder, value in (("one", 10), ("two", 200)):
        grey(tmp_path / folder / "a.bmp", value)
    assert (level("one"), level("two")) == (10, 200)
    with (tmp_path / "one" / "a.bmp").open("r+b") as file:
        file.seek(-384, os.SEEK_END)
        file.write(b"\x63" * 384)
    os.utime(tmp_path / "one" / "a.bmp", (1_000_000, 1_000_000))
    assert level("one") == 99
    (tmp_path / "link").symlink_to(tmp_path / "one")
    assert level("link") == 99
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to(tmp_path / "two")
    assert level("link") == 200


def test_one_pixel_in_the_middle_of_a_large_file_counts(tmp_path: Path) -> None:
    pixels = np.zeros((256, 128, 3), np.uint8)
    for value in (0, 255):
        pixels[100, 60] = value
        Image.fromarray(pixels).save(tmp_path / "a.bmp")
        os.utime(tmp_path / "a.bmp", (1, 1))
        assert decode_images(tmp_path, ["a.bmp"], (256, 128), tmp_path / "cache").images.max() == value


def test_other_code_has_other_arrays(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = Decoder(monkeypatch)
    load(root)
    monkeypatch.setattr("mtrl.data.decode.code_digest", lambda *_: "other")
    load(root)
    assert len(decoder.seen) == 2 * COUNT
    monkeypatch.setattr("PIL.__version__", "99.0")
    load(root)
    assert len(decoder.seen) == 3 * COUNT


def test_a_file_that_changes_meanwhile_is_not_kept(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(path: Path, size: tuple[int, int], value_range: ValueRange | None) -> NDArray[np.uint8]:
        if path.name == "20.jpg":
            trees.draw(root, "20.jpg", (40, 80))
        return decode(path, size)

    monkeypatch.setattr("mtrl.data.decode.decode", change)
    with pytest.raises(OSError, match=r"20\.jpg was changed while it was decoded"):
        load(root)
    monkeypatch.setattr("mtrl.data.decode.decode", decode)
    check_whole(load(root))
    assert len(list(folder(root).glob("*.npy"))) == 1


def test_pixels_are_those_that_a_model_sees(tmp_path: Path) -> None:
    """Resizing through the cache and through `encode` differ by rounding only."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (90, 41, 3), dtype=np.uint8)).save(tmp_path / "noise.png")
    cached = decode(tmp_path / "noise.png", (48, 24))
    direct = to_batch([tmp_path / "noise.png"], (48, 24))[0].permute(1, 2, 0).numpy()
    assert np.abs(cached / 255 - direct).max() <= 1.5 / 255


def test_an_interrupted_run_goes_on(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtrl.data.decode.threads", lambda: 1)
    decoder = Decoder(monkeypatch)
    decoder.stop_at = "20.jpg"
    with pytest.raises(KeyboardInterrupt):
        load(root)
    assert not list(folder(root).glob("*.npy"))
    decoder.stop_at, decoder.seen = "", []
    check_whole(load(root))
    assert len(decoder.seen) < COUNT and "00.jpg" not in decoder.seen and "20.jpg" in decoder.seen
    assert not list(folder(root).glob("*.partial"))


@pytest.mark.parametrize("harm", ["cut", "overwrite", "remove", "garbage state"])
def test_a_harmed_partial_file_starts_again(root: Path, monkeypatch: pytest.MonkeyPatch, harm: str) -> None:
    monkeypatch.setattr("mtrl.data.decode.threads", lambda: 1)
    decoder = Decoder(monkeypatch)
    decoder.stop_at = "20.jpg"
    with pytest.raises(KeyboardInterrupt):
        load(root)
    decoder.stop_at, partial = "", next(folder(root).glob("*.partial"))
    data = partial.read_bytes()
    if harm == "cut":
        partial.write_bytes(data[:-1000])
    elif harm == "overwrite":
        partial.write_bytes(data[:-700] + bytes(700))
    elif harm == "remove":
        partial.unlink()
    else:
        next(folder(root).glob("*.json")).write_text('{"done": 8}')
    check_whole(load(root))


@pytest.mark.parametrize("harm", ["flip", "cut", "grow", "head", "no state", "other state"])
def test_a_damaged_cache_is_made_again(root: Path, monkeypatch: pytest.MonkeyPatch, harm: str) -> None:
    load(root)
    array, state = next(folder(root).glob("*.npy")), next(folder(root).glob("*.json"))
    data = bytearray(array.read_bytes())
    if harm == "flip":
        data[-100] ^= 255
    elif harm == "cut":
        data = data[:-1]
    elif harm == "grow":
        data += b"x"
    elif harm == "head":
        data[:6] = b"broken"
    elif harm == "no state":
        state.unlink()
    else:
        state.write_text("[]")
    array.write_bytes(data)
    decoder = Decoder(monkeypatch)
    if "state" in harm:
        check_whole(load(root))
    else:
        with pytest.warns(UserWarning, match="is damaged and is made again"):
            check_whole(load(root))
    assert len(decoder.seen) == COUNT
    check_whole(load(root))
    assert len(decoder.seen) == COUNT


def test_bad_files_are_named_and_tried_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = (root / "05.jpg").read_bytes()
    (root / "05.jpg").write_bytes(good[:-150].ljust(len(good), b"\0"))
    (root / "07.jpg").unlink()
    pixels = load(root)
    assert set(pixels.bad) == {"05.jpg", "07.jpg"} and "does not exist" in pixels.bad["07.jpg"]
    assert str(root / "05.jpg") in pixels.bad["05.jpg"]
    assert len(pixels.images) == COUNT - 2
    root.rename(root.parent / "moved")
    moved = decode_images(root.parent / "moved", names(), SIZE, root.parent / "cache")
    assert str(root.parent / "moved" / "05.jpg") in moved.bad["05.jpg"]
    (root.parent / "moved").rename(root)
    monkeypatch.setattr("mtrl.data.decode.decode", lambda path, size, limits: np.zeros((*size, 3), np.uint8))
    assert set(load(root).bad) == {"07.jpg"}, "a decoder that can read it has come"
    monkeypatch.undo()
    (root / "05.jpg").write_bytes(good)
    assert set(load(root).bad) == {"07.jpg"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_and_folders_are_no_images(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").mkdir()
    pixels = decode_images(tmp_path, ["a.jpg", "b.jpg"], SIZE, tmp_path / "cache")
    assert "no ordinary file" in pixels.bad["a.jpg"] and "a folder" in pixels.bad["b.jpg"]


def test_only_bad_files(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no image")
    for _ in range(2):
        pixels = decode_images(tmp_path, ["a.jpg", "b.jpg"], SIZE, tmp_path / "cache")
        assert pixels.images.shape == (0, *SIZE, 3) and set(pixels.bad) == {"a.jpg", "b.jpg"}


@pytest.mark.parametrize("when", ["before", "while writing"])
def test_a_full_disk_says_what_to_do(root: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        if when == "before":
            patch.setattr(array_cache.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
        else:
            patch.setattr(array_cache.os, "fsync", full)
        with pytest.raises(OSError, match=r"the disk is full: 22 decoded images take .*MTRL_CACHE"):
            load(root)
    check_whole(load(root))


def test_a_cache_that_cannot_be_written_says_what_to_do(root: Path) -> None:
    (root.parent / "cache").write_text("a file")
    with pytest.raises(OSError, match=r"cache .* cannot be written .*MTRL_CACHE"):
        load(root)


def test_without_locks_each_process_works_for_itself(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    check_whole(load(root))
    check_whole(load(root))


_SCRIPT = """
import sys, time, zlib
from pathlib import Path
import mtrl.data.decode as module
from mtrl.data import array_cache
array_cache._BLOCK, decode = 4, module.decode
def slow(path, size, value_range=None):
    with open(sys.argv[3], "a") as log:
        log.write(path.name + "\\n")
    time.sleep(float(sys.argv[4]))
    return decode(path, size, value_range)
module.decode = slow
names = [f"{n:02d}.jpg" for n in range(22)]
print("start", flush=True)
pixels = module.decode_images(Path(sys.argv[1]), names, (16, 8), sys.argv[2])
print(len(pixels.rows), zlib.crc32(pixels.images.tobytes()))
"""


def start(root: Path, log: Path, delay: float) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", _SCRIPT, str(root), str(root.parent / "cache"), str(log), str(delay)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


@pytest.mark.slow
def test_two_processes_at_once(root: Path) -> None:
    log = root.parent / "log"
    processes = [start(root, log, 0.05) for _ in range(3)]
    outputs = [process.communicate(timeout=600) for process in processes]
    assert all(process.returncode == 0 for process in processes), outputs
    assert len({out for out, _ in outputs}) == 1 and outputs[0][0].startswith("start\n22 ")
    assert sorted(log.read_text().split()) == names(), "every picture was decoded exactly once"


@pytest.mark.slow
def test_a_killed_process_leaves_nothing_that_harms(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = start(root, root.parent / "log", 0.2)
    deadline = time.monotonic() + 300
    while not list(folder(root).glob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert list(folder(root).glob("*.partial")) and not list(folder(root).glob("*.npy"))
    decoder = Decoder(monkeypatch)
    check_whole(load(root))
    assert 0 < len(decoder.seen) < COUNT
