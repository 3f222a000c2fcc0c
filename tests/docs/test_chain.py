"""From a tree in a published layout to figures: verify, train, evaluate in every mode, as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.__main__ import main as evaluate
from mtrl.__main__ import main as mtrl
from mtrl.data.imageset import ImageSet, ReIDData
from mtrl.data.synthetic.export import export
from tests.helpers import trees
from train.__main__ import main as train
from train.settings import parse

TRAIN = "--backbone test_resnet --no-pretrained --image-size 32 16 --pad 2 --identities 2 --instances 2 --batches 2"
TRAIN += " --epochs 2 --eval-every 2 --device cpu --precision fp32"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTRL_CACHE", str(tmp_path / "cache"))


def people(first: int, count: int, shots: int = 3) -> ImageSet:
    """Noise with a brightness per identity, as SYSU-MM01's cameras would name it."""
    rng = np.random.default_rng(first)
    rows = [(i, c, f) for i in range(first, first + count) for c in range(1, 7) for f in range(1, 1 + shots)]
    images = rng.integers(0, 120, (len(rows), 32, 16, 3), dtype=np.uint8)
    images += (np.array([row[0] for row in rows]) * 17 % 130).astype(np.uint8)[:, None, None, None]
    cameras = np.array([row[1] for row in rows])
    return ImageSet(
        images=images,
        identities=np.array([row[0] for row in rows]),
        cameras=cameras,
        modalities=np.isin(cameras, (3, 6)).astype(np.uint8),
        names=tuple(f"cam{c}/{i:04d}/{f:04d}.jpg" for i, c, f in rows),
    )


def exported(root: Path, layout: str) -> Path:
    shots = 5 if layout == "regdb" else 3  # it has ten images of each spectrum
    export(ReIDData("synthetic", "sysu", people(1, 8, shots), people(101, 6, shots)), root, layout)
    return root


def scores(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    """The JSON of an evaluation."""
    target = tmp_path / "figures.json"
    assert evaluate([*arguments, "--json", str(target), "--device", "cpu"]) == 0
    values: dict[str, Any] = json.loads(target.read_text())
    for trial in (*values["trials"], values["mean"]):
        assert 0 < trial["map"] <= 1 and 0 < trial["cmc"]["1"] <= trial["cmc"]["20"] <= 1
    return values


def permutations(root: Path, trials: int) -> None:
    """exp/rand_perm_cam.mat of a tree."""
    import scipy.io

    rng = np.random.default_rng(0)
    cells = np.empty((6, 1), dtype=object)
    for camera in range(1, 7):
        row = np.empty((1, 106), dtype=object)
        for identity in range(1, 107):
            count = len(list((root / f"cam{camera}" / f"{identity:04d}").glob("*.jpg")))
            row[0, identity - 1] = np.array([rng.permutation(count) + 1 for _ in range(trials)])
        cells[camera - 1, 0] = row
    scipy.io.savemat(root / "exp" / "rand_perm_cam.mat", {"rand_perm_cam": cells})


@pytest.mark.slow
def test_sysu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, run = exported(tmp_path / "my cam3 data", "sysu"), tmp_path / "run"
    common = ("--dataset", "sysu", "--data-root", str(root))
    assert mtrl(["verify", *common, "--no-counts", "--full"]) == 0
    assert mtrl(["verify", *common]) == 2
    assert train([*common, "--output", str(run), "--train-ids", "296", *TRAIN.split()]) == 0
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert any("map_ir2vis" in record for record in records), "the validation identities select the model"
    permutations(root, 10)
    for mode, queries in (("all", 36), ("indoor", 36)):
        for shots in (1, 10):
            for gallery in ("seeded", "official"):
                options = ["--mode", mode, "--shots", str(shots), "--gallery", gallery]
                values = scores(tmp_path, "--checkpoint", str(run), *common, *options)
                assert len(values["trials"]) == 10 and values["num_query"] == queries
                cameras = 4 if mode == "all" else 2
                assert values["num_gallery"] == 6 * cameras * min(shots, 3)
                assert (values["mode"], values["shots"], values["gallery"]) == (mode, shots, gallery)
    assert scores(tmp_path, "--checkpoint", str(run), *common, "--direction", "vis2ir")["num_query"] == 72


@pytest.mark.slow
def test_regdb_in_ten_splits(tmp_path: Path) -> None:
    root = exported(tmp_path / "regdb", "regdb")
    runs = str(tmp_path / "runs" / "{trial}")
    common = ("--dataset", "regdb", "--data-root", str(root))
    assert mtrl(["verify", *common, "--no-counts"]) == 0
    flags = [*common, "--trial", "all", "--output", runs, *TRAIN.replace("--epochs 2", "--epochs 1").split()]
    assert train(flags) == 0
    for direction in ("ir2vis", "vis2ir"):
        arguments = ["--checkpoint", runs, *common, "--trial", "all", "--direction", direction]
        values = scores(tmp_path, *arguments)
        assert len(values["trials"]) == 10 and values["split"] == "all"
    single = scores(tmp_path, "--checkpoint", runs, *common, "--trial", "3")
    assert len(single["trials"]) == 1


def test_ten_runs_and_how_they_go_on(tmp_path: Path) -> None:
    flags = ["--dataset", "regdb", "--trial", "all", "--output", str(tmp_path / "{trial}"), "--resume"]
    (tmp_path / "4" / "last").mkdir(parents=True)
    (tmp_path / "4" / "last" / "state.safetensors").touch()
    runs = parse(flags).runs()
    assert [run.run_folder for run in runs] == [str(tmp_path / str(number)) for number in range(1, 11)]
    assert [run.trial for run in runs if run.resume] == ["4"]
    assert parse(flags[:2]).run_folder == "runs/regdb-mtrl-seed0-trial1"
    assert len(parse(flags[:2]).runs()) == 1
    with pytest.raises(ValueError, match=r"write \{trial\} in --output"):
        parse([*flags[:4], "--output", "x"]).runs()
    for wrong in (["--dataset", "regdb", "--trial", "11"], ["--dataset", "sysu", "--trial", "2"]):
        with pytest.raises(ValueError, match="trial"):
            parse(wrong)


@pytest.mark.slow
def test_llcm(tmp_path: Path) -> None:
    root, run = exported(tmp_path / "llcm", "llcm"), tmp_path / "run"
    common = ("--dataset", "llcm", "--data-root", str(root))
    assert mtrl(["verify", *common, "--no-counts"]) == 0
    assert train([*common, "--output", str(run), *TRAIN.split()]) == 0
    for direction in ("ir2vis", "vis2ir", "vis2ir_released"):
        values = scores(tmp_path, "--checkpoint", str(run), *common, "--direction", direction)
        assert values["direction"] == direction


@pytest.mark.slow
def test_folder(tmp_path: Path) -> None:
    root, run = trees.folder(tmp_path / "photos"), tmp_path / "run"
    common = ("--dataset", "folder", "--data-root", str(root))
    assert mtrl(["verify", *common]) == 0
    assert train([*common, "--output", str(run), *TRAIN.split()]) == 0
    for direction in ("ir2vis", "vis2ir"):
        values = scores(tmp_path, "--checkpoint", str(run), *common, "--direction", direction)
        assert (values["num_query"], values["num_gallery"]) == (4, 6)
