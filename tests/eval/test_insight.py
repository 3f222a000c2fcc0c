"""Images of what was learned: the people are drawn, the figures in them are recomputed here."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eval.insight import command, evidence
from eval.insight.gap import gap_records
from eval.insight.people import choose
from eval.insight.plane import nearest_across
from mtrl import MTRL
from mtrl.data.imageset import ReIDData
from mtrl.models.config import ModelConfig
from mtrl.translate import load_translator
from tests.helpers.runs import colour_people
from train.run.log import RunLog, draw_curves

torch.set_num_threads(1)
SMALL = ModelConfig("resnet10t", (32, 16), backbone_args={"channels": [8, 16, 24, 32]})


def test_people_are_drawn_by_the_seed_and_aligned() -> None:
    images, translator = colour_people(12, 0), load_translator("luminance")
    people = choose(images, translator, 5, 4, seed=3)
    assert people.visible.shape == people.infrared.shape == (20, 3, 32, 16)
    assert len(np.unique(people.identities)) == 5 and (np.diff(people.identities) >= 0).all()
    torch.testing.assert_close(people.transition, translator(people.visible))
    assert torch.equal(people.visible, choose(images, translator, 5, 4, seed=3).visible)
    assert not torch.equal(people.visible, choose(images, translator, 5, 4, seed=4).visible)
    pixels = (people.infrared[7] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    row = next(n for n in range(len(images)) if np.array_equal(images.images[n], pixels))
    assert images.identities[row] == people.identities[7] and images.modalities[row] == 1
    assert len(choose(images, translator, 5, 99, seed=3).visible) == 5 * 4  # all have four infrared images
    with pytest.raises(ValueError, match="fewer than two people"):
        choose(images.take(images.rows(cameras=(1, 2))), translator, 5, 4, seed=0)


@pytest.mark.parametrize(
    ("translator", "modality"),
    [("luminance", "infrared"), ("mtrl.translate.exchange:ChannelExchange", "visible")],
)
def test_transitions_are_encoded_as_their_translator_says(translator: str, modality: str) -> None:
    torch.manual_seed(0)
    model = MTRL(dataclasses.replace(SMALL, stem="dual")).eval()
    with torch.no_grad():  # both stems begin as one
        for weight in model.backbone.stems[1].parameters():
            weight.add_(torch.randn_like(weight))
    people = choose(colour_people(6, 0), load_translator(translator), 3, 2, seed=0)
    both = {kind: model.encode(people.transition, modality=kind) for kind in ("visible", "infrared")}
    assert not torch.allclose(both["visible"], both["infrared"], atol=1e-3)
    torch.testing.assert_close(people.encode(model)[1], both[modality])


def test_share_of_right_nearest_images() -> None:
    people = choose(colour_people(6, 0), load_translator("luminance"), 4, 2, seed=0)
    infrared = torch.eye(8)
    assert nearest_across(infrared, infrared, people) == 1
    assert (
        nearest_across(infrared.roll(1, 0), infrared, people) == 0.5
    )  # each second one is of the person before


@pytest.mark.slow
def test_the_command_writes_its_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    MTRL(SMALL).save_pretrained(tmp_path / "run")
    data = ReIDData("synthetic", "sysu", colour_people(2, 0), colour_people(6, 1, first=100))
    monkeypatch.setattr(command, "load_data", lambda *_, **__: data)
    flags = ["--checkpoint", str(tmp_path / "run"), "--output", str(tmp_path / "out"), "--device", "cpu"]
    assert command.main(flags) == 0
    names = {"insight-plane.png", "insight-similarity.png", "insight-evidence.jpg"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    for name in names:
        with Image.open(tmp_path / "out" / name) as image:
            assert image.width > 900 and np.asarray(image.convert("L")).std() > 10
    write_run(tmp_path / "run")
    assert command.main(flags) == 0
    assert "insight-gap.png" in capsys.readouterr().out


def test_a_run_without_a_gap_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    for place in ("nowhere", "."):
        with pytest.raises(ValueError, match="is no run folder that records a modality gap"):
            command.main(["--output", str(tmp_path / "out"), "--run", str(tmp_path / place)])
    assert not list((tmp_path / "out").iterdir())


def test_the_network_before_training_is_fresh_and_leaves_no_trace() -> None:
    model = MTRL(SMALL)
    state = torch.get_rng_state()
    first, again, other = (command.untrained(model, seed) for seed in (0, 0, 1))
    assert torch.equal(state, torch.get_rng_state())
    name = "backbone.body.conv1.0.weight"
    weights = [network.state_dict()[name] for network in (first, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def write_run(folder: Path) -> None:
    """Records of four epochs of ten steps; the second evaluation has no pairs to compare."""
    log = RunLog(folder)
    for epoch in range(1, 5):
        log.write("train", 10 * epoch, {"epoch": epoch, "loss_total": 1.0, "learning_rate": 0.1})
        gap = float("nan") if epoch == 2 else 1 / epoch
        log.write("eval", 10 * epoch, {"map_ir2vis": 0.1, "map_vis2ir": 0.3, "modality_gap": gap})
    log.close()


def test_gap_by_epoch(tmp_path: Path) -> None:
    write_run(tmp_path)
    points = gap_records(tmp_path)
    assert [point["epoch"] for point in points] == [1, 3, 4]
    assert [point["gap"] for point in points] == pytest.approx([1, 1 / 3, 1 / 4])
    assert points[0]["map"] == pytest.approx(0.2)
    assert gap_records(tmp_path / "nothing") == []
    stopped = tmp_path / "stopped"  # within the fourth epoch; records every 20 steps of epochs of 100
    log = RunLog(stopped)
    for step in range(20, 341, 20):
        log.write("train", step, {"epoch": (step - 1) // 100 + 1})
        if step % 100 == 0:
            log.write("eval", step, {"map_ir2vis": 0.1, "map_vis2ir": 0.3, "modality_gap": 0.5})
    log.close()
    assert [point["epoch"] for point in gap_records(stopped)] == [1, 2, 3]
    rare = RunLog(tmp_path / "rare")  # a training step is recorded more rarely than an epoch ends
    for step, epoch in ((100, 1), (200, 2)):
        rare.write("eval", step, {"epoch": epoch, "map_ir2vis": 0.1, "map_vis2ir": 0.3, "modality_gap": 0.5})
    rare.close()
    assert [point["epoch"] for point in gap_records(tmp_path / "rare")] == [1, 2]
    (tmp_path / "old").mkdir()
    old = [{"kind": "train", "step": 10, "epoch": 1}, {"kind": "eval", "step": 10, "map_ir2vis": 0.1}]
    (tmp_path / "old" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in old))
    assert gap_records(tmp_path / "old") == []
    with Image.open(draw_curves(tmp_path)) as curves:
        assert curves.width == pytest.approx(4 * 5.2 * 130, abs=5)  # losses, rate, figures, gap


def test_evidence_shows_the_nearest_of_each_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model, people = (
        MTRL(SMALL).eval(),
        choose(colour_people(6, 0), load_translator("luminance"), 3, 4, seed=0),
    )
    asked: list[tuple[int, int]] = []

    def find(bank: torch.Tensor, image: torch.Tensor) -> int:
        return next(n for n in range(len(bank)) if torch.equal(bank[n], image))

    def noted(model: MTRL, first: torch.Tensor, second: torch.Tensor, *kinds: str) -> tuple:
        assert kinds == ("infrared", "visible")
        asked.append((find(people.infrared, first), find(people.visible, second)))
        return torch.zeros(32, 16), torch.zeros(32, 16)

    monkeypatch.setattr(evidence, "evidence_maps", noted)
    evidence.draw_evidence(model, people, tmp_path / "evidence.png")
    visible, _, infrared = people.encode(model)
    scores = infrared @ visible.T
    for number, (query, match) in enumerate(asked):
        same = number % 2 == 0
        usable = torch.from_numpy((people.identities == people.identities[query]) == same)
        assert scores[query, match] == scores[query][usable].max() and bool(usable[match])
    assert len(asked) == 6
