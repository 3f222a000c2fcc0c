"""Publishing a run: a card with the figures of the weights that are stored, on the test sets that were asked for."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from eval.evaluate import evaluate
from eval.settings import EvalSettings
from mtrl import MTRL, load_pretrained
from mtrl.console import cli
from mtrl.data import load_data
from mtrl.data.imageset import ReIDData
from mtrl.data.synthetic import load_part
from mtrl.files.filenames import without_home
from mtrl.models.card import model_card
from tests.helpers import m3svd
from tests.helpers.runs import colour_people
from train import publish
from train.ablation import command as ablate
from train.ablation import one_run
from train.settings import TrainSettings
from train.translator import publish as translator_publish
from train.translator.settings import TranslatorSettings

torch.set_num_threads(1)
FLAGS = ["--size", "tiny", "--backbone", "test_resnet", "--backbone-args", "{}", "--image-size", "32", "16"]
FLAGS += ["--hold-out", "3", "--identities", "3", "--epochs", "1", "--batches", "2", "--device", "cpu"]


@pytest.fixture(scope="module")
def made() -> ReIDData:
    return ReIDData("synthetic", "sysu", colour_people(10, 0), colour_people(5, 1, first=100))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, made: ReIDData) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(one_run, "load", lambda *_, **__: made)
        assert ablate.main(["--methods", "mtrl", "--seeds", "1", "--folder", str(folder), *FLAGS]) == 0
    return folder / "mtrl-seed1"


def test_a_published_run_carries_its_own_figures(
    tmp_path: Path, run: Path, made: ReIDData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eval.measure.load_data", lambda *_, **__: made)
    output = tmp_path / "published"
    (tmp_path / "publish.yaml").write_text(f"name: Test\noutput: {output}\n")
    assert publish.main([str(run), "--config", str(tmp_path / "publish.yaml")]) == 0
    model = load_pretrained(output)
    card = (output / "README.md").read_text()
    for direction in ("ir2vis", "vis2ir"):
        figures = evaluate(model, made.test, direction=direction).mean
        row = next(line for line in card.splitlines() if line.startswith(f"| synthetic-tiny | {direction}"))
        cells = [cell.strip() for cell in row.split("|")]
        assert cells[3] == f"{100 * figures['cmc']['1']:.1f}"
        assert cells[4].split(" ")[0] == f"{100 * figures['map']:.1f}"
    assert "# Test" in card and "- Seed: 1" in card
    reference = load_file(output / "reference.safetensors")
    drawn = load_part("test", "tiny", image_size=(128, 64), cache_dir=tmp_path, progress=False, people=(0, 2))
    for name in ("visible", "infrared"):
        for loaded in reference[name]:  # never of the run's own data
            assert any(np.array_equal(loaded.permute(1, 2, 0), image) for image in drawn.images)
        np.testing.assert_allclose(
            model.encode(reference[name], modality=name), reference[f"{name}_embeddings"], atol=1e-5
        )


def test_a_card_with_other_test_sets(
    tmp_path: Path, run: Path, made: ReIDData, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = {
        ("tiny", 0, "thermal"): made,
        ("small", 7, "nir"): ReIDData("synthetic", "sysu", made.train, colour_people(6, 3, first=200)),
    }

    def load_data(name: str, root: str | None = None, **how: Any) -> ReIDData:
        return sets[how["size"], how["test_seed"], how["spectrum"]]

    monkeypatch.setattr("eval.measure.load_data", load_data)
    output = tmp_path / "card"
    tests = ["--size tiny --spectrum thermal", "--size small --test-seed 7 --mode indoor --shots 10"]
    assert publish.main([str(run), "--output", str(output), *(f"--test={test}" for test in tests)]) == 0
    card, model = (output / "README.md").read_text(), load_pretrained(output)
    rows = {
        "synthetic-tiny-thermal | ir2vis, all search, single-shot": (("tiny", 0, "thermal"), {}),
        "synthetic-small, test seed 7 | ir2vis, indoor search, 10-shot": (
            ("small", 7, "nir"), {"mode": "indoor", "shots": 10}
        ),
    }  # fmt: skip
    shown = []
    for row, (key, how) in rows.items():
        line = next(line for line in card.splitlines() if line.startswith(f"| {row} |"))
        figures = evaluate(model, sets[key].test, direction="ir2vis", **how).mean  # type: ignore[arg-type]
        shown.append([cell.strip().split(" ")[0] for cell in line.split("|")][3:5])
        assert shown[-1] == [f"{100 * figures['cmc']['1']:.1f}", f"{100 * figures['map']:.1f}"]
    assert shown[0] != shown[1]
    command = "python -m eval --checkpoint user/repo --dataset synthetic --size"
    assert f"{command} tiny --spectrum thermal --direction both\n" in card
    assert f"{command} small --test-seed 7 --mode indoor --shots 10 --direction both\n" in card


def test_the_card_of_real_people_says_what_they_are(tmp_path: Path, run: Path) -> None:
    clips, output = m3svd.draw(tmp_path / "m3svd"), tmp_path / "card"
    test = f"--test=--dataset m3svd --data-root {clips}"
    assert publish.main([str(run), "--output", str(output), test]) == 0
    card = (output / "README.md").read_text()
    row = next(line for line in card.splitlines() if line.startswith("| m3svd | ir2vis |"))
    people = load_data("m3svd", clips, image_size=(32, 16)).test
    report = evaluate(load_pretrained(output), people, "clip", "ir2vis")
    assert (
        row.split("|")[4].strip() == f"{100 * report.mean['map']:.1f}"
    )  # of one trial there is no deviation
    assert "twelve real people, filmed once" in card and "no benchmark" in card
    chance = card.partition("Chance beside it: mAP ")[2].split("\n")[0]
    assert [20 < float(value) < 60 for value in chance.rstrip(".").split(" / ")] == [True, True]
    assert "python -m eval --checkpoint user/repo --dataset m3svd --data-root DIR --direction both" in card
    assert str(clips) not in card


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ("--dataset nothing", "nothing"),
        ("--shots 3", "3"),
        ("--flip", "--flip"),
        ("--trials 2", "--trials"),
        ("--direction ir2vis", "--direction"),
        ("--checkpoint x", "--checkpoint"),
        ("--dataset sysu --data-root nowhere", "nowhere"),
        ("--dataset m3svd --data-root nowhere", "nowhere"),
    ],
)
def test_a_wrong_test_set_is_refused_before_anything_is_written(
    tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str], test: str, message: str
) -> None:
    capsys.readouterr()
    with pytest.raises((ValueError, OSError, SystemExit)) as error:
        publish.main([str(run), "--output", str(tmp_path / "card"), f"--test={test}"])
    assert message in str(error.value) + capsys.readouterr().err
    assert not (tmp_path / "card").exists()


def test_a_run_of_a_split_is_tested_on_its_own(tmp_path: Path) -> None:
    settings = TrainSettings(dataset="regdb", data_root="d", trial="3")
    test = publish._options("--dataset regdb --data-root d", settings, tmp_path)
    assert test.trial == "3" and publish._own_test(settings, tmp_path).trial == "3"
    assert publish._options("--size small", settings, tmp_path).trial == "1"
    with pytest.raises(SystemExit):
        publish._options("--dataset regdb --data-root d --trial 1", settings, tmp_path)


def test_publishing_something_else(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"settings\.yaml"):
        publish.publish(tmp_path, tmp_path / "out", "float16", "x")


def test_figures_are_those_of_the_weights_though_the_run_goes_on(
    tmp_path: Path, run: Path, made: ReIDData, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = shutil.copytree(run, tmp_path / "run")
    measured = publish.measure

    def meanwhile(test: EvalSettings) -> Any:
        found = measured(test)
        torch.manual_seed(8)
        MTRL(load_pretrained(mine).config).save_pretrained(mine)  # a training writes another best model
        return found

    monkeypatch.setattr("eval.measure.load_data", lambda *_, **__: made)
    monkeypatch.setattr(publish, "measure", meanwhile)
    publish.publish(mine, tmp_path / "out", "float32", "x")
    assert load_pretrained(tmp_path / "out").fingerprint() == load_pretrained(run).fingerprint()


def test_what_was_published_stays_until_all_is_measured(
    tmp_path: Path, run: Path, made: ReIDData, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    monkeypatch.setattr("eval.measure.load_data", lambda *_, **__: made)
    publish.publish(run, output, "float16", "first")
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    assert set(before) == {"README.md", "config.json", "model.safetensors", "reference.safetensors"}
    monkeypatch.setattr(publish, "measure", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        publish.publish(run, output, "float32", "second")
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before


def test_a_runs_own_models_are_not_overwritten(tmp_path: Path, run: Path) -> None:
    mine = shutil.copytree(run, tmp_path / "run")
    before = load_pretrained(mine).fingerprint()
    for place in (mine, mine / "last", mine / "epochs" / "0001", mine / "last" / ".." / "."):
        with pytest.raises(ValueError, match="in full precision: publish into another folder"):
            publish.publish(mine, place, "float16", "x")
        with pytest.raises(ValueError, match="in full precision: publish into another folder"):
            translator_publish.main([str(mine), "--output", str(place)])
    assert load_pretrained(mine).fingerprint() == before
    with pytest.raises(ValueError, match="--name is the title"):
        publish.publish(mine, tmp_path / "out", "float16", " ")
    with pytest.raises(ValueError, match="is that of a re-identification model, not of a translator"):
        translator_publish.main([str(mine), "--output", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("home", "text", "expected"),
    [
        (
            "/home/ann",
            "--data-root=/home/ann/sysu '/home/ann/my runs' /home/ann",
            "--data-root=~/sysu '~/my runs' ~",
        ),
        (
            "/home/ann",
            "/home/anna/x /data/home/ann/x /home/ann-old",
            "/home/anna/x /data/home/ann/x /home/ann-old",
        ),
        (
            "/home/ann/",
            "the checkpoint /home/ann/runs/x (fingerprint ab)",
            "the checkpoint ~/runs/x (fingerprint ab)",
        ),
        ("/", "--data-root /data/sysu", "--data-root /data/sysu"),
    ],
)
def test_a_card_does_not_name_the_home_folder(
    monkeypatch: pytest.MonkeyPatch, home: str, text: str, expected: str
) -> None:
    monkeypatch.setenv("HOME", home)
    assert without_home(text) == expected


def test_no_text_of_a_card_names_the_home_folder(
    tmp_path: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = shutil.copytree(run, tmp_path / "run")
    record = json.loads((mine / "environment.json").read_text())
    record |= {
        "command": ["python", "-m", "train", "--translator", f"{tmp_path}/night"],
        "starting_weights": {"source": f"the checkpoint {tmp_path}/x", "license": ""},
        "teacher": {"source": f"{tmp_path}/teacher", "fingerprint": "ab"},
        "continued": [f"from step 3 with data_root {tmp_path}/other"],
    }
    (mine / "environment.json").write_text(json.dumps(record))
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = dataclasses.replace(
        cli.read_settings(TrainSettings, mine / "settings.yaml"), translator=f"{tmp_path}/night"
    )
    facts = publish.describe(mine, settings, [], "x")
    assert str(tmp_path) not in model_card(load_pretrained(run).config, facts)
    record["packages"] = {}
    told = translator_publish.describe(mine, TranslatorSettings(), "x", None)
    assert str(tmp_path) not in told.command + str(told.training)
