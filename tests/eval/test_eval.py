"""Evaluation from images to JSON, on a small untrained model and images made of noise."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from eval import __main__ as command
from eval import score as eval_score
from eval.evaluate import evaluate, evaluate_settings
from eval.features import Extraction, extract
from eval.figures import write_figures
from eval.protocols import Setting
from eval.report import table
from eval.score import distance_matrix
from mtrl.data.imageset import ImageSet, ReIDData
from mtrl.models.config import ModelConfig
from mtrl.models.reid import MTRL
from tests.helpers.paths import ROOT


def make_images(identities=6, per_camera=3, seed=0, cameras=(1, 2, 3, 4, 5, 6)):
    """Each identity has a pattern of its own, so that an untrained network tells them apart a little."""
    rng = np.random.default_rng(seed)
    labels = [(i, c) for i in range(10, 10 + identities) for c in cameras for _ in range(per_camera)]
    patterns = rng.integers(100, 156, (identities, 4, 2, 3))
    images = np.empty((len(labels), 64, 32, 3), dtype=np.uint8)
    for row, (identity, _) in enumerate(labels):
        noisy = patterns[identity - 10].repeat(16, 0).repeat(16, 1) + rng.normal(0, 40, (64, 32, 3))
        images[row] = noisy.clip(0, 255)
    identity, camera = np.array(labels).T
    modality = np.isin(camera, (3, 6)).astype(np.uint8)
    return ImageSet(images, identity, camera, modality, tuple(f"{n:05d}" for n in range(len(labels))))


@pytest.fixture(scope="module")
def images():
    return make_images()


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = ModelConfig(
        backbone="resnet10t",
        image_size=(64, 32),
        backbone_args={"channels": [8, 16, 16, 32]},
        num_identities=0,
    )
    return MTRL(config).eval()


def test_features_equal_encode(model, images):
    rows = np.array([5, 0, 40, 41])
    features = torch.from_numpy(extract(model, images, rows, Extraction(batch_size=3)))
    pixels = torch.from_numpy(images.images[rows]).permute(0, 3, 1, 2)
    expected = torch.cat(
        [model.encode(pixels[n : n + 1], int(images.modalities[row])) for n, row in enumerate(rows)]
    )
    torch.testing.assert_close(torch.nn.functional.normalize(features), expected, rtol=1e-4, atol=1e-5)


def test_flip_averages_and_before_the_neck_is_pooled(model, images):
    rows = np.arange(4)
    mirrored = dataclasses.replace(images, images=images.images[:, :, ::-1])
    for feature in ("before", "after"):
        plain = extract(model, images, rows, Extraction(feature))
        flipped = extract(model, mirrored, rows, Extraction(feature))
        both = extract(model, images, rows, Extraction(feature, flip=True))
        np.testing.assert_allclose(both, (plain + flipped) / 2, rtol=1e-4, atol=1e-5)
    pooled = extract(model, images, rows, Extraction("before"))
    with torch.inference_mode():
        x = model.preprocess(torch.from_numpy(images.images[rows]).permute(0, 3, 1, 2))
        np.testing.assert_allclose(pooled, model(x).pooled.numpy(), rtol=1e-4, atol=1e-5)


def test_extraction_leaves_the_model_as_it_was(model, images):
    model.train()
    model.neck.eval()
    before = [module.training for module in model.modules()]
    statistics = {name: value.clone() for name, value in model.state_dict().items()}
    extract(model, images, np.arange(3))
    assert [module.training for module in model.modules()] == before
    assert all(torch.equal(value, statistics[name]) for name, value in model.state_dict().items())
    model.eval()


def test_every_needed_image_is_encoded_once(model, images, monkeypatch):
    seen = []
    forward = MTRL.forward
    monkeypatch.setattr(MTRL, "forward", lambda self, x, m=None: seen.append(len(x)) or forward(self, x, m))
    both = [Setting(direction="ir2vis"), Setting(direction="vis2ir")]
    evaluations = evaluate_settings(model, images, both)
    assert sum(seen) == len(evaluations[0].feature_set.rows) <= len(images)
    alone = evaluate(model, images, direction="vis2ir")
    assert alone.to_dict()["trials"] == evaluations[1].report.to_dict()["trials"]


def test_cache_is_used_and_depends_on_weights_and_pixels(model, images, tmp_path, monkeypatch):
    how = Extraction(cache=tmp_path)
    rows = np.arange(6)
    first = extract(model, images, rows, how)
    (path,) = tmp_path.glob("*.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr(MTRL, "forward", lambda *_: pytest.fail("the cache was not used"))
        assert np.array_equal(extract(model, images, rows, how), first)
    whole = path.read_bytes()
    for damaged in (b"damaged", whole[:-4] + np.float32(0.5).tobytes()):
        path.write_bytes(damaged)
        assert np.array_equal(extract(model, images, rows, how), first)
    changed = dataclasses.replace(images, images=255 - images.images)
    assert not np.array_equal(extract(model, changed, rows, how), first)
    extract(model, images, rows, dataclasses.replace(how, flip=True))
    assert len(list(tmp_path.glob("*.safetensors"))) == 3


@pytest.mark.parametrize("other", ["code", "torch", "timm"])
def test_other_code_and_libraries_encode_anew(model, images, tmp_path, monkeypatch, other):
    how = Extraction(cache=tmp_path)
    extract(model, images, np.arange(3), how)
    if other == "code":
        monkeypatch.setattr("eval.features.code_digest", lambda *_: "changed")
    else:
        monkeypatch.setattr(f"{other}.__version__", "99.1")
    extract(model, images, np.arange(3), how)
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


def test_features_of_a_class_of_ones_own_are_not_kept(model, images, tmp_path):
    class Mine(MTRL):
        pass

    own = Mine(model.config, pretrained=False)
    extract(own, images, np.arange(3), Extraction(cache=tmp_path))
    assert not list(tmp_path.iterdir())


def test_held_out_rows_only(model, images):
    rows = np.flatnonzero(images.identities < 13)
    report = evaluate(model, images, "sysu", "ir2vis", 3, rows=rows)
    assert len(report.trials) == 3 and report.trials[0].num_query == 3 * 2 * 3
    assert report.trials[0].num_gallery == 3 * 4
    only = evaluate(model, images.take(rows), "sysu", direction="ir2vis", trials=3)
    assert only.mean == report.mean and set(report.mean) == {"map", "minp", "cmc"}


def test_modality_gap_by_loops(model, images):
    evaluation = evaluate_settings(model, images, [Setting(trials=2)])[0]
    feature_set, same, different = evaluation.feature_set, [], []
    unit = feature_set.features / np.linalg.norm(feature_set.features, axis=1, keepdims=True)
    for v in np.flatnonzero(feature_set.modalities == 0):
        for r in np.flatnonzero(feature_set.modalities == 1):
            (same if feature_set.identities[v] == feature_set.identities[r] else different).append(
                1 - unit[v] @ unit[r]
            )
    assert evaluation.report.modality_gap == pytest.approx(np.mean(same) / np.mean(different), rel=1e-5)


def test_distances_by_loops():
    rng = np.random.default_rng(0)
    query, gallery = rng.standard_normal((4, 7)), rng.standard_normal((5, 7))
    gallery[3] = gallery[1]
    euclidean, cosine = (distance_matrix(query, gallery, metric) for metric in ("euclidean", "cosine"))
    for q in range(4):
        for g in range(5):
            assert euclidean[q, g] == pytest.approx(np.sqrt(((query[q] - gallery[g]) ** 2).sum()), abs=1e-12)
            product = query[q] @ gallery[g] / np.linalg.norm(query[q]) / np.linalg.norm(gallery[g])
            assert cosine[q, g] == pytest.approx(1 - product, abs=1e-12)
    assert np.array_equal(euclidean[:, 3], euclidean[:, 1])
    with pytest.raises(ValueError, match="distance must be"):
        distance_matrix(query, gallery, "manhattan")


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_trials_are_scored_without_a_matrix_of_all_pairs(model, images, metric, monkeypatch):
    """The figures are the same, whether all galleries are compared at once or block by block."""
    whole = evaluate_settings(model, images, [Setting(trials=3)], metric=metric)[0]
    asked = []
    made = eval_score.distance_blocks

    def watched(*arguments):
        blocks = made(*arguments)
        return lambda part: asked.append(part.stop - part.start) or blocks(part)

    monkeypatch.setattr(eval_score, "_SHARED_ELEMENTS", 0)
    monkeypatch.setattr(eval_score, "distance_blocks", watched)
    monkeypatch.setattr("mtrl.retrieval.metrics.ranking._MADE_ELEMENTS", 8 * len(whole.trials[0].gallery))
    parts = evaluate_settings(model, images, [Setting(trials=3)], metric=metric)[0]
    assert max(asked) < 16 and len(asked) > 6
    for a, b in zip(whole.report.trials, parts.report.trials, strict=True):
        assert (a.map, a.minp, a.cmc.tolist(), a.valid) == (b.map, b.minp, b.cmc.tolist(), b.valid)
    assert parts.report.modality_gap == pytest.approx(whole.report.modality_gap, rel=1e-4)


@pytest.fixture
def installed(model, images, monkeypatch):
    """The command line with the model and the images above in place of files."""
    requests = []

    def load_data(name, root=None, **options):
        requests.append((name, root, options))
        protocol = {"synthetic": "sysu", "folder": "sysu"}.get(name, name)
        return ReIDData(name, protocol, images, images)

    monkeypatch.setattr("eval.measure.load_data", load_data)
    monkeypatch.setattr("eval.measure.load_pretrained", lambda source, device: model)
    return requests


def test_json_is_the_contracts(installed, tmp_path, capsys):
    target = tmp_path / "deep" / "out.json"
    assert command.main(["--json", str(target), "--test-seed", "4", "--trials", "3", "--device", "cpu"]) == 0
    result = json.loads(target.read_text())
    assert {"dataset", "direction", "mode", "shots", "checkpoint", "trials", "mean", "std"} <= set(result)
    assert (result["dataset"], result["direction"], result["mode"], result["shots"]) == (
        "synthetic",
        "ir2vis",
        "all",
        1,
    )
    assert len(result["trials"]) == 3 and set(result["trials"][0]) == {"map", "minp", "cmc"}
    assert set(result["mean"]["cmc"]) == {"1", "5", "10", "20"}
    maps = [trial["map"] for trial in result["trials"]]
    assert result["mean"]["map"] == pytest.approx(np.mean(maps), abs=1e-15)
    assert result["std"]["map"] == pytest.approx(np.std(maps), abs=1e-15)
    assert all(0 <= value <= 1 for value in maps)
    assert (result["test_seed"], result["gallery"], result["num_query"]) == (4, "seeded", 36)
    assert (result["size"], result["spectrum"]) == ("small", "nir")
    assert "rerank" not in result and 0 < result["modality_gap"] < 1.5
    name, _, options = installed[0]
    assert name == "synthetic" and options["parts"] == ("test",) and options["image_size"] == (64, 32)
    printed = capsys.readouterr().out
    assert "rank-1" in printed and "ir2vis" in printed and " ± " in printed


def test_both_directions_rerank_and_figures(installed, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("eval.figures.STRIP_QUERIES", 2)
    arguments = ["--direction", "both", "--rerank", "--trials", "2", "--device", "cpu"]
    assert (
        command.main([*arguments, "--json", str(tmp_path / "x.json"), "--output", str(tmp_path / "fig")]) == 0
    )
    for direction in ("ir2vis", "vis2ir"):
        result = json.loads((tmp_path / f"x-{direction}.json").read_text())
        assert result["direction"] == direction and len(result["rerank"]["trials"]) == 2
    assert sorted(path.name for path in (tmp_path / "fig").iterdir()) == [
        "cmc.png",
        "modality-gap-ir2vis.png",
        "modality-gap-vis2ir.png",
        "ranking-ir2vis.png",
        "ranking-vis2ir.png",
    ]
    assert "mAP re-ranked" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "yaml", "variant"),
    [
        (["--rerank"], "", "paper"),
        (["--rerank", "paper"], "", "paper"),
        (["--rerank", "released"], "", "released"),
        ([], "rerank: true\n", "paper"),
        ([], "rerank: released\n", "released"),
        (["--rerank", "released"], "rerank: paper\n", "released"),
        ([], "rerank: false\n", None),
    ],
)
def test_the_variant_of_re_ranking_is_chosen_by_name_and_recorded(
    installed, tmp_path, capsys, flags, yaml, variant
):
    (tmp_path / "eval.yaml").write_text(yaml)
    target = tmp_path / "out.json"
    command.main(
        [
            *flags,
            "--config",
            str(tmp_path / "eval.yaml"),
            "--trials",
            "1",
            "--device",
            "cpu",
            "--json",
            str(target),
        ]
    )
    result, printed = json.loads(target.read_text()), capsys.readouterr().out
    assert ("rerank" in result) == (variant is not None) == ("re-ranked" in printed)
    if variant:
        assert result["rerank"]["variant"] == variant and f"k-reciprocal re-ranking as {variant}" in printed


@pytest.mark.parametrize("dataset", ["regdb", "llcm"])
def test_other_protocols(installed, dataset, tmp_path):
    target = tmp_path / "out.json"
    assert command.main(["--dataset", dataset, "--json", str(target), "--device", "cpu"]) == 0
    result = json.loads(target.read_text())
    assert len(result["trials"]) == (1 if dataset == "regdb" else 10)
    assert (result["gallery"], result["cmc_level"]) == {
        "regdb": ("full", "image"),
        "llcm": ("seeded", "identity"),
    }[dataset]


def test_regdb_mean_over_ten_splits(installed, tmp_path, monkeypatch, model):
    sources = []
    monkeypatch.setattr(
        "eval.measure.load_pretrained", lambda source, device: sources.append(source) or model
    )
    target = tmp_path / "out.json"
    arguments = ["--dataset", "regdb", "--trial", "all", "--device", "cpu", "--json", str(target)]
    with pytest.raises(ValueError, match="one model per split"):
        command.main(arguments)
    assert command.main([*arguments, "--checkpoint", "runs/r{trial}"]) == 0
    assert sources == [f"runs/r{split}" for split in range(1, 11)]
    decoded = [options["trial"] for _, _, options in installed if not options.get("labels_only")]
    assert decoded == list(range(1, 11))
    result = json.loads(target.read_text())
    assert len(result["trials"]) == 10 and result["split"] == "all" and result["shots"] is None


def test_released_llcm_variant_warns_and_says_so(installed, capsys):
    command.main(["--dataset", "llcm", "--direction", "vis2ir_released", "--device", "cpu"])
    printed = capsys.readouterr()
    assert "vis2ir_released" in printed.out
    assert printed.err.startswith("warning: vis2ir_released searches all visible images")


def test_a_test_set_of_unusual_size_is_named(installed, capsys):
    command.main(["--dataset", "sysu", "--device", "cpu", "--trials", "1"])
    assert "the published test set has 3803 and 301" in capsys.readouterr().err


def test_exit_codes_and_messages(tmp_path):
    root = ROOT
    arguments = ["features", "--features", str(tmp_path), "--prefix", "x", "--splits", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "eval", *arguments], cwd=root, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "rand_perm_cam.mat does not exist" in done.stderr
    with pytest.raises(SystemExit) as stop:
        command.main(["--shots", "ten"])
    assert stop.value.code == 2


def test_options_stand_in_yaml_too(installed, tmp_path):
    (tmp_path / "eval.yaml").write_text("direction: vis2ir\ntrials: 2\ntest-seed: 9\nfeature: before\n")
    target = tmp_path / "out.json"
    assert (
        command.main(["--config", str(tmp_path / "eval.yaml"), "--trials", "1", "--json", str(target)]) == 0
    )
    result = json.loads(target.read_text())
    assert (result["direction"], len(result["trials"]), result["test_seed"]) == ("vis2ir", 1, 9)
    assert result["feature"] == "before"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--dataset", "regdb", "--mode", "indoor"],
        ["--shots", "3"],
        ["--direction", "vis2ir_released"],
        ["--gallery", "official", "--dataset", "sysu", "--data-root", "/nowhere"],
        ["--trials", "0"],
        ["--device", "nonsense"],
        ["--batch-size", "0"],
        ["--dataset", "regdb", "--trial", "11"],
        ["--trial", "2"],
    ],
)
def test_wrong_use_stops_with_a_message(installed, arguments):
    with pytest.raises((ValueError, FileNotFoundError)):
        command.main(arguments)


def test_table_of_percentages(model, images):
    report = evaluate(model, images, "regdb")
    lines = table([report]).splitlines()
    assert lines[0].split() == [
        *("direction", "mode", "shots", "gallery", "trials", "queries", "images"),
        *("rank-1", "rank-5", "rank-10", "rank-20", "mAP", "mINP"),
    ]
    assert lines[2].split()[-2] == f"{100 * report.mean['map']:.2f}"


def test_strips_show_skipped_images_to_nobody(model, images, tmp_path, monkeypatch):
    from eval import figures

    shown = []
    monkeypatch.setattr(figures, "save_figure", lambda figure, path: path)
    monkeypatch.setattr(figures, "_image", lambda axes, images, row, *_: shown.append(int(row)))
    evaluation = evaluate_settings(model, images, [Setting(trials=1)])[0]
    write_figures([evaluation], images, tmp_path)
    query = None
    for row in shown:
        if images.modalities[row] == 1:
            query = row
        else:
            assert not (images.cameras[query] == 3 and images.cameras[row] == 2)


@pytest.mark.slow
def test_from_rendered_images_to_json(model, tmp_path):
    """The command as a user calls it: nothing replaced, test images rendered, features cached."""
    model.save_pretrained(tmp_path / "model")
    arguments = ["--checkpoint", str(tmp_path / "model"), "--size", "tiny", "--device", "cpu", "--cache-dir"]
    arguments += [str(tmp_path / "images"), "--cache", str(tmp_path / "features"), "--direction", "both"]
    results = []
    for name in ("first", "second"):
        assert command.main([*arguments, "--json", str(tmp_path / f"{name}.json")]) == 0
        results.append(json.loads((tmp_path / f"{name}-vis2ir.json").read_text()))
    assert results[0] == results[1] and results[0]["checkpoint"] == str(tmp_path / "model")
    assert results[0]["num_query"] > 0 and len(results[0]["trials"]) == 10
