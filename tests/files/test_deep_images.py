"""Images of more than 8 bits: every kind is read with all its bits, and scaled by one rule."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from mtrl import MTRL
from mtrl.files.images import read_image, to_batch
from mtrl.files.levels import OutsideRange, checked_range, to_levels
from mtrl.models.config import ModelConfig
from mtrl.models.evidence import evidence_maps
from tests.helpers.deep_files import chunk, png16, tiff

RNG = np.random.default_rng(0)
Y, X = np.mgrid[:96, :48]
# A smooth scene of 0 .. 255 with a little noise: what an 8-bit camera would give.
SCENE = (128 + 100 * np.sin(Y / 9) * np.cos(X / 7) + RNG.normal(0, 9, Y.shape)).clip(0, 255)


def grey(source: object, **options: object) -> NDArray[np.int64]:
    pixels = np.asarray(read_image(source, **options)).astype(int)  # type: ignore[arg-type]
    assert (pixels[:, :, 0] == pixels[:, :, 1]).all() and (pixels[:, :, 1] == pixels[:, :, 2]).all()
    return pixels[:, :, 0]


def by_loop(values: NDArray, low: float, high: float) -> NDArray[np.int64]:
    rows = [[round(255 * min(1, max(0, (float(v) - low) / (high - low)))) for v in row] for row in values]
    return np.array(rows)


def stretched(values: NDArray) -> NDArray[np.int64]:
    """The stated rule: least to largest of what lies no further beyond the percentiles than half of their distance."""
    ordered = np.sort(values.ravel().astype(float))
    last = ordered.size - 1
    one, ninety_nine = ordered[int(np.ceil(last * 0.01))], ordered[int(np.floor(last * 0.99))]
    margin = (ninety_nine - one) / 2
    inside = [value for value in ordered if one - margin <= value <= ninety_nine + margin]
    return by_loop(values, min(inside), max(inside))


KINDS: dict[str, Callable[[NDArray], NDArray]] = {
    "degrees": lambda v: (18 + v * (18 / 255)).astype(np.float32),
    "below zero": lambda v: (v * (20 / 255) - 5).astype(np.float32),
    "fractions": lambda v: 0.2 + v * (0.1 / 255),
    "half precision": lambda v: (18 + v * (18 / 255)).astype(np.float16),
    "whole degrees": lambda v: np.rint(18 + v * (18 / 255)).astype(np.uint16),
    "12 bits": lambda v: np.rint(v * (4095 / 255)).astype(np.uint16),
    "14 bits": lambda v: np.rint(8000 + v * 2).astype(np.uint16),
    "signed 16": lambda v: np.rint(v * 20 - 2000).astype(np.int16),
    "signed 32": lambda v: np.rint(v * 1e5 - 2e6).astype(np.int32),
    "unsigned 32": lambda v: np.rint(v * 1e7 + 1e9).astype(np.uint32),
    "64": lambda v: np.rint(v * 1e9).astype(np.int64),
    "8 bits in 16": lambda v: np.rint(30 + v / 3).astype(np.uint16),
}


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_of_every_type_keep_their_contrast(kind: str) -> None:
    values = KINDS[kind](SCENE)
    shown = grey(values)
    assert np.abs(shown - stretched(values)).max() <= 1
    assert shown.min() == 0 and shown.max() == 255
    assert np.corrcoef(shown.ravel(), SCENE.ravel())[0, 1] > 0.99
    big_endian = values.astype(values.dtype.newbyteorder(">"))
    for same in (values[:, :, None], big_endian, np.asfortranarray(values), np.dstack([values] * 3)):
        assert (grey(same) == shown).all()


def test_files_of_every_type_are_their_arrays(tmp_path: Path) -> None:
    for kind in ("degrees", "below zero", "12 bits", "14 bits", "whole degrees", "signed 16", "signed 32"):
        values = KINDS[kind](SCENE)
        for order in "<>":
            (tmp_path / "a.tif").write_bytes(tiff(values, order))
            assert (grey(tmp_path / "a.tif") == grey(values)).all(), (kind, order)
        if values.dtype == np.uint16:
            (tmp_path / "a.png").write_bytes(png16(values))
            assert (grey(tmp_path / "a.png") == grey(values)).all(), kind
    large = KINDS["unsigned 32"](SCENE)
    (tmp_path / "a.tif").write_bytes(tiff(large))
    assert (grey(tmp_path / "a.tif") == grey(large)).all()
    white = KINDS["12 bits"](SCENE)
    (tmp_path / "a.tif").write_bytes(tiff(white, white_is_zero=True))
    assert np.abs(grey(tmp_path / "a.tif") - (255 - grey(white))).max() <= 1


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("channels", [2, 3, 4])
def test_all_sixteen_bits_of_png_colours_are_read(channels: int, interlaced: bool, tmp_path: Path) -> None:
    values = RNG.integers(700, 1400, (33, 17, channels)).astype(np.uint16)  # high bytes 2 to 5 only
    if channels != 3:
        values[:, :, -1] = 65535
    path = tmp_path / "deep.png"
    path.write_bytes(png16(values, interlaced))
    own = values[:, :, :3] if channels > 2 else values[:, :, 0]
    wanted = np.asarray(read_image(own))
    assert len(np.unique(wanted)) > 200
    lazy = Image.open(io.BytesIO(path.read_bytes()))
    for source in (path, Image.open(path), lazy, lazy):  # twice: reading does not use an image up
        assert (np.asarray(read_image(source)) == wanted).all()
    assert (np.asarray(lazy)[:, :, 0] == values[:, :, 0] >> 8).all()  # and its owner can still load it
    torchvision = pytest.importorskip("torchvision.io")
    if not hasattr(torchvision, "decode_png"):
        return
    raw = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        decoded = torchvision.decode_png(raw, torchvision.ImageReadMode.UNCHANGED)
    assert (decoded.permute(1, 2, 0).to(torch.int32).numpy() == values).all()  # the file is what it should be


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_all_sixteen_bits_of_tiff_colours_are_read_or_refused(
    order: str, packed: bool, tmp_path: Path
) -> None:
    path = tmp_path / "deep.tif"
    for extra in (None, 0, 2):
        values = RNG.integers(700, 1400, (33, 17, 3 if extra is None else 4)).astype(np.uint16)
        values[:, :, 3:] = 65535
        path.write_bytes(tiff(values, order, packed=packed, extra=extra))
        for source in (path, Image.open(path)):
            assert (np.asarray(read_image(source)) == np.asarray(read_image(values[:, :, :3]))).all()
    for wrong in ({"planar": True}, {"extra": 1}):  # channel by channel; premultiplied
        path.write_bytes(tiff(values, order, packed=packed, **wrong))  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"deep\.tif (has more than 8 bits|is not an image)"):
            read_image(path)


def test_portable_maps_keep_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "map.ppm"
    values = RNG.integers(1000, 1300, (20, 10, 3)).astype(np.uint16)
    for largest in (4095, 65535):
        path.write_bytes(b"P6 10 20 %d\n" % largest + values.astype(">u2").tobytes())
        assert (
            np.asarray(read_image(path, value_range=(1000, 1300))) == by_channel(values, 1000, 1300)
        ).all()
        text = " ".join(map(str, values[:, :, 0].ravel())).encode()
        for kind, content in ((b"P5", values[:, :, 0].astype(">u2").tobytes()), (b"P2", text)):
            path.write_bytes(b"%b 10 20 %d\n" % (kind, largest) + content)
            assert (grey(path, value_range=(1000, 1300)) == by_loop(values[:, :, 0], 1000, 1300)).all()
    path.write_bytes(b"P6 10 20 4095\n" + bytes(300))
    with pytest.raises(OSError, match=r"map\.ppm is truncated"):
        read_image(path)
    path.write_bytes(b"P3 1 1 4095\n1 2 3\n")
    with pytest.raises(ValueError, match=r"map\.ppm .* binary form"):
        read_image(path)


def by_channel(values: NDArray, low: float, high: float) -> NDArray[np.int64]:
    return np.dstack([by_loop(values[:, :, c], low, high) for c in range(values.shape[2])])


def test_channels_share_one_range(tmp_path: Path) -> None:
    scene = np.dstack([SCENE, 40 + SCENE / 4, np.full_like(SCENE, 90)])
    eight = np.rint(scene).astype(np.uint8)
    eight[0, 0], eight[0, 1] = 0, 255
    for deep in (eight.astype(np.uint16) * 16, eight.astype(np.float32) / 9 - 3):
        assert np.abs(np.asarray(read_image(deep)).astype(int) - eight).max() <= 1  # the hue is kept
    (tmp_path / "deep.png").write_bytes(png16(eight.astype(np.uint16) * 16))
    assert np.abs(np.asarray(read_image(tmp_path / "deep.png")).astype(int) - eight).max() <= 1


def test_hot_and_dead_pixels_flatten_nothing() -> None:
    for kind in ("degrees", "14 bits", "signed 16", "half precision"):
        clean = KINDS[kind](SCENE)
        broken = clean.copy()
        broken[5, 7], broken[60, 30] = np.array([30000, 1], clean.dtype)
        hot, whole = grey(broken), np.ones(clean.shape, bool)
        whole[5, 7] = whole[60, 30] = False
        assert np.abs(hot - grey(clean))[whole].max() <= 1 and hot[5, 7] == 255
    small = np.linspace(20, 30, 12 * 6).reshape(12, 6)
    small[3, 3] = 4000  # a single one is more than a hundredth of so small an image
    assert len(np.unique(grey(small))) > 50


@pytest.mark.parametrize("nodata", [np.nan, np.inf, -np.inf, -9999.0, 1e31, -3.4028235e38])
def test_pixels_without_data_decide_nothing_and_are_black(nodata: float) -> None:
    values = KINDS["degrees"](SCENE)
    values[40:, :20] = nodata
    known = np.isfinite(values) & (values > -100) & (values < 100)
    wanted = np.where(known, np.zeros(1), 0).astype(int)
    wanted[known] = stretched(values[known][None])[0]
    assert np.abs(grey(values) - wanted).max() <= 1
    assert (grey(values, value_range=(18, 36))[~known] == 0).all()


def test_other_marks_of_missing_data(tmp_path: Path) -> None:
    inside = np.zeros(SCENE.shape, bool)
    inside[30:, :] = True
    signed = KINDS["signed 16"](SCENE)
    wanted = grey(signed[30:])
    for mark in (-9999, -32768):
        marked = np.where(inside, signed, np.int16(mark))
        assert (grey(marked)[30:] == wanted).all() and (grey(marked)[:30] == 0).all()
    masked = np.ma.MaskedArray(signed, ~inside)
    assert (grey(masked)[30:] == wanted).all() and (grey(masked)[:30] == 0).all()
    counts = KINDS["14 bits"](SCENE)
    path = tmp_path / "declared.tif"
    path.write_bytes(tiff(np.where(inside, counts, np.uint16(0)), nodata="0"))
    assert (grey(path)[30:] == grey(counts[30:])).all() and (grey(path)[:30] == 0).all()
    path.write_bytes(tiff(np.where(inside, counts, np.uint16(0))))  # not declared: a number like any other
    assert grey(path)[30:].min() > 200
    for nothing in (np.full((8, 8), np.nan), np.ma.MaskedArray(signed, True), np.full((8, 8), -9999.0)):
        with pytest.raises(ValueError, match="night has no finite value"):
            read_image(nothing, what="night")
        with pytest.raises(ValueError, match="night has no finite value"):
            read_image(nothing, what="night", value_range=(0, 1))


def test_transparent_pixels_are_white_and_decide_nothing(tmp_path: Path) -> None:
    values = np.dstack([KINDS["14 bits"](SCENE)] * 3 + [np.full(SCENE.shape, 65535, np.uint16)])
    values[:30] = 60000
    values[:30, :, 3] = 0
    inside = grey(KINDS["14 bits"](SCENE)[30:])
    (tmp_path / "a.png").write_bytes(png16(values))
    (tmp_path / "grey.png").write_bytes(png16(values[:, :, 2:]))
    key = np.uint16(60000).tobytes()[::-1]
    (tmp_path / "key.png").write_bytes(png16(values[:, :, :3], False, chunk(b"tRNS", key * 3)))
    (tmp_path / "keyed.png").write_bytes(png16(values[:, :, 0], False, chunk(b"tRNS", key)))
    floating = np.where(values == 65535, 1.0, values.astype(float))
    for source in (values, floating, *sorted(tmp_path.glob("*.png"))):
        shown = grey(source)
        assert (shown[30:] == inside).all() and (shown[:30] == 255).all()
    for wrong in (values.astype(np.int32), values.astype(float)):
        with pytest.raises(ValueError, match="opacity"):
            read_image(wrong)


def test_a_fixed_range_keeps_equal_values_equal(tmp_path: Path) -> None:
    warm, cold = KINDS["degrees"](SCENE), KINDS["degrees"](SCENE) - 9
    for values in (warm, cold):
        (tmp_path / "a.tif").write_bytes(tiff(values))
        for source in (values, values.astype(np.float64), tmp_path / "a.tif", Image.fromarray(values)):
            assert np.abs(grey(source, value_range=(20.0, 45.0)) - by_loop(values, 20, 45)).max() <= 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        levels = [
            int(grey(np.full((4, 4), value), value_range=[20, 45])[0, 0]) for value in (9, 20, 32.5, 45, 50)
        ]
    assert levels == [0, 0, 128, 255, 255]
    with pytest.warns(OutsideRange, match=r"no value of night lies within 20 to 45"):
        read_image(KINDS["14 bits"](SCENE), what="night", value_range=(20, 45))


def test_eight_bits_stay_as_they_are_whatever_the_range() -> None:
    pixels = RNG.integers(60, 90, (30, 20, 3), dtype=np.uint8)
    for source in (pixels, Image.fromarray(pixels), Image.fromarray(pixels).convert("P")):
        plain = np.asarray(read_image(source))
        assert (np.asarray(read_image(source, value_range=(20, 45))) == plain).all()
    assert (np.asarray(read_image(pixels)) == pixels).all()
    bits = pixels[:, :, 0] > 75
    assert (grey(bits) == 255 * bits).all() and (grey(bits, value_range=(0, 9)) == 255 * bits).all()


def test_one_value_is_mid_grey_and_two_are_black_and_white() -> None:
    for constant in (np.full((8, 8), 7000, np.uint16), np.full((8, 8), -3.5), np.zeros((8, 8), np.int32)):
        assert (grey(constant) == 128).all()
    two = np.full((40, 40), 20.0)
    two[3, 4] = 36
    assert grey(two)[3, 4] == 255 and (np.delete(grey(two).ravel(), 124) == 0).all()


def test_large_images_are_scaled_from_evenly_spaced_pixels() -> None:
    columns = np.where(np.arange(1024) % 2, np.arange(1024) / 100, np.arange(1024) / 1e5)
    values = np.tile(columns.astype(np.float32), (2100, 1))  # every second pixel would be every second column
    exact = by_loop(values[:1], 0, 10.23)
    assert np.abs(to_levels(values, None, "x")[:1] - exact).max() <= 1
    rare = np.full((2000, 1000), 20.0)
    rare[1001, 501] = 21
    assert set(np.unique(to_levels(rare, None, "x"))) == {0, 255}


def test_a_value_range_is_checked() -> None:
    assert checked_range(None) is None and checked_range([20, np.float32(45)]) == (20.0, 45.0)
    for wrong in (
        5,
        "25",
        (1,),
        (1, 2, 3),
        (45, 20),
        (3, 3),
        (0, np.nan),
        (-np.inf, 0),
        {1, 2},
        ("a", "b"),
        (),
    ):
        with pytest.raises(ValueError, match="value range is two numbers"):
            read_image(SCENE, value_range=wrong)  # type: ignore[arg-type]


torch.manual_seed(0)
MODEL = MTRL(ModelConfig("test_resnet", (64, 32))).eval()


def test_encode_and_evidence_follow_the_range() -> None:
    deep = KINDS["degrees"](SCENE)
    eight = np.rint(SCENE).astype(np.uint8)
    wanted = MODEL.encode([eight])
    assert (MODEL.encode([deep], value_range=(18, 36)) * wanted).sum() > 0.9999
    assert (MODEL.encode([deep]) * wanted).sum() > 0.95
    pair = evidence_maps(MODEL, eight, eight)
    deep_pair = evidence_maps(MODEL, deep, deep, value_range=(18, 36))
    assert torch.allclose(pair[0], deep_pair[0], atol=0.02)
    assert torch.equal(MODEL.preprocess([deep], (18, 36)), MODEL.preprocess([eight]))


def test_deep_tensors_need_a_range() -> None:
    counts = torch.from_numpy(np.stack([KINDS["12 bits"](SCENE).astype(np.int32)] * 3))[None]
    images = [np.dstack([counts[0, 0].numpy()] * 3)]
    wanted = MODEL.encode(images, value_range=(0, 4095))
    for dtype in (torch.uint16, torch.int16, torch.int32, torch.int64, torch.float32, torch.float64):
        tensor = counts.to(dtype)
        assert (MODEL.encode(tensor, value_range=(0, 4095)) * wanted).sum() > 0.99999
        with pytest.raises(ValueError, match="value_range"):
            MODEL.encode(tensor)
    small = (96, 48)
    assert torch.equal(to_batch(counts, small, (0, 4095)), to_batch(images, small, (0, 4095)))
    missing = counts.double()
    missing[0, :, :5] = torch.nan
    assert bool((to_batch(missing, small, (0, 4095))[0, :, :5] == 0).all())
    bytes_ = torch.randint(0, 256, (1, 3, 20, 10), dtype=torch.uint8)
    assert torch.equal(to_batch(bytes_, (20, 10), (20, 45)), to_batch(bytes_, (20, 10)))
    for wrong in (counts > 5, counts.to(torch.complex64)):
        with pytest.raises(ValueError, match="image tensor"):
            to_batch(wrong, small, (0, 1))


def test_a_deep_image_that_pillow_has_cut_to_8_bits_is_refused(tmp_path: Path) -> None:
    values = np.stack([np.rint(SCENE).astype(np.uint16)] * 3, axis=2)  # 8 bits in 16: nothing of it is left
    files = {
        "colours.png": png16(values),
        "alpha.png": png16(values[:, :, :2] + 0),
        "colours.tif": tiff(values),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with Image.open(tmp_path / name) as image:
            image.load()
            with pytest.raises(ValueError, match=f"{name} has more than 8 bits .* pass its path"):
                read_image(image)
        read_image(tmp_path / name)
    Image.fromarray(values.astype(np.uint8)).save(tmp_path / "plain.png")
    with Image.open(tmp_path / "plain.png") as image:
        image.load()
        np.testing.assert_array_equal(np.asarray(read_image(image)), values)
