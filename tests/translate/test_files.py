"""A learned translator comes back bit by bit from a folder or the Hub, and anything else is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mtrl.hub.client import upload_folder
from mtrl.translate import TRANSLATORS, Learned, load_translator
from mtrl.translate.files import SHIPPED, fingerprint, read_translator, save_translator
from mtrl.translate.learned import LearnedConfig, luminance
from tests.helpers.hub_stub import TOKEN, Hub

SMALL = LearnedConfig(width=4, deep=8, blocks=1)


def images(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def trained(seed: int = 0, config: LearnedConfig = SMALL) -> Learned:
    """A network whose last layers are not zero any more."""
    torch.manual_seed(seed)
    network = Learned(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network.eval().requires_grad_(False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_translator(trained(), tmp_path / "t", card="# A card\n")
    return tmp_path / "t"


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (8, 8), (33, 18)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_any_size_keeps_shape_type_and_range(size: tuple[int, int], dtype: torch.dtype) -> None:
    batch = torch.cat([images(3, *size), torch.zeros(1, 3, *size), torch.ones(1, 3, *size)]).to(dtype)
    output = trained()(batch)
    assert output.shape == batch.shape and output.dtype == dtype
    assert output.isfinite().all() and output.min() >= 0 and output.max() <= 1
    assert torch.equal(output[:, 0], output[:, 1]) and torch.equal(output[:, 0], output[:, 2])
    assert trained()(batch[:0]).shape == (0, 3, *size)
    for bad in (batch[0], batch[:, :1], (255 * batch).byte(), batch[:, :, :0]):
        with pytest.raises(ValueError, match="images must be"):
            trained()(bad)


def test_an_untrained_network_is_luminance_and_the_default_has_one_to_three_million_weights() -> None:
    network = Learned()
    assert 1e6 <= sum(parameter.numel() for parameter in network.parameters()) <= 3e6
    batch = images(2, 16, 8)
    assert torch.allclose(network(batch), luminance(batch).expand_as(batch), atol=1e-6)


def test_images_are_seen_at_the_height_of_training() -> None:
    """Images of another height are brought to it, at most four times as large, and the result back."""

    def resized(batch: Tensor, *size: int) -> Tensor:
        return torch.nn.functional.interpolate(batch, size, mode="bilinear", antialias=True)

    plain, known = trained(), trained(config=LearnedConfig(width=4, deep=8, blocks=1, height=32))
    for size, seen in (((32, 16), (32, 16)), ((96, 50), (32, 17)), ((16, 8), (32, 16)), ((4, 6), (16, 24))):
        batch = images(2, *size)
        small = resized(batch, *seen)
        correction = resized(plain.predict(small) - luminance(small), *size)
        expected = (luminance(batch) + correction).clamp(0, 1).expand_as(batch)
        assert torch.allclose(known(batch), expected, atol=1e-6)
        half = known(batch.bfloat16())
        assert half.dtype == torch.bfloat16 and torch.allclose(half.float(), expected, atol=0.02)
    assert not torch.allclose(known(images(2, 96, 50)), plain(images(2, 96, 50)), atol=0.01)
    for size in ((1, 1), (7, 3), (33, 18), (1, 400)):
        batch = images(2, *size)
        output = known(batch)
        assert output.shape == batch.shape and output.isfinite().all()
        assert output.min() >= 0 and output.max() <= 1 and known(batch[:0]).shape == (0, 3, *size)


def test_a_file_without_a_height_is_read(folder: Path) -> None:
    path = folder / "config.json"
    values = json.loads(path.read_text())
    assert values.pop("height") == 0
    path.write_text(json.dumps(values))
    assert read_translator(folder).config == SMALL


def test_content_stays_where_it_is_and_brightness_is_seen() -> None:
    """Moving the input by the largest stride moves the output; a brighter image is not normalised away."""
    network, batch = trained(), images(1, 160, 160)
    moved = network(batch.roll((8, 8), dims=(2, 3)))
    inner = slice(72, 88)
    expected = network(batch).roll((8, 8), dims=(2, 3))[:, :, inner, inner]
    assert torch.allclose(moved[:, :, inner, inner], expected, atol=1e-5)
    assert network(batch * 0.5).mean() < network(batch).mean() - 0.1


def test_a_folder_gives_the_same_bits_and_leaves_the_random_state(folder: Path) -> None:
    state = torch.get_rng_state()
    loaded = load_translator(folder)
    assert torch.equal(state, torch.get_rng_state())
    batch = images(2, 20, 12)
    assert torch.equal(loaded(batch), trained()(batch))
    assert loaded.deterministic and not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert isinstance(loaded, Learned) and fingerprint(loaded) == fingerprint(trained())
    assert fingerprint(loaded) != fingerprint(trained(seed=1))
    assert load_translator(str(folder)).training is False
    assert (folder / "README.md").read_text() == "# A card\n"


def test_half_precision_halves_the_file(folder: Path, tmp_path: Path) -> None:
    config = LearnedConfig(width=16, deep=32, blocks=2)
    save_translator(trained(config=config), tmp_path / "full")
    save_translator(trained(config=config), tmp_path / "half", dtype="float16")
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("full", "half")]
    assert sizes[1] < 0.55 * sizes[0]
    batch = images(2, 16, 16)
    assert torch.allclose(read_translator(tmp_path / "half")(batch), trained(config=config)(batch), atol=2e-3)


def test_missing_damaged_and_foreign_files_are_refused(folder: Path, tmp_path: Path) -> None:
    weights, config = folder / "model.safetensors", folder / "config.json"
    whole, text = weights.read_bytes(), config.read_text()
    with pytest.raises(FileNotFoundError, match=r"lacks config\.json and model\.safetensors"):
        load_translator(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_translator(tmp_path / "nowhere")
    for content, message in (
        (whole[: len(whole) // 2], "damaged"),
        (whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:], "checksum"),
        (b"<html>no such page</html>", "web page"),
        (b"", "damaged"),
    ):
        weights.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            load_translator(folder)
    weights.write_bytes(whole)
    values = json.loads(text)
    for change, message in (
        ({"width": 5}, "another"),
        ({"width": 10**9}, "whole number"),
        ({"width": True}, "whole number"),
        ({"height": -1}, "whole number"),
        ({"height": 2049}, "whole number"),
        ({"height": True}, "whole number"),
        ({"height": 1.5}, "whole number"),
        ({"colour": 1}, "described by"),
        ({"format": "mtrl-1"}, "that of a re-identification model, not of a translator"),
        ({"format": ["mtrl-1"]}, "not written by"),
    ):
        config.write_text(json.dumps(values | change))
        with pytest.raises(ValueError, match=message):
            load_translator(folder)
    config.write_text("{")
    with pytest.raises(ValueError, match="JSON"):
        load_translator(folder)


def test_foreign_tensors_are_refused_by_shape_and_name(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    text = (folder / "config.json").read_text()
    more = {"more": torch.zeros(1)}
    counts = {"more": torch.zeros(1, dtype=torch.int64)}
    for change, message in (
        ({"head.bias": torch.zeros(2)}, "describes"),
        (more, "unknown"),
        (counts, "unknown"),
    ):
        save_file({**tensors, **change}, path, metadata={"format": "pt", "mtrl": text})
        with pytest.raises(ValueError, match=message):
            load_translator(folder)
    save_file(tensors, path)
    with pytest.raises(ValueError, match="not written by this library"):
        load_translator(folder)


def test_the_hub_round_trip(hub: Hub, folder: Path, tmp_path: Path) -> None:
    upload_folder(folder, "ann/night", token=TOKEN)
    batch = images(1, 16, 8)
    assert torch.equal(load_translator("ann/night")(batch), trained()(batch))
    save_translator(trained(seed=1), tmp_path / "other", card="# Another\n")
    upload_folder(tmp_path / "other", "ann/night", token=TOKEN, revision="v2")
    assert torch.equal(load_translator("ann/night", revision="v2")(batch), trained(seed=1)(batch))
    assert torch.equal(load_translator("ann/night")(batch), trained()(batch))
    with pytest.raises(FileNotFoundError, match="no revision v3"):
        load_translator("ann/night", revision="v3")
    with pytest.raises(FileNotFoundError, match="ann/none"):
        load_translator("ann/none")


def test_names_and_revisions_do_not_mix() -> None:
    for name in TRANSLATORS:
        with pytest.raises(ValueError, match="revision"):
            load_translator(name, revision="v1")
    with pytest.raises(ValueError, match="learned"):
        load_translator("sepia")


def test_a_folder_wins_over_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(6)
    mine = Learned(LearnedConfig(width=4, deep=8, blocks=1, height=32)).eval()
    for name in TRANSLATORS:
        save_translator(mine, tmp_path / name)
        batch = images(1, 32, 16)
        assert torch.equal(load_translator(tmp_path / name)(batch), mine(batch))
    with pytest.raises(FileNotFoundError, match="there is no such folder"):
        load_translator(Path("spectral"))
    monkeypatch.chdir(tmp_path)
    assert all(isinstance(load_translator(name), Learned) for name in TRANSLATORS)
    with pytest.raises(ValueError, match="spectral is a folder; a revision"):
        load_translator("spectral", revision="v1")


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_ones_are_small_repeatable_and_not_luminance(name: str) -> None:
    assert sum(path.stat().st_size for path in SHIPPED[name].iterdir()) <= 6e6
    network = load_translator(name)
    batch = images(4, 32, 16)
    batch = torch.nn.functional.interpolate(batch, scale_factor=4, mode="bilinear")
    output = network(batch)
    assert torch.equal(output, network(batch))
    assert (output - luminance(batch)).abs().mean() > 0.01
