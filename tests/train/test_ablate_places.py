"""Ablations over backbones and data sets, their CSV and LaTeX tables, and which GPU a child sees."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.helpers import trees
from train.ablation import command as ablate
from train.ablation.gains import gains, targets
from train.ablation.jobs import gpu
from train.ablation.report import write_report
from train.ablation.results import Row, Run, collect
from train.ablation.tables import csv_table, latex_table, result_table, target_table
from train.settings import TrainSettings

SHARED = ["--epochs", "1", "--batches", "1", "--hold-out", "0", "--device", "cpu", "--backbone-args", "{}"]
SHARED += [
    "--image-size",
    "32",
    "16",
    "--pad",
    "1",
    "--identities",
    "2",
    "--instances",
    "2",
    "--no-pretrained",
]


@pytest.mark.slow
def test_backbones_and_data_sets_are_crossed_and_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trees.sysu(tmp_path / "s")
    trees.regdb(tmp_path / "r")
    sets = [f"sysu={tmp_path / 's'}", f"regdb={tmp_path / 'r'}"]
    words = [*SHARED, "--cache-dir", str(tmp_path / "cache"), "--folder", str(tmp_path / "a"), "--seeds", "0"]
    words += ["--methods", "baseline", "mtrl", "--backbones", "test_resnet", "test_vit", "--datasets", *sets]
    assert ablate.main(words) == 0
    names = {path.parent.name for path in (tmp_path / "a").glob("*/test-0.json")}
    assert names == {f"{d}-{b}-{m}-seed0" for d in ("sysu", "regdb") for b in ("test_resnet", "test_vit")
                     for m in ("baseline", "mtrl")}  # fmt: skip
    with (tmp_path / "a" / "ablation.csv").open() as file:
        lines = list(csv.DictReader(file))
    found = [(line["dataset"], line["backbone"], line["method"]) for line in lines]
    assert found == [(d, b, m) for d in ("sysu", "regdb") for b in ("test_resnet", "test_vit")
                     for m in ("baseline", "mtrl")]  # fmt: skip
    printed = (tmp_path / "a" / "ablation.md").read_text()
    assert "| method | row | data set | backbone | seeds |" in printed
    gains = [line for line in printed.splitlines() if line.startswith("| mtrl | baseline |")]
    assert len(gains) == 4, "each within its data set and backbone"
    assert r"data set & backbone & method" in (tmp_path / "a" / "ablation.tex").read_text()
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").glob("*/test-0.json")}
    capsys.readouterr()
    assert ablate.main(words) == 0
    assert times == {path: path.stat().st_mtime_ns for path in times}, "finished runs are kept"
    report = ["--report-only", "--folder", str(tmp_path / "a"), "--backbones", "test_resnet", "test_vit"]
    assert ablate.main([*report, "--datasets", "sysu", "regdb", "--methods", "baseline", "mtrl"]) == 0
    assert "test_vit" in capsys.readouterr().out


def test_a_run_names_its_folder_and_its_flags() -> None:
    run = Run("mtrl", "spectral", 3, "vit_tiny_patch16_224", "regdb=/data/Reg DB")
    assert run.name == "regdb-vit_tiny_patch16_224-mtrl-spectral-seed3"
    assert run.settings() == {"method": "mtrl", "translator": "spectral", "seed": 3, "dataset": "regdb",
                              "data_root": "/data/Reg DB", "backbone": "vit_tiny_patch16_224"}  # fmt: skip
    assert run.flags()[-4:] == ["--backbones", "vit_tiny_patch16_224", "--datasets", "regdb=/data/Reg DB"]
    assert Run("mtrl", "luminance", 3).settings() == {"method": "mtrl", "translator": "luminance", "seed": 3}
    assert ablate.plan(["mtrl"], ["luminance"], [0], ["a", "b"], ["x", "y"])[1:3] == [
        Run("mtrl", "luminance", 0, "b", "x"), Run("mtrl", "luminance", 0, "a", "y"),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="datasets must end in different names"):
        ablate.plan(["mtrl"], ["luminance"], [0], [""], ["sysu=a", "sysu=b"])


@pytest.mark.parametrize(("flag", "value"), [("backbone", "resnet18"), ("dataset", "sysu")])
def test_one_and_several_exclude_each_other(tmp_path: Path, flag: str, value: str) -> None:
    words = [f"--{flag}", value, f"--{flag}s", value, "other", "--folder", str(tmp_path)]
    with pytest.raises(ValueError, match=f"--{flag} names one, --{flag}s several"):
        ablate.main(words)


def test_tables_by_hand(tmp_path: Path) -> None:
    folders = {"baseline-seed0": 0.1, "baseline-seed1": 0.2, "mtrl-spectral_x-seed0": 0.5}
    for name, value in folders.items():
        figures = {"map": value, "rank1": value / 2, "minp": value / 4}
        (tmp_path / name).mkdir()
        record = f'{{"dataset": "own", "terms": {{}}, "ir2vis": {figures}, "vis2ir": {figures}}}'
        (tmp_path / name / "test-0.json").write_text(record.replace("'", '"'))
    runs = [Run("baseline", "luminance", 0), Run("baseline", "luminance", 1), Run("mtrl", "spectral_x", 0)]
    rows = collect(tmp_path, runs, 0)
    assert csv_table(rows).splitlines() == [
        "dataset,backbone,method,translator,seed,ir2vis_map,ir2vis_rank1,ir2vis_minp,"
        "vis2ir_map,vis2ir_rank1,vis2ir_minp",
        "own,,baseline,luminance,0,10.000,5.000,2.500,10.000,5.000,2.500",
        "own,,baseline,luminance,1,20.000,10.000,5.000,20.000,10.000,5.000",
        "own,,mtrl,spectral_x,0,50.000,25.000,12.500,50.000,25.000,12.500",
    ]
    latex = latex_table(rows)
    assert (
        r"none & A & 2 & 15.0 $\pm$ 7.1 & 7.5 $\pm$ 3.5" in latex
        and r"spectral\_x & full & 1 & 50.0" in latex
    )
    assert latex.startswith(r"\begin{tabular}{llrrrrr}") and r"IR$\to$VIS mAP" in latex
    assert "| method | row | translator | seeds |" in result_table(rows)
    assert latex_table([]) == "% no finished run\n" and csv_table([]).count("\n") == 1


def test_a_row_names_its_own_losses_and_the_split() -> None:
    figures = {"map": 0.5, "rank1": 0.5}
    result = {"ir2vis": figures, "vis2ir": figures, "trial": "3", "terms": {"mtc": 0.0, "my_losses:gap": 0.5}}
    row = Row("baseline", "luminance", {0: result, 1: result})
    assert row.label == "A + my_losses:gap 0.5 (split 3)"
    assert row.label in result_table([row]) and r"A + my\_losses:gap 0.5 (split 3)" in latex_table([row])
    plain = Row("mtrl", "luminance", {0: {"ir2vis": figures, "vis2ir": figures}})
    assert plain.label == "full"
    assert TrainSettings(dataset="regdb", trial="4").record()["trial"] == "4"
    assert "trial" not in TrainSettings().record()


def test_targets_name_the_place_of_their_rows() -> None:
    def row(method: str, value: float, backbone: str, dataset: str) -> Row:
        figures = dict.fromkeys(("map", "rank1"), value)
        return Row(method, "luminance", {0: {"ir2vis": figures, "vis2ir": figures}}, backbone, dataset)

    places = [("narrow", "synthetic"), ("wide", "synthetic"), ("wide", "other")]
    rows = [
        row(method, value, *place) for place in places for method, value in (("baseline", 0.1), ("mtrl", 0.5))
    ]
    reached = targets(gains(rows))
    assert [(one["backbone"], one["dataset"]) for one in reached[::2]] == places
    lines = target_table(reached, rows).splitlines()
    assert lines[0].startswith("| target (mean gain in mAP) | data set | backbone | IR->VIS |")
    found = [tuple(line.split(" | ")[1:4]) for line in lines[2:]]
    assert found == [(dataset, backbone, "+40.0") for backbone, dataset in places]


@pytest.mark.parametrize(("device", "gpus"), [("cuda:1", 0), ("cuda", 2), ("auto", 2)])
def test_a_gpu_that_is_named_is_everybody_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, gpus: int
) -> None:
    asked = []
    monkeypatch.setattr(ablate, "check_runs", lambda *_: None)
    monkeypatch.setattr(ablate.torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(ablate, "run_children", lambda *given: asked.append(given[4]) or [])
    words = ["--methods", "baseline", "--seeds", "0", "1", "--jobs", "2", "--device", device]
    assert ablate.main([*words, "--folder", str(tmp_path)]) == 0
    assert asked == [gpus]


def test_children_take_gpus_in_turn() -> None:
    assert gpu(0, None, 0) == gpu(1, None, 1) == gpu(1, "3", 1) == {}
    assert [gpu(slot, None, 2)["CUDA_VISIBLE_DEVICES"] for slot in range(3)] == ["0", "1", "0"]
    assert [gpu(slot, "4,7", 2)["CUDA_VISIBLE_DEVICES"] for slot in range(2)] == ["4", "7"]


def test_a_row_names_the_images_that_were_given_to_it(tmp_path: Path) -> None:
    """With --transitions a run records them as its transition images; its translator made none."""
    figures = {"map": 0.3, "minp": 0.2, "rank1": 0.4}
    runs = ablate.plan(["baseline", "mtrl"], ["luminance"], [0])
    for run, images in zip(runs, ("none", "made/by-gan"), strict=True):
        result = {"ir2vis": figures, "vis2ir": figures, "terms": {"transition": images, "mtc": 1.5}}
        (tmp_path / run.name).mkdir()
        (tmp_path / run.name / "test-0.json").write_text(json.dumps(result))
    rows = collect(tmp_path, runs, 0)
    assert [row.translator for row in rows] == ["luminance", "by_gan"]
    write_report(rows, tmp_path)
    written = json.loads((tmp_path / "ablation.json").read_text())["rows"]
    assert [row["translator"] for row in written] == ["luminance", "by_gan"]


def test_two_runs_that_were_shown_the_same_images_are_no_row(tmp_path: Path) -> None:
    figures = {"map": 0.3, "minp": 0.2, "rank1": 0.4}
    runs = ablate.plan(["mtrl"], ["luminance", "spectral"], [0])
    for run in runs:
        result = {"ir2vis": figures, "vis2ir": figures, "terms": {"transition": "drawn"}}
        (tmp_path / run.name).mkdir()
        (tmp_path / run.name / "test-0.json").write_text(json.dumps(result))
    with pytest.raises(ValueError, match="mtrl-spectral-seed0 shows the same images"):
        collect(tmp_path, runs, 0)
    (tmp_path / runs[1].name / "test-0.json").write_text(
        json.dumps({"ir2vis": figures, "vis2ir": figures, "terms": None})
    )
    assert [row.translator for row in collect(tmp_path, runs, 0)] == ["drawn", "spectral"]
