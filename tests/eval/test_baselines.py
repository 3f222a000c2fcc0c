"""Chance and ImageNet features beside a model's figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from eval import __main__ as command
from eval import baselines, measure
from eval.baselines import IMAGENET_BACKBONE, chance, imagenet
from eval.evaluate import evaluate_settings
from eval.features import Extraction
from eval.protocols import Setting
from eval.queries.per_query import PerQuery
from eval.report import Report
from eval.score import Scores
from mtrl import MTRL
from mtrl.data.imageset import ImageSet, ReIDData
from mtrl.models.config import ModelConfig

SIZE = (64, 32)
SETTINGS = [Setting("clip", direction) for direction in ("ir2vis", "vis2ir")]


@pytest.fixture(scope="module")
def images() -> ImageSet:
    """Two clips of five people each, three images of everybody in each spectrum."""
    rng = np.random.default_rng(0)
    people, kinds = np.repeat(np.arange(10), 6), np.tile([0, 0, 0, 1, 1, 1], 10)
    pixels = rng.integers(0, 256, (60, *SIZE, 3), dtype=np.uint8)
    return ImageSet(pixels, people, people // 5, kinds, tuple(map(str, range(60))))


@pytest.fixture(scope="module")
def model() -> MTRL:
    torch.manual_seed(0)
    narrow = {"channels": [8, 8, 8, 8], "stem_width": 8}
    return MTRL(ModelConfig("resnet10t", SIZE, backbone_args=narrow)).eval()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of another start than ImageNet's, in the same form."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "lite0.safetensors"
    save_file(timm.create_model(IMAGENET_BACKBONE).state_dict(), path)
    return path


def test_chance_knows_nothing_of_the_model(model: MTRL, images: ImageSet) -> None:
    done = evaluate_settings(model, images, SETTINGS[:1])[0]
    first = chance(done)
    others = evaluate_settings(model, ImageSet(images.images[::-1], images.identities, images.cameras,
                                               images.modalities, images.names), SETTINGS[:1])[0]  # fmt: skip
    assert _maps(first.trials) == _maps(chance(others).trials)
    assert len(set(_maps(first.trials))) == 3
    assert 0.2 < first.mean["map"] < 0.55  # five people: 0.2 at rank 1, and three right images among fifteen
    assert _maps(done.report.trials) != _maps(first.trials)[:1]


def test_imagenet_features_are_those_of_the_grey_images(images: ImageSet, weights: Path) -> None:
    reports = imagenet(weights, images, SETTINGS, Extraction())
    network = timm.create_model(IMAGENET_BACKBONE).eval()
    from safetensors.torch import load_file

    network.load_state_dict(load_file(weights))
    grey = np.rint(images.images @ np.array([0.299, 0.587, 0.114]))
    pixels = torch.from_numpy(np.repeat(grey[:, None], 3, axis=1)).float() / 255
    with torch.inference_mode():
        features = torch.nn.functional.normalize(
            network.forward_features((pixels - 0.5) / 0.5).mean((2, 3))
        ).numpy()
    for report, kind in zip(reports, (1, 0), strict=True):
        people = {}
        for query in np.flatnonzero(images.modalities == kind):
            own = (images.modalities != kind) & (images.cameras == images.cameras[query])
            order = np.flatnonzero(own)[np.argsort(-(features[own] @ features[query]), kind="stable")]
            ranks = 1 + np.flatnonzero(images.identities[order] == images.identities[query])
            people.setdefault(images.identities[query], []).append(np.mean(np.arange(1, 4) / ranks))
        assert report.mean["map"] == pytest.approx(
            np.mean([np.mean(each) for each in people.values()]), abs=1e-6
        )


def test_the_command_shows_them_beside_the_model(
    model: MTRL, images: ImageSet, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    data = ReIDData("m3svd", "clip", images, images)
    monkeypatch.setattr("eval.measure.load_data", lambda *_, **__: data)
    monkeypatch.setattr("eval.measure.load_pretrained", lambda source, device: model)
    asked = ["--dataset", "m3svd", "--device", "cpu", "--json", str(tmp_path / "x.json")]
    assert command.main(asked) == 0
    assert set(json.loads((tmp_path / "x.json").read_text())["beside"]) == {"chance"}
    capsys.readouterr()
    assert command.main([*asked, "--imagenet", str(weights)]) == 0
    rows = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:6]]
    assert rows[:1] + rows[2:] == ["features", "model", "chance", "ImageNet,"]
    written = json.loads((tmp_path / "x.json").read_text())
    assert set(written["beside"]) == {"chance", "ImageNet, grey"} and written["shots"] is None
    assert written["beside"]["ImageNet, grey"]["mean"]["map"] != written["mean"]["map"]
    assert len(written["beside"]["chance"]["trials"]) == 3 and len(written["trials"]) == 1


def test_they_are_evaluated_as_the_model_is_once_for_all_checkpoints(
    model: MTRL, images: ImageSet, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, drawn = ReIDData("m3svd", "clip", images, images), {1: [np.arange(3)]}
    asked: list[dict[str, object]] = []

    def noted(*given: object, **options: object) -> list[Report]:
        asked.append(options)
        return imagenet(*given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("eval.measure.load_data", lambda *_, **__: data)
    monkeypatch.setattr("eval.measure.load_pretrained", lambda source, device: model)
    monkeypatch.setattr(measure, "imagenet", noted)
    monkeypatch.setattr(measure, "_permutations", lambda settings: drawn)
    words = ["--dataset", "m3svd", "--device", "cpu", "--imagenet", str(weights), "--checkpoint", "a", "b"]
    written = {}
    for metric in ("cosine", "euclidean"):
        target = tmp_path / f"{metric}.json"
        assert command.main([*words, "--distance", metric, "--json", str(target)]) == 0
        assert asked.pop() == {"metric": metric, "permutations": drawn, "device": torch.device("cpu")}
        assert not asked
        one, two = json.loads(target.read_text())["settings"]
        assert one["beside"] == two["beside"]
        written[metric] = one["beside"]
    for name in ("chance", "ImageNet, grey"):
        assert written["cosine"][name]["mean"] != written["euclidean"][name]["mean"], name


def test_permutations_reach_the_trials(
    images: ImageSet, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, asked = {1: [np.arange(3)]}, []
    monkeypatch.setattr(baselines, "evaluate_settings", lambda *_, **options: asked.append(options) or [])
    imagenet(weights, images, SETTINGS, Extraction(), metric="euclidean", permutations=drawn)
    assert [(one["metric"], one["permutations"]) for one in asked] == [("euclidean", drawn)]


def test_blocks_of_grey_images_are_those_of_single_ones(
    images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines, "_BLOCK", 7)
    grey = baselines._grey(images).images
    assert grey.shape == images.images.shape and grey.dtype == np.uint8
    for image, one in zip(grey, images.images, strict=True):
        expected = np.rint(one @ np.array([0.299, 0.587, 0.114], dtype=np.float32))
        assert all(np.array_equal(image[..., channel], expected) for channel in range(3))


def test_they_stand_beside_corrupted_images_too(
    model: MTRL, images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    data = ReIDData("m3svd", "clip", images, images)
    monkeypatch.setattr("eval.measure.load_data", lambda *_, **__: data)
    monkeypatch.setattr("eval.measure.load_pretrained", lambda source, device: model)
    asked = ["--dataset", "m3svd", "--device", "cpu", "--corruptions", "--json", str(tmp_path / "x.json")]
    assert command.main([*asked, "--per-query", str(tmp_path / "q.npz")]) == 0
    written = json.loads((tmp_path / "x.json").read_text())
    assert set(written["beside"]) == {"chance"} and written["corrupted"]["draws"] == 1
    of_model, of_chance = capsys.readouterr().out.splitlines()[3:5]
    assert of_model.endswith(f"{100 * written['corrupted']['mean']['minp']:.2f}")
    # chance has no images that could be corrupted: its row ends with its own mINP
    assert of_chance.endswith(f"± {100 * written['beside']['chance']['std']['minp']:.2f}")
    assert not {"beside", "corrupted"} & PerQuery.load(tmp_path / "q.npz").settings[0].keys()


def test_wrong_requests_are_refused_before_anything_is_read(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="pretrained weights must be an existing"):
        command.main(["--dataset", "m3svd", "--imagenet", str(tmp_path / "none.safetensors")])
    with pytest.raises(ValueError, match="beside one split's figures"):
        command.main(["--dataset", "regdb", "--trial", "all", "--imagenet", str(weights)])
    with pytest.raises(ValueError, match="shots does not apply to protocol clip"):
        command.main(["--dataset", "m3svd", "--shots", "10"])


def _maps(trials: tuple[Scores, ...]) -> list[float]:
    return [scores.map for scores in trials]
