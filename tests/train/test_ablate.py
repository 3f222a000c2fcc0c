"""Comparing methods over seeds, and publishing a run: resumable, and with the figures that evaluation gives."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from eval.evaluate import evaluate
from mtrl import load_pretrained
from mtrl.data import load_data
from mtrl.data.imageset import ReIDData
from tests.helpers import m3svd
from tests.helpers.runs import colour_people
from train.ablation import command as ablate
from train.ablation import jobs as ablation_jobs
from train.ablation import kept_result, one_run, test_sets
from train.ablation.gains import gains
from train.ablation.report import write_report
from train.ablation.results import Run, collect
from train.presets import METHODS
from train.trainer import Trainer

torch.set_num_threads(1)
FLAGS = ["--size", "tiny", "--backbone", "test_resnet", "--backbone-args", "{}", "--image-size", "32", "16"]
FLAGS += ["--hold-out", "3", "--identities", "3", "--epochs", "1", "--batches", "2", "--device", "cpu"]


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> ReIDData:
    made = ReIDData("synthetic", "sysu", colour_people(10, 0), colour_people(5, 1, first=100))
    monkeypatch.setattr(one_run, "load", lambda *_, **__: made)
    return made


def compare(folder: Path) -> str:
    methods = ["baseline", "mtrl"]
    assert ablate.main(["--methods", *methods, "--seeds", "0", "1", "--folder", str(folder), *FLAGS]) == 0
    return (folder / "ablation.md").read_text()


def cells(text: str, *first: str) -> list[str]:
    """The cells of the table row that begins with these."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    return next(row for row in rows if row[: len(first)] == list(first))


def fake(folder: Path, name: str, ir2vis: float, vis2ir: float, test_seed: int = 0) -> None:
    """A finished run with these mAP in percent; rank-1 is a point lower."""
    figures = {
        way: {"map": value / 100, "minp": 0.1, "rank1": value / 100 - 0.01}
        for way, value in (("ir2vis", ir2vis), ("vis2ir", vis2ir))
    }
    (folder / name).mkdir(parents=True, exist_ok=True)
    result = {"seed": int(name.rpartition("seed")[2]), **figures}
    (folder / name / f"test-{test_seed}.json").write_text(json.dumps(result))


def study(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Fake results of all methods and three seeds."""
    base = {"baseline": (20, 25), "augmented": (26, 31), "direct": (24, 27), "augmented-direct": (29, 34)}
    more = {"mtc": (30, 33), "center": (25.9, 31.2), "mqr": (26.5, 31.5), "mtrl": (33, 36.5)}
    last = {"mtrl-triangle": (35, 39), "augmented-direct-4.5": (29.5, 34.5)}
    rng = np.random.default_rng(0)
    made: dict[str, list[tuple[float, float]]] = {}
    for method, (first, second) in {**base, **more, **last}.items():
        for seed in range(3):
            values = first + rng.normal(0, 0.4), second + rng.normal(0, 0.4)
            made.setdefault(method, []).append(values)
            fake(folder, f"{method}-seed{seed}", *values)
    return made


def test_the_table_holds_what_the_runs_reach(tmp_path: Path, data: ReIDData) -> None:
    text = compare(tmp_path)
    for method, label in (("baseline", "A"), ("mtrl", "full")):
        maps = []
        for seed in (0, 1):
            model = load_pretrained(tmp_path / f"{method}-seed{seed}")
            maps.append(100 * evaluate(model, data.test, direction="vis2ir").mean["map"])
        assert cells(text, method, label, "2")[5] == f"{mean(maps):.1f} ± {stdev(maps):.1f}"
    assert cells(text, "mtrl", "baseline", "2")
    kept = json.loads((tmp_path / "mtrl-seed0" / "test-0.json").read_text())
    assert kept["seed"] == 0 and set(kept["ir2vis"]) == {"map", "minp", "rank1"}


def test_gains_are_paired_and_tested(tmp_path: Path) -> None:
    made = study(tmp_path)
    fake(tmp_path, "mtrl-seed7", 90, 90)  # no partner, so not in the gains
    assert ablate.main(["--folder", str(tmp_path), "--report-only"]) == 0
    text, record = (
        (tmp_path / "ablation.md").read_text(),
        json.loads((tmp_path / "ablation.json").read_text()),
    )
    differences = np.subtract(made["mtrl"], made["augmented-direct"])
    for column, way in ((3, "ir2vis"), (5, "vis2ir")):
        pair = differences[:, (column - 3) // 2]
        # Student's t by hand: with two degrees of freedom its distribution has a closed form
        t = pair.mean() / (pair.std(ddof=1) / np.sqrt(3))
        p = 1 - abs(t) / np.sqrt(2 + t * t)
        row = cells(text, "mtrl", "augmented-direct", "3")
        assert row[column] == f"{pair.mean():+.1f} ± {pair.std(ddof=1):.1f}"
        kept = next(g for g in record["gains"] if (g["method"], g["control"]) == ("mtrl", "augmented-direct"))
        assert kept[way]["map"]["p"] == pytest.approx(p, rel=1e-6) and kept["seeds"] == [0, 1, 2]
        assert kept[way]["map"]["differences"] == pytest.approx(list(pair))
    assert cells(text, "mtrl", "full", "4") and (tmp_path / "ablation.png").stat().st_size > 20_000


def test_methods_without_the_translator_are_paired_with_those_that_have_it(tmp_path: Path) -> None:
    """hctri shows no transition image and caj has its own, so both serve every translator."""
    caj = Run("caj", METHODS["caj"]["translator"], 0).name.removesuffix("-seed0")
    for name, value in {"mtrl-spectral": 40, "hctri": 30, caj: 36, "cpm-spectral": 44, "cpm": 10}.items():
        fake(tmp_path, f"{name}-seed0", value, value)
    methods = ["mtrl", "hctri", "caj", "cpm"]
    flags = ["--translators", "spectral", "luminance", "--folder", str(tmp_path), "--report-only"]
    assert ablate.main(["--methods", *methods, *flags]) == 0
    record = json.loads((tmp_path / "ablation.json").read_text())
    found = {
        (gain["control"], gain["translator"]): gain["ir2vis"]["map"]["mean"]
        for gain in record["gains"]
        if gain["method"] == "mtrl"
    }
    text = (tmp_path / "ablation.md").read_text()
    assert cells(text, "caj")[2] == "its own" and cells(text, "hctri")[2] == "none"
    assert cells(text, "mtrl")[2] == "spectral"
    wanted = {("hctri", "spectral"): 10, ("caj", "spectral"): 4, ("cpm", "spectral"): -4}
    assert found == {key: pytest.approx(value) for key, value in wanted.items()}


def test_targets_hold_or_not(tmp_path: Path) -> None:
    made = study(tmp_path)
    ablate.main(["--folder", str(tmp_path), "--report-only"])
    text = (tmp_path / "ablation.md").read_text()
    wanted = {
        ("mtrl", "baseline"): (8, 8),
        ("mtrl", "augmented"): (3, 3),
        ("mtrl", "augmented-direct"): (3, 2),
    }
    names = ["at least 8 points", "at least 3 points", "at least 3 / 2 points", *["not negative"] * 3]
    wanted |= {(term, "augmented"): (0, 0) for term in ("mtc", "center", "mqr")}
    verdicts: list[str] = []
    for name, ((method, control), least) in zip(names, wanted.items(), strict=True):
        gained = np.subtract(made[method], made[control]).mean(0)
        row = cells(text, f"{method} over {control}: {name}")
        assert row[1::2] == [f"{value:+.1f}" for value in gained]
        assert row[2::2] == ["yes" if value >= least[way] else "no" for way, value in enumerate(gained)]
        verdicts += row[2::2]
    assert set(verdicts) == {"yes", "no"}  # the made-up study has both


def test_translators_cross_the_methods_that_use_them(tmp_path: Path) -> None:
    runs = ablate.plan(["baseline", "mtrl"], ["luminance", "spectral", "user/learned"], [0, 1])
    names = ["baseline-seed0", "mtrl-seed0", "mtrl-spectral-seed0", "mtrl-learned-seed0"]
    assert [run.name for run in runs[:4]] == names and len(runs) == 8
    for number, run in enumerate(runs):
        fake(tmp_path, run.name, 20 + number, 30 + number)
    rows = collect(tmp_path, runs, 0)
    compared = [(g["method"], g["control"], g["translator"]) for g in gains(rows)]
    assert compared == [("mtrl", "baseline", name) for name in ("luminance", "spectral", "learned")]
    path = write_report(rows, tmp_path)
    assert cells(path.read_text(), "mtrl", "full", "spectral", "2")[4].startswith("24.0")
    assert cells(path.read_text(), "baseline", "A", "none", "2")
    with pytest.raises(ValueError, match="different names"):
        ablate.plan(["mtrl"], ["a/learned", "b/learned"], [0])


def test_one_seed_has_no_deviation_and_no_test(tmp_path: Path) -> None:
    fake(tmp_path, "baseline-seed0", 20, 25)
    fake(tmp_path, "mtrl-seed0", 30, 35)
    ablate.main(["--folder", str(tmp_path), "--report-only"])
    text = (tmp_path / "ablation.md").read_text()
    assert cells(text, "mtrl", "full", "1")[3] == "30.0"
    assert cells(text, "mtrl", "baseline", "1")[3:] == ["+10.0", "–", "+10.0", "–"]


def test_reports_without_results(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no finished run"):
        ablate.main(["--folder", str(tmp_path), "--report-only"])
    fake(tmp_path, "mtrl-seed0", 30, 35)
    (tmp_path / "mtrl-seed0" / "test-0.json").write_text("{}")
    with pytest.raises(ValueError, match=r"test-0\.json holds no result"):
        ablate.main(["--folder", str(tmp_path), "--report-only"])


@pytest.mark.slow
def test_a_run_with_other_settings_is_not_taken_for_this_one(tmp_path: Path, data: ReIDData) -> None:
    first = ["--methods", "baseline", "--seeds", "0", "--folder", str(tmp_path), *FLAGS]
    assert ablate.main(first) == 0
    assert ablate.main([*first, "--log-every", "1"]) == 0
    with pytest.raises(ValueError, match="trained with epochs 1, not 2"):
        ablate.main([*first, "--epochs", "2"])


@pytest.mark.slow
def test_figures_of_another_model_or_code_are_measured_again(
    tmp_path: Path, data: ReIDData, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["--methods", "baseline", "--seeds", "0", "--folder", str(tmp_path), *FLAGS]
    run = tmp_path / "baseline-seed0"
    kept = run / "test-0.json"
    assert ablate.main(command) == 0
    before, row = kept.read_bytes(), cells((tmp_path / "ablation.md").read_text(), "baseline", "A", "1")
    monkeypatch.setattr(Trainer, "_step", lambda *_: pytest.fail("it was trained again"))
    assert ablate.main(command) == 0 and kept.read_bytes() == before
    for changed in ("code", "drawings", "timm"):
        with monkeypatch.context() as patch:
            if changed == "timm":
                patch.setattr("timm.__version__", "99.1")
            else:
                patch.setattr(
                    kept_result if changed == "code" else test_sets, "code_digest", lambda *_: "new"
                )
            with pytest.warns(UserWarning, match="measured with another .*: tested again"):
                assert ablate.main(command) == 0
        assert kept.read_bytes() != before
        assert cells((tmp_path / "ablation.md").read_text(), "baseline", "A", "1") == row
    model = load_pretrained(run)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn(value.shape, generator=torch.Generator().manual_seed(1)))
    model.save_pretrained(run)
    with pytest.warns(UserWarning, match=r"test-0\.json is left out"):
        ablate.main(["--folder", str(tmp_path), "--report-only"])
    with pytest.warns(UserWarning, match="measured with another model"):
        assert ablate.main(command) == 0
    assert cells((tmp_path / "ablation.md").read_text(), "baseline", "A", "1") != row
    (run / "model.safetensors").unlink()
    monkeypatch.setattr("timm.__version__", "99.2")
    assert ablate.main(command) == 0, "without the model the figures stay"


def test_a_failing_run_does_not_stop_the_others(
    tmp_path: Path, data: ReIDData, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step = Trainer._step

    def failing(self: Trainer, batch: Any, number: int) -> Any:
        if self.settings.method == "baseline":
            raise ValueError("the loss is not finite")
        return step(self, batch, number)

    monkeypatch.setattr(Trainer, "_step", failing)
    flags = ["--methods", "baseline", "mtrl", "--seeds", "0", "--folder", str(tmp_path), *FLAGS]
    assert ablate.main(flags) == 2
    assert "failed: baseline-seed0: the loss is not finite" in capsys.readouterr().err
    assert cells((tmp_path / "ablation.md").read_text(), "mtrl", "full", "1")


def test_children_run_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for `python -m train` that notes its threads, fails for one name, and ends."""
    stub = tmp_path / "stub" / "train"
    stub.mkdir(parents=True)
    (stub / "__main__.py").write_text(
        "import os, sys\nprint('threads', os.environ['OMP_NUM_THREADS'])\n"
        "if 'bad' in sys.argv: sys.exit('error: no such data')\n"
    )
    monkeypatch.setattr(ablation_jobs, "_ROOT", stub.parent)
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    monkeypatch.chdir(stub.parent)
    calls: list[int] = []
    commands = {name: ["ablate", name] for name in ("one", "bad", "two")}
    failed = ablation_jobs.run_children(commands, 2, tmp_path / "runs", lambda: calls.append(1))
    assert failed == [f"bad: no such data (exit 1, {tmp_path / 'runs' / 'bad.log'})"] and len(calls) == 3
    assert (tmp_path / "runs" / "two.log").read_text() == "threads 4\n"


def test_children_stop_with_their_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = tmp_path / "stub" / "train"
    stub.mkdir(parents=True)
    (stub / "__main__.py").write_text(
        "import signal, sys, time\nfrom pathlib import Path\nhere = Path(sys.argv[1])\n"
        "def saved(*_):\n    here.with_suffix('.saved').touch()\n    sys.exit(130)\n"
        "signal.signal(signal.SIGTERM, saved)\nhere.touch()\ntime.sleep(60)\n"
    )
    monkeypatch.setattr(ablation_jobs, "_ROOT", stub.parent)
    monkeypatch.chdir(stub.parent)
    names = ("one", "two", "three")

    def interrupt() -> None:
        while not all((tmp_path / name).exists() for name in names[:2]):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background job
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        ablation_jobs.run_children(
            {n: [str(tmp_path / n)] for n in names}, 2, tmp_path / "runs", lambda: None
        )
    thread.join()
    signal.signal(signal.SIGINT, before)
    assert [(tmp_path / f"{name}.saved").exists() for name in names] == [True, True, False]


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


def test_real_people_are_a_further_column(tmp_path: Path, data: ReIDData) -> None:
    clips = m3svd.draw(tmp_path / "m3svd")
    folder = tmp_path / "runs"
    command = ["--methods", "baseline", "mtrl", "--seeds", "0", "1", "--folder", str(folder), *FLAGS]
    assert ablate.main(command) == 0
    assert "real" not in (folder / "ablation.md").read_text()
    weights = (folder / "mtrl-seed0" / "model.safetensors").read_bytes()
    shutil.rmtree(folder / "baseline-seed1" / "last")  # trained to the end; only a test is missing
    with pytest.raises(ValueError, match=r"--real: .*nowhere"):
        ablate.main([*command, "--real", str(tmp_path / "nowhere")])
    assert ablate.main([*command, "--real", str(clips)]) == 0
    assert (folder / "mtrl-seed0" / "model.safetensors").read_bytes() == weights
    people = load_data("m3svd", clips, image_size=(32, 16)).test
    text = (folder / "ablation.md").read_text()
    head = next(line for line in text.splitlines() if line.startswith("| method | row |"))
    place = [cell.strip() for cell in head.split("|")[1:-1]].index("real IR->VIS mAP")
    means = {}
    for method in ("baseline", "mtrl"):
        own = [load_pretrained(folder / f"{method}-seed{seed}") for seed in (0, 1)]
        found = [
            [100 * evaluate(model, people, "clip", way).mean["map"] for model in own]
            for way in ("ir2vis", "vis2ir")
        ]
        shown = cells(text, method)[place : place + 2]
        assert [cell.split(" ")[0] for cell in shown] == [f"{np.mean(values):.1f}" for values in found]
        means[method] = np.mean(found, axis=0)
    gain = cells(text, "mtrl", "baseline")
    assert gain[-2].split(" ")[0] == f"{np.mean(means['mtrl'] - means['baseline']):+.1f}"
    kept = json.loads((folder / "mtrl-seed0" / "test-0.json").read_text())
    assert (
        set(kept["real"]) == {"ir2vis", "vis2ir"}
        and "real_ir2vis_map" in (folder / "ablation.csv").read_text()
    )
    assert "real IR" in (folder / "ablation.tex").read_text()
    rows = json.loads((folder / "ablation.json").read_text())["rows"]
    assert 100 * rows[1]["runs"][0]["real"]["ir2vis"]["map"] == pytest.approx(
        evaluate(load_pretrained(folder / "mtrl-seed0"), people, "clip", "ir2vis").mean["map"] * 100
    )
    both = [rows[1]["real_map"][way]["mean"] for way in ("ir2vis", "vis2ir")]
    assert np.mean(both) == pytest.approx(means["mtrl"].mean())
    assert ablate.main(command) == 0  # without --real the figures on real people stay
    assert json.loads((folder / "mtrl-seed0" / "test-0.json").read_text()) == kept
    for frame in next((clips / "visible").iterdir()).glob("*.png"):  # another clip under the same name
        Image.new("RGB", m3svd.FRAME_SIZE).save(frame)
    with pytest.warns(UserWarning, match="another real people"):
        assert ablate.main([*command, "--real", str(clips)]) == 0
    again = json.loads((folder / "mtrl-seed0" / "test-0.json").read_text())
    assert again["real"] != kept["real"] and again["ir2vis"] == kept["ir2vis"]
    kept["real"]["ir2vis"]["map"] = "high"
    (folder / "mtrl-seed0" / "test-0.json").write_text(json.dumps(kept))
    with pytest.raises(ValueError, match="holds no result"):
        ablate.main(["--folder", str(folder), "--report-only"])


def test_seeds_that_were_not_tested_on_real_people_leave_gaps(tmp_path: Path) -> None:
    fake(tmp_path, "baseline-seed0", 20, 30)
    fake(tmp_path, "mtrl-seed0", 30, 40)
    path = tmp_path / "mtrl-seed0" / "test-0.json"
    real = {way: {"map": 0.5, "minp": 0.4, "rank1": 0.3} for way in ("ir2vis", "vis2ir")}
    path.write_text(json.dumps({**json.loads(path.read_text()), "real": real}))
    assert ablate.main(["--folder", str(tmp_path), "--report-only"]) == 0
    text = (tmp_path / "ablation.md").read_text()
    assert cells(text, "mtrl")[-3:-1] == ["50.0", "50.0"] and cells(text, "baseline")[-3:-1] == ["", ""]
    assert "real mAP, mean of both" not in text  # no pair has both
    lines = list(csv.DictReader((tmp_path / "ablation.csv").read_text().splitlines()))
    assert {line["method"]: line["real_vis2ir_map"] for line in lines} == {"baseline": "", "mtrl": "50.000"}
