"""Runs that cannot work, or that would not be the experiment they name, stop before an image is drawn or read."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.evaluate import evaluate
from eval.settings import EvalSettings
from mtrl import load_pretrained
from mtrl.data import load_data
from mtrl.data.imageset import ReIDData
from mtrl.data.synthetic import dataset
from tests.helpers.paths import ASSETS
from tests.helpers.runs import colour_people, settings
from train import __main__ as command
from train.ablation import command as ablate
from train.ablation import one_run
from train.ablation.report import write_report
from train.ablation.results import Row, collect
from train.publish import describe
from train.settings import TrainSettings
from train.trainer import Trainer
from train.translator import command as translator

TINY = ["--size", "tiny", "--device", "cpu", "--backbone", "test_resnet", "--image-size", "32", "16"]


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("an image is drawn")

    monkeypatch.setattr(dataset, "draw_all", refuse)
    monkeypatch.setenv("MTRL_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--identities", "500"], "a batch needs 500 identities"),
        (["--hold-out", "100000"], "cannot hold out 100000"),
        (["--translator", "mirror"], "unknown translator 'mirror'"),
        (["--device", "abacus"], "abacus"),
        (["--backbone", "resnet5000"], "timm knows no model"),
        (["--backbone-args", '{"stories": 9}'], "stories"),
        (["--image-size", "8", "8"], "image_size must be"),
        (["--erase", "2"], "erase must be in"),
        (["--smoothing", "1"], "smoothing must be"),
        (["--seed", "-1"], "seed must not be negative"),
        (["--lr", "-1"], "lr must not be negative"),
        (["--hold-out", "-1"], "hold_out must not be negative"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_a_run_that_cannot_work_draws_nothing(tmp_path: Path, flags: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        command.main([*TINY, *flags, "--output", str(tmp_path / "run")])
    lists = {"--seed": "--seeds", "--translator": "--translators"}
    flags = [lists.get(flag, flag) for flag in flags]
    with pytest.raises(ValueError, match=words):
        command.main(["ablate", *TINY, *flags, "--folder", str(tmp_path / "run"), "--methods", "mtrl"])
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--hold-out", "100000"], "cannot hold out 100000"),
        (["--device", "abacus"], "abacus"),
        (["--trial", "all"], "one split"),
        (["--flip", "3"], "flip must be"),
        (["--resume", "--output", "nothing"], "nothing to resume"),
    ],
)
def test_a_translator_that_cannot_be_trained_draws_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, OSError), match=words):
        translator.main(["--size", "tiny", *flags])


@pytest.mark.usefixtures("undrawn")
def test_labels_alone_take_no_pixels() -> None:
    data = load_data("synthetic", size="large", image_size=(256, 128), labels_only=True)
    assert len(np.unique(data.train.identities)) == dataset.SIZES["large"].train
    assert data.train.images.strides == (0, 0, 0, 0) and data.train.images.shape[1:] == (256, 128, 3)


def test_one_run_under_two_names_is_refused(tmp_path: Path, undrawn: None) -> None:
    flags = ["--folder", str(tmp_path), "--seeds", "0", *TINY]
    with pytest.raises(ValueError, match="augmented-seed0 and mtc-seed0 would train the same model"):
        ablate.main(["--methods", "augmented", "mtc", "--mtc", "1.5", *flags])
    shipped = ASSETS / "translator"
    with pytest.raises(ValueError, match="mtrl-learned-seed0 and mtrl-translator-seed0"):
        ablate.main(["--methods", "mtrl", "--translators", "learned", str(shipped), *flags])
    for wrong in (["--seed", "3"], ["--method", "mtrl"], ["--output", "x"], ["--resume"]):
        with pytest.raises(ValueError, match=f"{wrong[0]}: an ablation sets this itself"):
            ablate.main([*flags, *wrong])
    with pytest.raises(ValueError, match="--trial 1 to 10"):
        ablate.main([*flags, "--dataset", "regdb", "--trial", "all", "--data-root", str(tmp_path)])


def test_every_run_of_an_ablation_is_the_one_it_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "c.yaml"
    recipe.write_text(
        "method: mtrl\nmtc: 1.5\ncenter: 0.5\nmqr: 1.0\nseed: 7\nmethods: [augmented, mtc, baseline]\n"
    )
    parser_calls: list[Any] = []

    def noted(settings: Any, *_: Any) -> list[str]:
        parser_calls.append(settings)
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablate, "_train", noted)
        patch.setattr(ablate, "check_runs", lambda *_: None)
        ablate.main(["--folder", str(tmp_path / "a"), "--config", str(recipe), *TINY])
    found = {run.name: its.terms() for run, its in parser_calls[0].items()}
    assert list(found) == ["augmented-seed7", "mtc-seed7", "baseline-seed7"]
    assert [its["mtc"] for its in found.values()] == [0.0, 1.5, 0.0]
    assert [its["transition"] for its in found.values()] == ["luminance", "luminance", "none"]
    said = capsys.readouterr().err
    assert "since the ablation sets it: method mtrl" in said and "--method augmented decides" in said


def test_reports_name_the_weights_and_no_targets_for_other_data(tmp_path: Path, monkeypatch: Any) -> None:
    made = ReIDData("synthetic", "sysu", colour_people(10, 0), colour_people(5, 1, first=100))
    monkeypatch.setattr(one_run, "load", lambda *_, **__: made)
    flags = [*TINY, "--hold-out", "3", "--identities", "3", "--epochs", "1", "--batches", "1", "--seeds", "0"]
    assert ablate.main(["--methods", "mtc", "--folder", str(tmp_path), *flags]) == 0
    assert "transition luminance, mtc 1.5, center 0.0" in (tmp_path / "ablation.md").read_text()
    (mine,) = collect(tmp_path, ablate.plan(["mtc"], ["luminance"], [0]), 0)
    for facts, targets in (
        ({}, False),
        ({"size": "small"}, True),
        ({"dataset": "folder", "size": None}, False),
    ):
        result = mine.results[0] | facts
        rows = [Row("augmented", "luminance", {0: result}), Row("mtc", "luminance", {0: result})]
        assert ("target" in write_report(rows, tmp_path).read_text()) == targets


def test_a_resumed_run_is_the_same_experiment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ReIDData("synthetic", "sysu", colour_people(10, 0), colour_people(4, 1, first=100))
    run = settings(tmp_path, epochs=1, batches=1, hold_out=0)
    Trainer(run, data).run()
    told = capsys.readouterr().out
    assert "not evaluated on held-out identities" in told and "-1.0" not in told
    assert "mtc 1.5, center 0.5, mqr 1.0" in told
    for change in ({"mtc": 0.0}, {"translator": "spectral"}, {"erase": 0.1}, {"temperature": 0.5}):
        with pytest.raises(ValueError, match=f"belongs to a run with {next(iter(change))}"):
            Trainer(dataclasses.replace(run, resume=True, **change), data).run()
    Trainer(dataclasses.replace(run, resume=True, epochs=2, lr=1e-4), data).run()
    assert "continued with epochs 2, lr 0.0001 instead of epochs 1, lr 0.002" in capsys.readouterr().err
    text = (tmp_path / "settings.yaml").read_text()
    assert "epochs: 2" in text and "lr: 0.0001" in text
    # A card states the first command, so it also has to say what was changed later, and when.
    Trainer(dataclasses.replace(run, resume=True, epochs=3, lr=1e-4), data).run()
    facts = describe(tmp_path, run, [(EvalSettings(), evaluate(load_pretrained(tmp_path), data.test))], "x")
    first = "from step 1 with epochs 2, lr 0.0001 instead of epochs 1, lr 0.002"
    assert describe(tmp_path, dataclasses.replace(run, epochs=3), [], "x").training["epochs"] == "3"
    longer = dataclasses.replace(run, epochs=30)
    assert describe(tmp_path, longer, [], "x").training["epochs"] == "3 of 30, then it was stopped"
    assert facts.training["continued"] == f"{first}; from step 2 with epochs 3 instead of epochs 2"


def test_a_choice_of_identities_is_refused_where_it_would_choose_nothing() -> None:
    for name in ("synthetic", "regdb", "llcm", "folder"):
        with pytest.raises(ValueError, match=f"train_ids .* {name} has none"):
            TrainSettings(dataset=name, train_ids="296")
    assert TrainSettings(dataset="sysu", train_ids="296").train_ids == "296"
