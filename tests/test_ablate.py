"""Comparing methods over seeds, and publishing a run: resumable, and with the figures that evaluation gives."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_train import colour_people

from eval.evaluate import evaluate
from mtrl import load_pretrained
from mtrl.data.imageset import ReIDData
from train import ablate, publish
from train.loop import Trainer

torch.set_num_threads(1)
FLAGS = ["--size", "tiny", "--backbone", "test_resnet", "--backbone-args", "{}", "--image-size", "32", "16"]
FLAGS += ["--hold-out", "3", "--identities", "3", "--epochs", "1", "--batches", "2", "--device", "cpu"]


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> ReIDData:
    made = ReIDData("synthetic", "sysu", colour_people(10, 0), colour_people(5, 1, first=100))
    monkeypatch.setattr(ablate, "load", lambda *_, **__: made)
    monkeypatch.setattr(publish, "load", lambda *_, **__: made)
    return made


def compare(folder: Path) -> str:
    methods = ["baseline", "mtrl"]
    assert ablate.main(["--methods", *methods, "--seeds", "0", "1", "--folder", str(folder), *FLAGS]) == 0
    return (folder / "ablation.md").read_text()


def test_the_table_holds_what_the_runs_reach(tmp_path: Path, data: ReIDData) -> None:
    text = compare(tmp_path)
    for method in ("baseline", "mtrl"):
        maps = []
        for seed in (0, 1):
            model = load_pretrained(tmp_path / f"{method}-seed{seed}")
            maps.append(100 * evaluate(model, data.test, direction="vis2ir").mean["map"])
        row = next(line for line in text.splitlines() if line.startswith(f"| {method} |"))
        assert row.split("|")[5].strip() == f"{mean(maps):.1f} ± {stdev(maps):.1f}"
    assert "- mtrl over baseline: " in text


def test_finished_runs_are_kept_and_a_stopped_one_goes_on(
    tmp_path: Path, data: ReIDData, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Trainer._step
    steps: list[int] = []

    def counted(self: Trainer, batch: Any, number: int) -> Any:
        if len(steps) == 3:  # in the second run
            steps.append(-1)
            raise KeyboardInterrupt
        steps.append(number)
        return step(self, batch, number)

    monkeypatch.setattr(Trainer, "_step", counted)
    with pytest.raises(KeyboardInterrupt):
        compare(tmp_path)
    text = compare(tmp_path)
    assert sorted(steps) == [-1, 0, 0, 0, 0, 1, 1, 1, 1]  # four runs of two steps, none of them twice
    before = len(steps)
    assert compare(tmp_path) == text
    assert len(steps) == before


def test_a_published_run_carries_its_own_figures(tmp_path: Path, data: ReIDData) -> None:
    compare(tmp_path)
    output = tmp_path / "published"
    assert publish.main([str(tmp_path / "mtrl-seed1"), "--output", str(output), "--name", "Test"]) == 0
    model = load_pretrained(output)
    card = (output / "README.md").read_text()
    for direction in ("ir2vis", "vis2ir"):
        figures = evaluate(model, data.test, direction=direction).mean
        row = next(line for line in card.splitlines() if line.startswith(f"| synthetic-tiny | {direction}"))
        cells = [cell.strip() for cell in row.split("|")]
        assert cells[3] == f"{100 * figures['cmc']['1']:.1f}"
        assert cells[4].split(" ")[0] == f"{100 * figures['map']:.1f}"
    assert "# Test" in card and "- Seed: 1" in card
    reference = load_file(output / "reference.safetensors")
    for name in ("visible", "infrared"):
        np.testing.assert_allclose(
            model.encode(reference[name], modality=name), reference[f"{name}_embeddings"], atol=1e-5
        )


def test_publishing_something_else(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"settings\.yaml"):
        publish.publish(tmp_path, tmp_path / "out", "float16", "x")


def test_results_of_a_run_are_json(tmp_path: Path, data: ReIDData) -> None:
    compare(tmp_path)
    kept = json.loads((tmp_path / "mtrl-seed0" / "test-0.json").read_text())
    assert kept["seed"] == 0 and set(kept["ir2vis"]) == {"map", "minp", "rank1"}
