"""Translators and the command that runs them over files."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import mtrl.commands.translate as command
from mtrl.translate import TRANSLATORS, Luminance, Spectral, Translator, load_translator
from mtrl.translate.files import SHIPPED

every_translator = pytest.mark.parametrize("name", [name for name in TRANSLATORS if name not in SHIPPED])
every_mode = pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])


def images(count: int = 8, height: int = 10, width: int = 6, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


@every_translator
@every_mode
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_shape_type_and_range_are_kept(name: str, training: bool, dtype: torch.dtype) -> None:
    translator = load_translator(name).train(training)
    batch = torch.cat([images(), torch.zeros(2, 3, 10, 6), torch.ones(2, 3, 10, 6)]).to(dtype)
    output = translator(batch)
    assert output.shape == batch.shape and output.dtype == dtype
    assert output.isfinite().all() and output.min() >= 0 and output.max() <= 1
    assert torch.equal(output[:, 0], output[:, 1]) and torch.equal(output[:, 0], output[:, 2])
    assert translator(batch[:0]).shape == (0, 3, 10, 6)
    assert translator(batch[:, :, :1, :1]).shape == (12, 3, 1, 1)


@every_translator
@every_mode
@pytest.mark.parametrize(
    "bad",
    [torch.zeros(3, 4, 4), torch.zeros(1, 1, 4, 4), torch.zeros(1, 4, 4, 3), torch.zeros(1, 3, 4, 4).byte()],
    ids=["no batch", "grey", "channels last", "uint8"],
)
def test_wrong_images_are_refused(name: str, training: bool, bad: Tensor) -> None:
    with pytest.raises(ValueError, match="images must be"):
        load_translator(name).train(training)(bad)


@every_translator
def test_loaded_ready_to_use_and_without_parameters(name: str) -> None:
    translator = load_translator(name)
    assert isinstance(translator, Translator) and not translator.training
    assert not list(translator.parameters()) and not translator.state_dict()
    assert torch.equal(translator(images()), translator(images()))
    assert translator.deterministic == torch.equal(*(translator.train()(images()) for _ in range(2)))


@every_translator
@every_mode
def test_content_stays_where_it_is(name: str, training: bool) -> None:
    """A bright dot answers at its own pixel, most strongly there, and symmetrically around it."""
    dots = torch.zeros(2000, 3, 9, 9)
    dots[:, :, 4, 3] = 1.0
    output = load_translator(name).train(training)(dots).mean(dim=0)[0]
    assert output.argmax() == 4 * 9 + 3
    assert torch.allclose(output[4, 2], output[4, 4], atol=0.005)
    assert torch.allclose(output[3, 3], output[5, 3], atol=0.005)


def test_luminance_equals_its_formula() -> None:
    batch = images()
    expected = 0.299 * batch[:, 0] + 0.587 * batch[:, 1] + 0.114 * batch[:, 2]
    assert torch.allclose(Luminance()(batch)[:, 1], expected, atol=1e-7)
    grey = images()[:, :1].expand(-1, 3, -1, -1)
    assert torch.allclose(Luminance()(grey), grey, atol=1e-6)


def test_spectral_draws_per_image_from_its_own_generator() -> None:
    batch = images(1).expand(16, -1, -1, -1)
    translator = Spectral(seed=5).train()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, second = translator(batch), translator(batch)
    assert torch.equal(state, torch.get_rng_state())
    assert len({tuple(x.flatten().tolist()) for x in first}) == 16 and not torch.equal(first, second)
    translator.reseed(5)
    assert torch.equal(translator(batch), first)
    assert torch.equal(Spectral(seed=5).train()(batch), first)
    assert not torch.equal(Spectral(seed=6).train()(batch), first)


def test_spectral_tone_is_monotone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mtrl.translate.spectral.NOISE", 0.0)
    monkeypatch.setattr("mtrl.translate.spectral.BLUR", 0.0)
    ramp = torch.linspace(0, 1, 101).view(1, 1, 1, -1).expand(50, 3, 1, -1)
    output = Spectral().train()(ramp)[:, 0, 0]
    assert (output.diff(dim=1) >= 0).all()
    assert torch.allclose(output[:, 0], torch.zeros(50)) and torch.allclose(output[:, -1], torch.ones(50))
    assert output[:, 50].max() - output[:, 50].min() > 0.2  # and it varies


def test_translators_that_do_not_exist_say_what_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="luminance"):
        load_translator("sepia")
    with pytest.raises(FileNotFoundError, match="lacks"):
        load_translator(tmp_path)
    for name in SHIPPED:
        monkeypatch.setitem(SHIPPED, name, tmp_path / "none")
        with pytest.raises(FileNotFoundError, match=f'{name} is shipped in .*: use "luminance", "spectral"$'):
            load_translator(name)


def run(*argv: object) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.main(parser.parse_args([str(a) for a in argv]))


def save_image(path: Path, seed: int = 0, mode: str = "RGB") -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 7, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)
    return pixels


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(float)


def test_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = save_image(tmp_path / "a.png")
    assert run(tmp_path / "a.png", tmp_path / "new" / "b.png") == 0
    expected = pixels @ [0.299, 0.587, 0.114]
    assert np.abs(read(tmp_path / "new" / "b.png") - expected[:, :, None]).max() <= 0.51
    assert "1 translated" in capsys.readouterr().out
    (tmp_path / "folder").mkdir()
    run(tmp_path / "a.png", tmp_path / "folder")
    assert (tmp_path / "folder" / "a.png").exists()


def test_a_folder_keeps_its_tree_and_continues(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    names = ["cam1/0001/0001.jpg", "cam1/0001/0002.PNG", "x.bmp", "deep/er/y.webp", "z.tif", "p.png"]
    for seed, name in enumerate(names):
        save_image(source / name, seed, "P" if name == "p.png" else "RGB")
    (source / "notes.txt").write_text("no picture")
    (source / "._x.jpg").write_bytes(b"no picture either")
    assert run(source, target) == 0
    written = sorted(str(p.relative_to(target)) for p in target.rglob("*") if p.is_file())
    assert written == sorted(names)
    assert "6 translated, 0 already there" in capsys.readouterr().out
    for name in names[1:]:  # all but JPEG are kept exactly
        expected = read(source / name) @ [0.299, 0.587, 0.114]
        assert np.abs(read(target / name) - expected[:, :, None]).max() <= 0.51
    (target / names[0]).unlink()
    before = {name: (target / name).stat().st_mtime_ns for name in names[1:]}
    run(source, target)
    assert "1 translated, 5 already there" in capsys.readouterr().out
    assert before == {name: (target / name).stat().st_mtime_ns for name in names[1:]}
    run(source, target, "--overwrite", "--translator", "spectral")
    assert "6 translated" in capsys.readouterr().out


def test_out_may_lie_within_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_image(tmp_path / "a.png")
    run(tmp_path, tmp_path / "out")
    run(tmp_path, tmp_path / "out")
    assert "0 translated, 1 already there" in capsys.readouterr().out


def test_an_interruption_leaves_whole_files_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    for seed in range(4):
        save_image(source / f"{seed}.png", seed)
    real, calls = Image.Image.save, []

    def interrupted(self: Image.Image, path: Path, **options: object) -> None:
        calls.append(path)
        if len(calls) == 3:
            Path(path).write_bytes(b"half a pict")
            raise KeyboardInterrupt
        real(self, path, **options)

    monkeypatch.setattr(Image.Image, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(source, target)
    assert sorted(p.name for p in target.iterdir()) == ["0.png", "1.png"]
    monkeypatch.undo()
    assert run(source, target) == 0
    assert sorted(p.name for p in target.iterdir()) == ["0.png", "1.png", "2.png", "3.png"]


def test_a_damaged_image_is_named_and_the_others_are_done(tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    save_image(source / "good.png")
    (source / "bad.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"1 of 2 .*bad\.png"):
        run(source, target)
    assert [p.name for p in target.iterdir()] == ["good.png"]


def test_wrong_usage_is_named(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    save_image(image)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        run(tmp_path / "nowhere", tmp_path / "out")
    for source, target, message in (
        (image, image, "lost"),
        (image, tmp_path / "a.xyz", "must end in"),
        (tmp_path, tmp_path, "lost"),
        (tmp_path, image, "folder"),
        (tmp_path / "empty", tmp_path / "out", "no images"),
    ):
        with pytest.raises(ValueError, match=message):
            run(source, target)
    with pytest.raises(ValueError, match="device"):
        run(image, tmp_path / "out.png", "--device", "abacus")
