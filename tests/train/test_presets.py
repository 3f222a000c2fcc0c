"""Names that stand for several settings: a method, a preset. The named experiment is the one that is trained."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path

import pytest

from mtrl.losses.terms import TERMS
from tests.helpers.paths import ROOT
from train.__main__ import COMMANDS
from train.__main__ import main as train_main
from train.data import data_name
from train.presets import METHODS
from train.settings import TrainSettings, parse
from train.translator.settings import parse as parse_translator

RECIPE = ["--config", str(ROOT / "train" / "recipes" / "mtrl-sysu.yaml")]


def file(tmp_path: Path, text: str) -> list[str]:
    (tmp_path / "c.yaml").write_text(text)
    return ["--config", str(tmp_path / "c.yaml")]


def terms(settings: TrainSettings) -> dict[str, object]:
    return {name: getattr(settings, name) for name in METHODS["mtrl"]}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_on_the_command_line_decides_its_terms(
    method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = parse([*RECIPE, "--method", method])
    assert settings.method == method
    assert {name: getattr(settings, name) for name in METHODS[method]} == METHODS[method]
    assert (settings.optimizer, settings.epochs, settings.ramp_epochs) == ("sgd", 81, 10)
    said = capsys.readouterr().err
    differs = [name for name in ("mtc", "center", "mqr") if METHODS[method][name] != METHODS["mtrl"][name]]
    assert bool(said) == bool(differs)
    assert all(f"{name} {METHODS['mtrl'][name]}" in said for name in differs)


def test_flags_change_the_terms_of_a_method(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = file(tmp_path, "method: direct\nmtc: 9\ntransition: false\ntemperature: 0.3")
    settings = parse([*words, "--method", "mtrl", "--mtc", "2"])
    assert terms(settings) == {**METHODS["mtrl"], "mtc": 2.0} and settings.temperature == 0.3
    assert "transition False" in capsys.readouterr().err
    assert parse([*file(tmp_path, "direct: 9"), "--method", "direct"]).direct == 3.0


def test_a_method_of_the_file_keeps_the_file_s_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = parse(file(tmp_path, "method: direct\ndirect: 9"))
    assert terms(settings) == {**METHODS["direct"], "direct": 9.0}
    assert parse(file(tmp_path, "mtc: 0.5")).mtc == 0.5
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("method", [name for name in METHODS if name != "caj"])
def test_a_method_leaves_nothing_of_the_method_before(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = dataclasses.asdict(parse(["--method", "caj"]))
    names = ("method", "translator", "triplet_form", "transition")
    words = file(tmp_path, "\n".join(f"{name}: {whole[name]}" for name in names))
    settings, plain = parse([*words, "--method", method]), parse(["--method", method])
    assert {name: getattr(settings, name) for name in names} == {name: getattr(plain, name) for name in names}
    assert "triplet_form squared" in capsys.readouterr().err
    kept = parse([*words, "--method", method, "--triplet-form", "squared", "--translator", "spectral"])
    assert (kept.triplet_form, kept.translator) == ("squared", "spectral")
    assert parse(words).triplet_form == "squared"


def test_terms_without_transition_images_are_refused_at_once(tmp_path: Path) -> None:
    for words in (
        ["--method", "baseline", "--mtc", "1"],
        ["--no-transition"],
        file(tmp_path, "transition: no"),
    ):
        with pytest.raises(ValueError, match="compare transition images, but there are none"):
            parse(words)
    assert parse(["--method", "baseline", "--translator", "spectral"]).terms()["transition"] == "none"


def test_a_preset_named_on_the_command_line_says_what_the_file_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = file(tmp_path, "size: small\nepochs: 3\nimage_size: [128, 64]")
    assert parse([*words, "--size", "large"]).epochs == 3
    said = capsys.readouterr().err
    assert (
        "epochs 3, image_size 128 64" in said
        and "preset synthetic-large's epochs 40, image_size 192 96" in said
    )
    parse(words)
    parse([*words, "--size", "large", "--epochs", "3", "--image-size", "128", "64"])
    assert capsys.readouterr().err == ""
    words = file(tmp_path, "width: 9")
    assert parse_translator([*words, "--size", "tiny"]).width == 9
    assert "width 9" in capsys.readouterr().err


def test_a_backbone_is_not_built_with_the_arguments_of_another(tmp_path: Path) -> None:
    assert parse(["--size", "small"]).backbone == "resnet10t"
    assert parse(["--size", "small"]).backbone_args != "{}"
    assert parse(["--size", "small", "--backbone", "resnet50"]).backbone_args == "{}"
    words = file(tmp_path, "backbone: resnet18\nbackbone_args: {stem_width: 16}")
    assert parse(words).backbone_args == parse([*words, "--backbone", "resnet18"]).backbone_args != "{}"
    assert parse([*words, "--backbone", "resnet50"]).backbone_args == "{}"
    with_own = parse([*words, "--backbone", "resnet50", "--backbone-args", '{"a": 1}'])
    assert with_own.backbone_args == '{"a": 1}'


def test_a_record_names_the_weights_that_are_trained() -> None:
    record = dataclasses.replace(parse(["--method", "direct"]), direct=2.0).record()
    assert record["method"] == "direct" and record["dataset"] == "synthetic"
    trained = {name: value for name, value in record["terms"].items() if value}
    assert trained == {"transition": "none", "direct": 2.0} and record["terms"].keys() >= TERMS.keys()


def test_the_spectrum_is_part_of_a_run() -> None:
    near, thermal = parse([]), parse(["--spectrum", "thermal"])
    assert near.record()["spectrum"] == "nir" and thermal.record()["spectrum"] == "thermal"
    assert parse(["--dataset", "sysu"]).record()["spectrum"] is None
    assert near.fixed() | {"spectrum": "thermal"} == thermal.fixed()
    assert near.fixed()["spectrum"] is None, "as in the states of runs that had no choice"
    assert (near.run_folder, thermal.run_folder) == (
        "runs/synthetic-mtrl-seed0",
        "runs/synthetic-thermal-mtrl-seed0",
    )
    assert (data_name(near), data_name(thermal)) == ("synthetic-small", "synthetic-small-thermal")


@pytest.mark.parametrize("dataset", ["synthetic", "sysu", "regdb", "folder"])
@pytest.mark.parametrize("method", METHODS)
def test_the_settings_that_are_printed_are_those_that_hold(
    method: str, dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--dataset", dataset, "--method", method, "--lr", "0.002", "--data-root", "photos"]
    assert train_main(["settings", *options]) == 0
    printed = file(tmp_path, capsys.readouterr().out)
    expected = parse(options)
    assert parse(printed) == expected
    another = parse([*printed, "--seed", "1"])
    assert another == parse([*options, "--seed", "1"])
    assert another.run_folder != expected.run_folder, "the next seed does not go into this one's folder"


def test_settings_that_cannot_be_are_not_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="epochs must be at least 1"):
        train_main(["settings", "--epochs", "0"])
    with pytest.raises(ValueError, match="unknown option"):
        train_main(["settings", *file(tmp_path, "epoch: 3")])
    assert capsys.readouterr().out == ""


def test_the_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train_main(["-h"])
    told = " ".join(capsys.readouterr().out.split())
    for name, (module, does) in COMMANDS.items():
        assert f"{name} {does}" in told
        assert callable(importlib.import_module(module).main)
