"""Exported trees: numbers of images, SYSU-MM01's official files, and that they can be evaluated as the real ones."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from numpy.typing import NDArray

from eval.__main__ import main as evaluate
from eval.features import extract
from eval.protocols import Setting, make_trials
from mtrl import MTRL, load_pretrained
from mtrl.__main__ import main as mtrl
from mtrl.commands.synth import official_counts
from mtrl.data import load_data
from mtrl.data.listing import images_of
from mtrl.data.matfiles import read_permutations, read_test_ids, write_permutations, write_test_ids
from mtrl.data.sources.sysu import PUBLISHED_IMAGES, PUBLISHED_TEST_IDS
from mtrl.data.synthetic import dataset
from mtrl.data.synthetic.draw import Job
from mtrl.models.config import ModelConfig
from tests.helpers.paths import OFFICIAL

SIZE = ["--image-size", "16", "8"]
COUNTS = {(1, 7): 12, (2, 7): 11, (3, 7): 10, (4, 7): 13, (3, 30): 4, (5, 30): 12, (6, 30): 11, (1, 400): 9}
TEST_IDS = [7, 30]


def noise(jobs: Sequence[Job], workers: int | None = None) -> Iterator[NDArray[np.uint8]]:
    """Random images in place of drawn ones."""
    for job in jobs:
        for camera, shot in job.shots:
            rng = np.random.default_rng((job.person, camera, shot))
            yield rng.integers(0, 256, (*job.image_size, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = dataclasses.replace(dataset.SIZES["tiny"], train=5, test=3)
    monkeypatch.setattr(dataset, "SIZES", {"tiny": few})
    monkeypatch.setattr(dataset, "draw_all", noise)
    monkeypatch.setenv("MTRL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    """rand_perm_cam.mat and test_id.mat of two test identities; 400 is another part's."""
    folder = tmp_path / "kit"
    folder.mkdir()
    write_permutations(folder / "rand_perm_cam.mat", COUNTS, seed=5)
    write_test_ids(folder / "test_id.mat", TEST_IDS)
    return folder


def synth(root: Path, *options: str) -> int:
    return mtrl(["synth", "--size", "tiny", "--output", str(root), *SIZE, *options])


def found(root: Path, identities: Sequence[int]) -> dict[tuple[int, int], int]:
    """{(camera, identity): images} of a tree."""
    return {
        (camera, identity): len(paths)
        for camera in range(1, 7)
        for identity, paths in images_of(root, f"cam{camera}").items()
        if identity in identities
    }


def test_the_official_files_are_written_and_read_back(kit: Path) -> None:
    permutations = read_permutations(kit / "rand_perm_cam.mat")
    assert {key: rows.shape for key, rows in permutations.items()} == {k: (10, n) for k, n in COUNTS.items()}
    assert not (permutations[1, 7][0] == permutations[1, 7][1]).all()
    assert read_test_ids(kit / "test_id.mat") == TEST_IDS


def test_shots_per_camera(tmp_path: Path) -> None:
    assert synth(tmp_path / "tree", "--shots-per-camera", "11") == 0
    identities = [*range(1, 4), *range(1001, 1006)]
    assert found(tmp_path / "tree", identities) == {(c, i): 11 for c in range(1, 7) for i in identities}
    names = sorted(path.name for path in (tmp_path / "tree" / "cam3" / "0001").iterdir())
    assert names == [f"{frame:04d}.jpg" for frame in range(1, 12)]
    permutations = read_permutations(tmp_path / "tree" / "exp" / "rand_perm_cam.mat")
    assert {key: rows.shape for key, rows in permutations.items()} == {
        (c, i): (10, 11) for c in range(1, 7) for i in range(1, 4)
    }


def test_a_tree_like_the_official_test_set(tmp_path: Path, kit: Path) -> None:
    root, file = tmp_path / "tree", kit / "rand_perm_cam.mat"
    assert synth(root, "--like", str(file)) == 0
    assert found(root, TEST_IDS) == {key: count for key, count in COUNTS.items() if key[1] in TEST_IDS}
    assert (root / "exp" / "test_id.txt").read_text().strip() == "7,30"
    assert (root / "exp" / "rand_perm_cam.mat").read_bytes() == file.read_bytes()
    assert read_test_ids(root / "exp" / "test_id.mat") == TEST_IDS
    assert mtrl(["verify", "--dataset", "sysu", "--data-root", str(root), "--no-counts"]) == 0
    assert synth(tmp_path / "one", "--like", str(file), "--people", "1") == 0
    assert {identity for _, identity in found(tmp_path / "one", TEST_IDS)} == {7}
    assert read_test_ids(tmp_path / "one" / "exp" / "test_id.mat") == [7]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_both_ways_of_the_official_evaluation_agree(tmp_path: Path, kit: Path) -> None:
    """`eval --gallery official` on the tree, and `eval features` on its features saved for the MATLAB code."""
    root, run = tmp_path / "tree", tmp_path / "run"
    assert synth(root, "--like", str(kit / "rand_perm_cam.mat")) == 0
    MTRL(ModelConfig("test_resnet", (32, 16)), pretrained=False).eval().save_pretrained(run)
    model = load_pretrained(run)
    test = load_data("sysu", root, image_size=(32, 16), parts=("test",)).test
    features = extract(model, test, np.arange(len(test)))
    for camera in range(1, 7):
        cells = np.empty((1, 30), dtype=object)
        for identity in range(1, 31):
            rows = (test.cameras == camera) & (test.identities == identity)
            cells[0, identity - 1] = features[rows]
        scipy.io.savemat(tmp_path / f"ours_cam{camera}.mat", {"feature": cells})
    common = ["--shots", "10", "--distance", "cosine"]
    direct = [
        "--checkpoint",
        str(run),
        "--dataset",
        "sysu",
        "--data-root",
        str(root),
        "--gallery",
        "official",
    ]
    assert evaluate([*direct, *common, "--device", "cpu", "--json", str(tmp_path / "a.json")]) == 0
    saved = ["features", "--features", str(tmp_path), "--prefix", "ours", "--splits", str(root / "exp")]
    assert evaluate([*saved, *common, "--json", str(tmp_path / "b.json")]) == 0
    a, b = (json.loads((tmp_path / f"{name}.json").read_text()) for name in "ab")
    assert a["num_gallery"] == b["num_gallery"] == 40
    assert a["trials"] == b["trials"] and len(a["trials"]) == 10


def test_sets_of_equal_size_are_kept_apart() -> None:
    counts = ({(1, 7): 2, (2, 7): 1}, {(1, 7): 1, (2, 7): 2})
    first, second = (dataset.load_counts(each, image_size=(8, 8), progress=False).images for each in counts)
    assert (first[0] == second[0]).all() and (first[2] == second[1]).all() and (first[1] != second[1]).any()


@pytest.mark.parametrize(
    ("options", "spectrum"),
    [
        (("--layout", "regdb"), "thermal"),
        (("--layout", "regdb", "--spectrum", "nir"), "nir"),
        (("--layout", "sysu"), "nir"),
        (("--layout", "llcm", "--spectrum", "both"), "both"),
    ],
)
def test_the_spectrum_of_an_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], spectrum: str
) -> None:
    asked = set()

    def noted(jobs: Sequence[Job], workers: int | None = None) -> Iterator[NDArray[np.uint8]]:
        asked.update(job.spectrum for job in jobs)
        return noise(jobs, workers)

    monkeypatch.setattr(dataset, "draw_all", noted)
    assert synth(tmp_path / "tree", *options) == 0
    assert asked == {spectrum}


def test_regdb_has_ten_images_of_each_spectrum(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    assert synth(root, "--layout", "regdb") == 0
    for top, letter in (("Visible", "v"), ("Thermal", "t")):
        folders = list((root / top).iterdir())
        assert len(folders) == 8
        assert all(len(list(folder.glob(f"male_front_{letter}_?????_*.bmp"))) == 10 for folder in folders)
    for trial in (1, 10):
        parts = {}
        for part in ("train", "test"):
            for kind in ("visible", "thermal"):
                lines = (root / "idx" / f"{part}_{kind}_{trial}.txt").read_text().splitlines()
                paths, labels = zip(*(line.split(" ") for line in lines), strict=True)
                assert all((root / path).is_file() for path in paths)
                assert Counter(map(int, labels)) == dict.fromkeys(range(4), 10)
                parts.setdefault(part, set()).update(path.split("/")[1] for path in paths)
        assert not parts["train"] & parts["test"] and len(parts["train"] | parts["test"]) == 8


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_llcm_has_queries_and_gallery_images_of_one_camera(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    assert synth(root, "--layout", "llcm", "--shots-per-camera", "3") == 0
    test = load_data("llcm", root, image_size=(16, 8), parts=("test",)).test
    sides = [Counter(test.cameras[test.modalities == kind].tolist()) for kind in (0, 1)]
    assert sides == [dict.fromkeys((1, 2, 4, 5), 9), dict.fromkeys((2, 5), 9)]


def test_what_makes_no_sense_is_refused(tmp_path: Path, kit: Path) -> None:
    like = ["--like", str(kit / "rand_perm_cam.mat")]
    write_test_ids(kit / "test_id.mat", [7, 31])
    for options, reason in (
        (["--shots-per-camera", "0"], "--shots-per-camera must be at least 1"),
        (["--shots-per-camera", "3", "--layout", "regdb"], "RegDB has ten images"),
        (["--people", "3"], "--people belongs to --like"),
        ([*like, "--layout", "llcm"], "--like is of SYSU-MM01"),
        ([*like, "--shots-per-camera", "3"], "leave out --shots-per-camera"),
        (like, "lists no image of identity 31"),
        (["--like", str(tmp_path / "none.mat")], "does not exist"),
        (["--image-size", "4", "8"], "image_size must lie between"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=reason):
            synth(tmp_path / "tree", *options)
    assert not (tmp_path / "tree").exists()
    with pytest.raises(ValueError, match="camera 7 is unknown"):
        dataset.load_counts({(7, 1): 1})
    with pytest.raises(ValueError, match="between 1 and 1000"):
        dataset.load_counts({(1, 1001): 1})


@pytest.mark.skipif(not OFFICIAL.is_dir(), reason="the official SYSU-MM01 splits are not here")
def test_the_real_file_gives_the_published_test_set() -> None:
    counts = official_counts(OFFICIAL / "rand_perm_cam.mat")
    assert sum(counts.values()) == 10_578 and len({identity for _, identity in counts}) == 96
    for camera, images, people in zip(range(1, 7), PUBLISHED_IMAGES["test"], PUBLISHED_TEST_IDS, strict=True):
        here = [count for (other, _), count in counts.items() if other == camera]
        assert (sum(here), len(here)) == (images, people)
    test = dataset.load_counts(counts, image_size=(8, 8), progress=False)
    assert Counter(zip(test.cameras.tolist(), test.identities.tolist(), strict=True)) == counts
    setting = Setting("sysu", shots=10, gallery="official", trials=1)
    permutations = read_permutations(OFFICIAL / "rand_perm_cam.mat")
    (trial,) = make_trials(test.identities, test.cameras, test.modalities, setting, permutations)
    assert (len(trial.query), len(trial.gallery)) == (3803, 3010)
