"""Records of a run: times, models of single epochs, looks at the test set that choose nothing, TensorBoard's table."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mtrl import load_pretrained
from mtrl.data.imageset import ReIDData
from mtrl.files.metrics_log import read_records
from tests.helpers.runs import same, settings
from train.preflight import check_runs
from train.run.log import RunLog
from train.trainer import Trainer


@pytest.mark.slow
def test_looking_and_keeping_change_nothing_else(tmp_path: Path, data: ReIDData) -> None:
    plain, looked = tmp_path / "plain", tmp_path / "looked"
    began = datetime.now(timezone.utc)
    Trainer(settings(plain, epochs=3), data).run()
    run = settings(looked, epochs=3, save_every=2, test_every=2)
    assert run.parts == ("train", "test") and settings(plain).parts == ("train",)
    Trainer(run, data).run()
    assert same(plain, looked), "the same weights, the same best model"
    assert (plain / "model.safetensors").read_bytes() == (looked / "model.safetensors").read_bytes()
    assert [path.name for path in (looked / "epochs").iterdir()] == ["0002"] and not (
        plain / "epochs"
    ).exists()
    load_pretrained(looked / "epochs" / "0002")
    records = read_records(looked / "metrics.jsonl")
    tests = [(record["step"], record["map_ir2vis"]) for record in records if record["kind"] == "test"]
    assert [step for step, _ in tests] == [8, 12] and all(0 < value <= 1 for _, value in tests)
    assert not any(record["kind"] == "test" for record in read_records(plain / "metrics.jsonl"))
    times = [datetime.fromisoformat(record["time"]) for record in records]
    assert times == sorted(times) and began - timedelta(seconds=1) <= times[0] <= datetime.now(timezone.utc)

    files = list((looked / "tensorboard" / "hyperparameters").glob("events*"))
    board = EventAccumulator(str(files[0])).Reload()
    tags = board.Tags()["scalars"]
    assert (
        "final/eval/map_ir2vis" in tags
        and "final/test/map_ir2vis" in tags
        and "final/train/loss_total" in tags
    )
    last = [record for record in records if record["kind"] == "eval"][-1]
    assert board.Scalars("final/eval/map_ir2vis")[0].value == pytest.approx(last["map_ir2vis"])


def test_a_resumed_run_drops_what_it_evaluates_again(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    for step in (4, 8, 12):
        for kind in ("train", "eval", "test"):
            log.note(kind, step, {})
    log.close()
    for evaluated, kinds in ((True, ["train", "eval", "test"]), (False, ["train"])):
        RunLog(tmp_path, 8, evaluated).close()
        records = read_records(tmp_path / "metrics.jsonl")
        assert [record["kind"] for record in records if record["step"] == 8] == kinds
        assert sum(record["step"] == 4 for record in records) == 3 and all(r["step"] <= 8 for r in records)


@pytest.mark.curves
def test_curves_name_the_test_set(tmp_path: Path, data: ReIDData, monkeypatch: pytest.MonkeyPatch) -> None:
    titles: list[str] = []
    import matplotlib.axes

    original = matplotlib.axes.Axes.set
    monkeypatch.setattr(
        matplotlib.axes.Axes,
        "set",
        lambda self, **k: (titles.append(k.get("title", "")), original(self, **k)),
    )
    Trainer(settings(tmp_path / "run", epochs=1, batches=2, test_every=1), data).run()
    assert "Test identities, which choose nothing" in titles and (tmp_path / "run" / "curves.png").is_file()


def test_a_test_set_that_cannot_be_looked_at_is_refused_first(tmp_path: Path) -> None:
    run = settings(tmp_path / "run", dataset="synthetic", size="tiny", test_every=1, pretrained=False)
    check_runs([run])
    with pytest.raises(ValueError, match="test_every must not be negative"):
        dataclasses.replace(run, test_every=-1)
