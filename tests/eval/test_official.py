"""`python -m eval features` against what the official MATLAB code answers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.io

from eval.matfiles import read_features
from eval.official import evaluate_features, main
from eval.protocols import Setting
from mtrl.data.matfiles import read_mat, read_permutations
from tests.helpers.paths import OFFICIAL, ROOT

needs_official = pytest.mark.skipif(
    not OFFICIAL.is_dir(), reason="the official SYSU-MM01 splits are not here"
)


def save_cells(path, cells):
    array = np.empty((len(cells), 1), dtype=object)
    for row, cell in enumerate(cells):
        array[row, 0] = cell
    scipy.io.savemat(path, {"feature": array})


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """Features by the recipe of expected.json, in the official form."""
    folder = tmp_path_factory.mktemp("features")
    cells = scipy.io.loadmat(OFFICIAL / "rand_perm_cam.mat")["rand_perm_cam"].ravel()
    rng = np.random.default_rng(2026)
    person = rng.standard_normal((534, 64))
    camera_shift = 0.7 * rng.standard_normal((7, 64))
    for camera, cell in enumerate(cells, 1):
        made = []
        for identity, permutation in enumerate(cell.ravel(), 1):
            count = permutation.shape[1] if permutation.size else 0
            if count:
                noise = 1.9 * rng.standard_normal((count, 64))
                made.append(person[identity] + camera_shift[camera] + noise)
            else:
                made.append(np.zeros((0, 0)))
        save_cells(folder / f"feat_cam{camera}.mat", made)
    return folder


@needs_official
@pytest.mark.parametrize("case", [0, *(pytest.param(case, marks=pytest.mark.slow) for case in (1, 2, 3))])
def test_equals_the_official_code(features, case, tmp_path, capsys):
    expected = json.loads((OFFICIAL / "expected.json").read_text())["results"][case]
    arguments = ["--features", str(features), "--prefix", "feat", "--splits", str(OFFICIAL)]
    arguments += ["--mode", expected["mode"], "--shots", str(expected["shots"])]
    assert main([*arguments, "--json", str(tmp_path / "out.json")]) == 0
    result = json.loads((tmp_path / "out.json").read_text())
    assert abs(result["mean"]["map"] - expected["map"]) < 1e-9
    for rank, value in expected["cmc"].items():
        assert abs(result["mean"]["cmc"][rank] - value) < 1e-9
    trial_maps = [trial["map"] for trial in result["trials"]]
    np.testing.assert_allclose(trial_maps, expected["trial_map"], rtol=0, atol=1e-9)
    assert (result["mode"], result["shots"]) == (expected["mode"], expected["shots"])
    assert (result["num_query"], result["gallery"], result["distance"]) == (3803, "official", "euclidean")
    assert "official" in capsys.readouterr().out


@needs_official
@pytest.mark.parametrize("form", ["npz", "safetensors"])
def test_other_forms_give_the_same(features, form, tmp_path):
    from safetensors.numpy import save_file

    setting = Setting(mode="indoor", gallery="official", trials=2)
    expected = evaluate_features(features, "feat", OFFICIAL, setting)
    for camera in (1, 2, 3, 6):
        arrays = {f"{camera}/{i}": value for i, value in read_features(features, "feat", camera).items()}
        path = tmp_path / f"feat_cam{camera}.{form}"
        if form == "npz":
            np.savez(path, **arrays)
        else:
            save_file(arrays, path)
    assert (
        evaluate_features(tmp_path, "feat", OFFICIAL, setting).to_dict()["mean"] == expected.to_dict()["mean"]
    )


@needs_official
def test_missing_features_are_named(features, tmp_path):
    setting = Setting(gallery="official", trials=1)
    with pytest.raises(FileNotFoundError, match=r"no other_cam1\.mat"):
        evaluate_features(features, "other", OFFICIAL, setting)
    with pytest.raises(FileNotFoundError, match=r"rand_perm_cam\.mat does not exist"):
        evaluate_features(features, "feat", tmp_path, setting)
    for camera in range(1, 7):
        cells = [np.asarray(cell) for cell in read_mat(features / f"feat_cam{camera}.mat", "feature").ravel()]
        if camera == 4:
            cells[9] = np.zeros((0, 0))
        save_cells(tmp_path / f"cut_cam{camera}.mat", cells)
    with pytest.raises(ValueError, match="cut_cam4 has no features of identity 10"):
        evaluate_features(tmp_path, "cut", OFFICIAL, setting)


def test_damaged_files_are_named(tmp_path):
    (tmp_path / "a_cam1.mat").write_bytes(b"not a MATLAB file at all" * 20)
    with pytest.raises(ValueError, match=r"a_cam1\.mat is not a readable"):
        read_features(tmp_path, "a", 1)
    (tmp_path / "b_cam1.mat").write_bytes(b"\0" * 512 + b"\x89HDF\r\n\x1a\n" + b"\0" * 100)
    with pytest.raises(ValueError, match=r"7\.3"):
        read_features(tmp_path, "b", 1)
    scipy.io.savemat(tmp_path / "c_cam1.mat", {"other": np.zeros(3)})
    with pytest.raises(ValueError, match="no variable 'feature'"):
        read_features(tmp_path, "c", 1)
    save_cells(tmp_path / "d_cam1.mat", [np.full((2, 3), np.nan)])
    with pytest.raises(ValueError, match="NaN"):
        read_features(tmp_path, "d", 1)
    scipy.io.savemat(tmp_path / "e_cam1.mat", {"feature": np.zeros((3, 3))})
    with pytest.raises(ValueError, match="cell array"):
        read_features(tmp_path, "e", 1)
    np.savez(tmp_path / "f_cam1.npz", **{"2/5": np.zeros((1, 3))})
    with pytest.raises(ValueError, match="camera 1"):
        read_features(tmp_path, "f", 1)
    np.savez(tmp_path / "g_cam1.npz", **{"1/5": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(ValueError, match="cannot be read"):
        read_features(tmp_path, "g", 1)


def test_permutations_must_be_permutations(tmp_path):
    inner = np.empty((1, 1), dtype=object)
    inner[0, 0] = np.array([[1, 2, 2]])
    outer = np.empty((1, 1), dtype=object)
    outer[0, 0] = inner
    scipy.io.savemat(tmp_path / "rand_perm_cam.mat", {"rand_perm_cam": outer})
    with pytest.raises(ValueError, match="not a table of permutations"):
        read_permutations(tmp_path / "rand_perm_cam.mat")


def test_the_forms_of_feature_files_are_documented(capsys):
    with pytest.raises(SystemExit):
        main(["-h"])
    page = (ROOT / "docs" / "protocols.md").read_text(encoding="utf-8")
    for text in (" ".join(capsys.readouterr().out.split()), page):
        assert all(word in text for word in (".mat", ".npz", ".safetensors", "CAMERA/IDENTITY", "3/117"))


def test_required_options(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--prefix", "x"])
    assert stop.value.code == 2
    assert "--features is required" in capsys.readouterr().err
