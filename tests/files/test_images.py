"""Images of every kind become RGB, or one clear error; the tensor path agrees with the image path."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mtrl.files import images
from mtrl.files.image_limits import MAX_PIXELS
from mtrl.files.images import read_image, to_batch

RNG = np.random.default_rng(0)
PHOTO = Image.fromarray(RNG.integers(0, 256, (60, 40, 3), dtype=np.uint8)).resize((200, 300))


def rgb(image: Image.Image) -> np.ndarray:
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "RGB", "RGBA", "LA", "PA", "CMYK", "YCbCr", "HSV", "I", "F", "RGBX"]
)
def test_every_mode_becomes_rgb(mode: str) -> None:
    source = PHOTO.convert("L").convert(mode) if mode in ("PA", "LA") else PHOTO.convert(mode)
    before = source.copy()
    result = read_image(source)
    assert result.mode == "RGB"
    assert result.size == PHOTO.size
    assert source.mode == mode and source.tobytes() == before.tobytes()
    if mode in ("CMYK", "YCbCr", "RGBA", "RGBX"):
        assert np.abs(rgb(result) - rgb(PHOTO)).mean() < 3


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    levels = np.linspace(0, 4095, 64 * 32).reshape(64, 32).astype(np.uint16)
    path = tmp_path / "infrared.png"
    Image.fromarray(levels).save(path)
    grey = rgb(read_image(path))[:, :, 0]
    assert len(np.unique(grey)) == 256
    assert np.abs(grey - levels / 4095 * 255).max() <= 0.5 + 1e-3
    thermal = np.linspace(30000, 31000, 600).reshape(30, 20)
    for array in (thermal.astype(np.int32), thermal.astype(np.float32), thermal.astype(np.uint16)):
        assert (
            np.abs(rgb(read_image(Image.fromarray(array)))[:, :, 0] - (thermal - 30000) / 1000 * 255).max()
            <= 1
        )


def test_eight_bits_in_a_wide_type_are_kept_where_the_range_says_so() -> None:
    values = RNG.integers(3, 90, (30, 20))
    for array in (values.astype(np.uint16), values.astype(np.int32), values.astype(np.float32)):
        assert (rgb(read_image(Image.fromarray(array), value_range=(0, 255)))[:, :, 1] == values).all()
        stretched = np.rint((values - 3) * (255 / 86))
        assert (rgb(read_image(Image.fromarray(array)))[:, :, 1] == stretched).all()
    unit = Image.fromarray((values / 255).astype(np.float32))
    assert (rgb(read_image(unit, value_range=(0, 1)))[:, :, 2] == values).all()


def test_nan_pixels_become_the_darkest() -> None:
    values = RNG.random((20, 10)).astype(np.float32)
    values[3, 4] = np.nan
    values[5, 6] = np.inf
    grey = rgb(read_image(Image.fromarray(values)))[:, :, 0]
    assert grey[3, 4] == grey[5, 6] == grey.min()
    with pytest.raises(ValueError, match="night has no finite value"):
        read_image(Image.fromarray(np.full((20, 10), np.nan, np.float32)), what="night")
    constant = Image.fromarray(np.full((20, 10), 7000, np.uint16))
    assert (rgb(read_image(constant)) == 128).all()


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (20, 30), (10, 20, 30, 0))
    image.paste((200, 0, 0, 255), (0, 0, 10, 30))
    palette = image.convert("P")
    palette.info["transparency"] = palette.getpixel((15, 5))
    palette.save(tmp_path / "p.png")
    keyed = Image.new("RGB", (20, 30), (1, 2, 3))
    keyed.paste((200, 0, 0), (0, 0, 10, 30))
    keyed.save(tmp_path / "keyed.png", transparency=(1, 2, 3))
    for source in (image, tmp_path / "p.png", tmp_path / "keyed.png"):
        result = read_image(source)
        assert result.getpixel((15, 5)) == (255, 255, 255)
        assert np.abs(np.subtract(result.getpixel((5, 5)), (200, 0, 0))).max() < 40
    half = read_image(Image.new("LA", (20, 20), (0, 128)))
    assert half.getpixel((5, 5)) == (127, 127, 127)


@pytest.mark.parametrize("suffix", ["jpg", "tif", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(tmp_path: Path, suffix: str, orientation: int) -> None:
    upright = np.zeros((48, 32, 3), np.uint8)
    upright[:24, :16] = 255  # a white quarter: every turn and mirror image of it differs in size or place
    upright[:8, :8] = 128
    turned = np.asarray(Image.fromarray(upright))
    stored = {  # what a camera writes for each orientation
        1: turned,
        2: turned[:, ::-1],
        3: turned[::-1, ::-1],
        4: turned[::-1],
        5: turned.transpose(1, 0, 2),
        6: np.rot90(turned, 1),
        7: turned[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(turned, -1),
    }[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"photo.{suffix}"
    options = {"quality": 100} if suffix == "jpg" else {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, **options)
    once = read_image(path)
    assert once.size == (32, 48)
    assert np.abs(rgb(once) - upright).mean() < 4
    assert (rgb(read_image(once)) == rgb(once)).all()


def test_animations_give_their_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (30, 40), color) for color in ("red", "lime", "blue")]
    for suffix in ("gif", "webp", "png", "tif"):
        path = tmp_path / f"moving.{suffix}"
        options = {"lossless": True} if suffix == "webp" else {}
        frames[0].save(path, save_all=True, append_images=frames[1:], **options)
        assert read_image(path).getpixel((5, 5)) == (255, 0, 0)


def test_arrays() -> None:
    pixels = np.asarray(PHOTO)
    assert (rgb(read_image(pixels)) == pixels).all()
    assert (rgb(read_image(pixels[:, ::-1])) == pixels[:, ::-1]).all()
    assert (rgb(read_image(pixels[:, :, 0]))[:, :, 2] == pixels[:, :, 0]).all()
    assert (rgb(read_image(pixels[:, :, :1]))[:, :, 2] == pixels[:, :, 0]).all()
    for wrong in (
        pixels.astype(complex),
        pixels.astype(str),
        pixels.transpose(2, 0, 1),
        pixels[None],
        np.zeros((0, 5, 3), np.uint8),
    ):
        with pytest.raises(ValueError, match="the upload"):
            read_image(wrong, what="the upload")
    with pytest.raises(ValueError, match="not NoneType"):
        read_image(None)  # type: ignore[arg-type]


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "note.jpg"
    path.write_text("not an image")
    with pytest.raises(ValueError, match=r"note\.jpg is not an image that can be read"):
        read_image(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"note\.jpg"):
        read_image(str(path))
    with pytest.raises(FileNotFoundError, match=r"none\.jpg"):
        read_image(tmp_path / "none.jpg")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        read_image(tmp_path)
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    with pytest.raises(ValueError, match="is not an image that can be read"):
        read_image(path)  # decoding this would start another program


def test_truncated_files_are_named(tmp_path: Path) -> None:
    for suffix in ("jpg", "png", "webp", "tif", "gif", "bmp"):
        buffer = io.BytesIO()
        PHOTO.save(buffer, {"jpg": "jpeg", "tif": "tiff"}.get(suffix, suffix))
        path = tmp_path / f"cut.{suffix}"
        path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
        with pytest.raises((ValueError, OSError), match=rf"cut\.{suffix}"):
            read_image(path)


@pytest.mark.parametrize(
    ("width", "height"), [(12000, 12000), (30000, 30000), (65000, 1000), (20000, 1), (1, 60)]
)
def test_absurd_sizes_are_refused_before_decoding(tmp_path: Path, width: int, height: int) -> None:
    path = tmp_path / "bomb.bmp"
    header = b"BM" + (54).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
    header += (40).to_bytes(4, "little") + width.to_bytes(4, "little") + height.to_bytes(4, "little")
    path.write_bytes(header + b"\1\0\x18\0" + bytes(24))  # promises the pixels without having them
    with warnings.catch_warnings(), pytest.raises(ValueError, match=r"bomb\.bmp (is|has)"):
        warnings.simplefilter("ignore")
        read_image(path)
    assert 8000 * 8000 <= MAX_PIXELS < 8100 * 8100


def test_image_and_tensor_agree() -> None:
    pixels = torch.from_numpy(np.array(PHOTO)).permute(2, 0, 1)[None]
    for size in ((128, 64), (300, 200), (400, 333), (16, 16)):
        image = to_batch([PHOTO], size)
        assert image.shape == (1, 3, *size)
        assert image.dtype == torch.float32 and image.min() >= 0 and image.max() <= 1
        assert torch.equal(image, to_batch(pixels, size))
        assert torch.equal(image, to_batch(pixels.float() / 255, size))
        # Pillow's own antialiased resize, which also makes the training data, is the independent reference.
        wanted = np.asarray(PHOTO.resize(size[::-1], Image.Resampling.BILINEAR)) / 255
        apart = np.abs(image[0].permute(1, 2, 0).numpy() - wanted) * 255
        assert apart.max() < 1.01 and (apart > 0.5).mean() < 0.05


def test_a_tensor_that_asks_for_gradients_is_resized_with_them() -> None:
    pixels = torch.rand(2, 3, 40, 30, generator=torch.Generator().manual_seed(0)).requires_grad_()
    exact = to_batch(pixels, (20, 10))
    exact.sum().backward()
    assert pixels.grad is not None and float(pixels.grad.sum()) == pytest.approx(2 * 3 * 20 * 10, rel=1e-4)
    assert (exact - to_batch(pixels.detach(), (20, 10))).abs().max() < 1.01 / 255


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_bytes_on_a_gpu_are_resized_as_on_the_cpu() -> None:
    pixels = torch.from_numpy(np.array(PHOTO)).permute(2, 0, 1)[None]
    there = to_batch(pixels.cuda(), (128, 64)).cpu()
    assert (there * 255 - (there * 255).round()).abs().max() < 1e-4
    assert (there - to_batch(pixels, (128, 64))).abs().max() < 1.01 / 255


def test_tensors_are_checked() -> None:
    good = torch.rand(2, 3, 20, 10)
    assert to_batch(good.double(), (20, 10)).dtype == torch.float32
    assert to_batch(torch.zeros(0, 3, 20, 10), (8, 8)).shape == (0, 3, 8, 8)
    assert to_batch([], (8, 8)).shape == (0, 3, 8, 8)
    bad = good.clone()
    bad[1, 2, 3, 4] = float("nan")
    for wrong in (bad, good * 255, good - 0.5, good[0], good[:, :1], good[:, :, :0], (good * 255).int()):
        with pytest.raises(ValueError, match="image tensor"):
            to_batch(wrong, (8, 8))


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    PHOTO.resize((40, 60)).convert("P" if kind == "GIF" else "RGB").save(buffer, kind)
    return buffer.getvalue()


FILES = {kind: encoded(kind) for kind in ("JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP", "PPM", "AVIF")}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(sorted(FILES)),
    cut=st.floats(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 0.9999), st.integers(1, 255)), max_size=8),
)
def test_mutated_files_give_a_image_or_one_clear_error(
    tmp_path: Path, kind: str, cut: float, flips: list[tuple[float, int]]
) -> None:
    content = bytearray(FILES[kind])
    for place, change in flips:
        content[int(place * len(content))] ^= change
    path = tmp_path / "mutated.img"
    path.write_bytes(content[: int((1 if cut < 0.3 else cut) * len(content))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # decoders warn about what they repair
        try:
            assert read_image(path).mode == "RGB"
        except (ValueError, OSError) as error:
            assert "mutated.img" in str(error)


@pytest.mark.parametrize("ahead", [True, False])
def test_batches_of_files_are_those_of_one_piece(
    ahead: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And without `ahead` no file is touched before its batch is asked for."""
    paths = [tmp_path / f"{row}.png" for row in range(7)]
    for row, path in enumerate(paths):
        Image.new("RGB", (10 + row, 20), (30 * row, 90, 200)).save(path)
    whole, read = to_batch(paths, (8, 4)), images._read_resized
    begun: list[int] = []

    def watched(source: Path, size: tuple[int, int], row: int, limits: None) -> torch.Tensor:
        begun.append(row)
        return read(source, size, row, limits)

    monkeypatch.setattr(images, "_read_resized", watched)
    parts = images.iter_batches(paths, (8, 4), 3, ahead=ahead)
    first = next(parts)
    assert ahead or sorted(begun) == [0, 1, 2]
    assert torch.equal(torch.cat([first, *parts]), whole) and sorted(begun) == list(range(7))
