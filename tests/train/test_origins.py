"""What a run was made from is compared by content: what was replaced under its name is noticed."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mtrl import MTRL, load_pretrained
from mtrl.data.imageset import ReIDData
from mtrl.models.config import ModelConfig
from mtrl.translate.files import save_translator
from mtrl.translate.learned import Learned, LearnedConfig
from tests.helpers import trees
from tests.helpers.runs import colour_people, settings
from train.ablation import command as ablate
from train.preflight import check_runs
from train.run.origins import of_images, of_translator
from train.settings import parse
from train.trainer import Trainer

SMALL = ["--epochs", "1", "--batches", "1", "--hold-out", "0", "--device", "cpu", "--backbone", "test_resnet"]
SMALL += ["--backbone-args", "{}", "--image-size", "32", "16", "--pad", "1", "--identities", "2"]
SMALL += ["--instances", "2", "--no-pretrained", "--seeds", "0"]


def write_translator(folder: Path, seed: int) -> str:
    torch.manual_seed(seed)
    folder.mkdir(exist_ok=True)
    network = Learned(LearnedConfig(width=4, deep=8, blocks=1))
    torch.nn.init.normal_(network.head.weight)
    save_translator(network, folder)
    return str(folder)


@pytest.fixture
def data() -> ReIDData:
    return ReIDData("synthetic", "sysu", colour_people(10, 0), colour_people(5, 1, first=100))


def test_a_resumed_run_has_the_translator_and_the_images_it_began_with(
    tmp_path: Path, data: ReIDData
) -> None:
    source = write_translator(tmp_path / "translator", 0)
    shutil.copytree(source, tmp_path / "kept")
    one = settings(tmp_path / "run", translator=source, epochs=1, schedule="step")
    Trainer(one, data).run()
    more = dataclasses.replace(one, epochs=2, resume=True)
    write_translator(tmp_path / "translator", 1)
    with pytest.raises(ValueError, match="translator changed since the run began"):
        Trainer(more, data).run()
    shutil.copytree(tmp_path / "kept", source, dirs_exist_ok=True)
    renamed = dataclasses.replace(data.train, names=tuple(f"other/{name}" for name in data.train.names))
    with pytest.raises(ValueError, match="training images changed since the run began"):
        Trainer(more, dataclasses.replace(data, train=renamed)).run()
    assert Trainer(more, data).run()["epoch"] == 2


def test_transition_images_that_were_read_are_compared(tmp_path: Path, data: ReIDData) -> None:
    for row in np.flatnonzero(data.train.modalities == 0):
        path = tmp_path / "transitions" / data.train.names[row]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(data.train.images[row]).save(path)
    one = settings(tmp_path / "run", transitions=str(tmp_path / "transitions"), epochs=1, schedule="step")
    Trainer(one, data).run()
    Image.new("RGB", (16, 32)).save(path)
    with pytest.raises(ValueError, match="transitions changed since the run began"):
        Trainer(dataclasses.replace(one, epochs=2, resume=True), data).run()


def test_code_alone_has_no_fingerprint_and_labels_count() -> None:
    class Own(torch.nn.Module):
        def fingerprint(self) -> str:
            return "version 7"

    assert of_translator("own", Own())["fingerprint"].endswith("version 7")
    assert of_translator("plain", torch.nn.Identity())["fingerprint"] == ""
    images = colour_people(3, 0)
    turned = dataclasses.replace(images, identities=images.identities[::-1])
    assert of_images(images) != of_images(turned) and of_images(images) == of_images(colour_people(3, 1))
    assert images.digest() == colour_people(3, 0).digest() != colour_people(3, 1).digest()
    assert images.digest() != turned.digest()


def test_a_model_of_the_last_epoch_is_not_reported_as_the_best(tmp_path: Path, data: ReIDData) -> None:
    Trainer(settings(tmp_path, epochs=1, schedule="step", eval_every=1), data).run()
    last = Trainer(settings(tmp_path, epochs=2, schedule="step", eval_every=0, resume=True), data)
    progress = last.run()
    assert progress["best"] == -1 and progress["best_step"] == 0
    assert "the model is that of the last epoch" in last.outcome()
    assert load_pretrained(tmp_path).fingerprint() == load_pretrained(tmp_path / "last").fingerprint()


def test_an_ablation_notices_other_images_and_translators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, runs = trees.folder(tmp_path / "own"), tmp_path / "runs"
    translator = write_translator(tmp_path / "translator", 0)
    words = [*SMALL, "--dataset", "folder", "--data-root", str(root), "--cache-dir", str(tmp_path / "cache")]
    words += ["--methods", "mtrl", "--translators", translator, "--folder", str(runs)]
    assert ablate.main(words) == 0
    run = runs / "mtrl-translator-seed0"
    kept = (run / "test-0.json").read_bytes()
    shutil.rmtree(run / "last")  # to save space: a finished run is not trained again
    monkeypatch.setattr(Trainer, "_step", lambda *_: pytest.fail("it was trained again"))
    assert ablate.main(words) == 0 and (run / "test-0.json").read_bytes() == kept
    assert ablate.main([*words, "--test-seed", "1"]) == 0
    for path in (root / "gallery").rglob("*.jpg"):
        Image.effect_noise((16, 32), 90).convert("RGB").save(path)
    with pytest.warns(UserWarning, match="measured with another data: tested again"):
        assert ablate.main(words) == 0
    before, after = json.loads(kept), json.loads((run / "test-0.json").read_text())
    assert before["made_by"]["model"] == after["made_by"]["model"]
    after["made_by"]["code"] = "of old"
    other = runs / "mtrl-translator-seed1"
    other.mkdir()
    (other / "test-0.json").write_text(json.dumps({**after, "seed": 1}))
    report = ["--report-only", "--folder", str(runs), "--methods", "mtrl", "--translators", translator]
    with pytest.warns(UserWarning, match="not all measured with the same code"):
        assert ablate.main(report) == 0
    write_translator(tmp_path / "translator", 1)
    with pytest.raises(ValueError, match="translator changed since the run began"):
        ablate.main(words)


@pytest.mark.parametrize("name", ["init", "distil", "translator"])
def test_what_another_split_of_regdb_made_is_refused(tmp_path: Path, name: str) -> None:
    root = trees.regdb(tmp_path / "regdb", people=12)
    for split in (1, 2):
        folder = tmp_path / f"made-{split}"
        write_translator(folder, split)
        (folder / "settings.yaml").write_text(f"dataset: regdb\ntrial: '{split}'\n")
    words = ["--dataset", "regdb", "--data-root", str(root), *SMALL[:-2], "--method", "mtrl"]
    words += [f"--{name}", str(tmp_path / "made-1"), "--output", str(tmp_path / "run-{trial}")]
    with pytest.raises(ValueError, match=f"--{name} .* was trained on split 1 .* test identities of split 2"):
        check_runs([parse([*words, "--trial", "2"])])
    (tmp_path / "made-1" / "settings.yaml").write_text("dataset: synthetic\n")
    if name == "translator":  # the other two are no checkpoints here
        check_runs([parse([*words, "--trial", "2"])])
        named = parse(
            [*words[:-4], "--translator", str(tmp_path / "made-{trial}"), *words[-2:], "--trial", "2"]
        )
        assert named.translator == str(tmp_path / "made-2")
        check_runs([named])


def test_an_ablation_notices_another_starting_model(tmp_path: Path) -> None:
    for seed in (0, 1):
        torch.manual_seed(seed)
        MTRL(ModelConfig("test_resnet", (32, 16))).save_pretrained(tmp_path / f"model-{seed}")
    start = shutil.copytree(tmp_path / "model-0", tmp_path / "start")
    root = trees.folder(tmp_path / "own")
    words = [*SMALL[:-3], "--seeds", "0", "--dataset", "folder", "--data-root", str(root)]
    words += ["--methods", "baseline", "--init", str(start)]
    words += ["--cache-dir", str(tmp_path / "cache"), "--folder", str(tmp_path / "runs")]
    assert ablate.main(words) == 0
    assert ablate.main(words) == 0
    shutil.copytree(tmp_path / "model-1", start, dirs_exist_ok=True)
    with pytest.raises(ValueError, match="starting_weights changed since the run began"):
        ablate.main(words)
