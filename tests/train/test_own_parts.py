"""Your own translator, transition images, data set: what they may be, and what is said of what they are not."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mtrl.console import cli
from mtrl.data import load_data
from mtrl.data.imageset import ReIDData
from mtrl.data.sources import find_source
from mtrl.data.synthetic.dataset import FIRST_IDENTITY
from mtrl.data.synthetic.render import draw_person, render
from mtrl.data.transitions import read_transitions, transition_files
from mtrl.models.config import Modality
from mtrl.translate import load_translator
from tests.helpers import trees
from tests.helpers.runs import settings
from train.data import load
from train.preflight import check_runs
from train.settings import parse
from train.trainer import Trainer
from train.translator.settings import parse as parse_translator

TEXT = """
import numpy as np
from torch import nn
from mtrl.data import ImageSet, ReIDData
from mtrl.translate import Translator

class Negative(Translator):
    def forward(self, images):
        return 1 - images

class Heavy(Translator):
    calls = 0
    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(__import__("torch").ones(()))
    def forward(self, images):
        Heavy.calls += 1
        return images * self.factor

class Needs(Translator):
    def __init__(self, width):
        super().__init__()

def part(first, people, size):
    rows = [(i, c) for i in range(first, first + people) for c in (1, 3) for _ in range(2)]
    pixels = np.stack([np.full((*size, 3), 40 * c + 10 * (i % 8), np.uint8) for i, c in rows])
    return ImageSet(pixels, [i for i, _ in rows], [c for _, c in rows], [c == 3 for _, c in rows],
                    tuple(f"{i}/{c}/{n}.png" for n, (i, c) in enumerate(rows)))

def people(root):
    assert root is None or root.name
    return ReIDData("", "sysu", part(1, 8, (32, 16)), part(20, 3, (40, 20)))

def shared(root): return ReIDData("", "sysu", part(1, 4, (32, 16)), part(3, 4, (32, 16)))
def nothing(root): return None
def clips(root): return ReIDData("", "clip", part(1, 8, (32, 16)), part(20, 3, (32, 16)))
def protocol(root): return ReIDData("", "market", part(1, 8, (32, 16)), part(20, 3, (32, 16)))
constant = 3
"""


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_parts_here.py").write_text(TEXT, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_parts_here", raising=False)


def name(part: str) -> str:
    return f"own_parts_here:{part}"


# Translators


def test_a_translator_by_its_class() -> None:
    images = torch.rand(2, 3, 4, 4)
    assert torch.equal(load_translator(name("Negative"))(images), 1 - images)
    for part, match in (("people", "must be a class derived"), ("Needs", "building it ends with TypeError")):
        with pytest.raises(ValueError, match=match):
            load_translator(name(part))
    with pytest.raises(ValueError, match="or module:Class"):
        load_translator("nothing")


def test_one_with_weights_runs_once_over_the_set(tmp_path: Path, data: ReIDData) -> None:
    Trainer(settings(tmp_path / "run", translator=name("Heavy")), data).run()
    visible = len(data.train.rows(0))
    assert sys.modules["own_parts_here"].Heavy.calls == -(-visible // 32), "and not in every step"


# Transition images


def made(tmp_path: Path, data: ReIDData, ending: str = "png") -> Path:
    """Transition images of the training set: each of one grey."""
    folder = tmp_path / "made"
    for number, row in enumerate(data.train.rows(0)):
        target = (folder / data.train.names[row]).with_suffix(f".{ending}")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 32), (number, number, number)).save(target)
    return folder


def test_they_are_read_in_the_order_of_the_visible_images(tmp_path: Path, data: ReIDData) -> None:
    folder = made(tmp_path, data, "bmp")
    pixels = read_transitions(data.train, folder, tmp_path / "cache")
    assert [int(image[0, 0, 0]) for image in pixels] == list(range(len(data.train.rows(0))))
    run = settings(tmp_path / "run", transitions=str(folder), cache_dir=str(tmp_path / "cache"), erase=0.0)
    assert run.terms()["transition"] == str(folder)
    trainer = Trainer(run, data)
    trainer.pipeline.scale = dataclasses.replace(trainer.pipeline.scale, mean=(0, 0, 0), std=(1, 1, 1))
    from mtrl.data.augment import PairedAugment
    from train.build import augment_config

    batch = next(trainer.pipeline.epoch(0, PairedAugment(augment_config(run, erase=False))))
    _, transition, _ = batch.layout.split(batch.images)
    order = np.cumsum(data.train.modalities == 0) - 1
    expected = torch.tensor(order[batch.rows[: batch.layout.visible]]) / 255
    assert torch.allclose(transition[:, 0, 16, 8], expected.float(), atol=1e-3)
    trainer.run()


def test_names_and_sizes_must_fit(tmp_path: Path, data: ReIDData) -> None:
    folder = made(tmp_path, data)
    first = data.train.names[data.train.rows(0)[0]]
    Image.new("RGB", (24, 48)).save(folder / first)
    with pytest.raises(ValueError, match=r"is 24 x 48 pixels and its visible image 16 x 32"):
        transition_files(data.train, folder, tmp_path)
    target = tmp_path / "root" / first
    target.parent.mkdir(parents=True)
    Image.new("RGB", (24, 48)).save(target)
    assert len(transition_files(data.train, folder, tmp_path / "root")) == len(data.train.rows(0))
    (folder / first).write_bytes(b"")
    with pytest.raises(ValueError, match="is empty"):
        transition_files(data.train, folder, tmp_path)
    (folder / first).unlink()
    with pytest.raises(FileNotFoundError, match=f"lacks the transitions of 1 of .* first {first}"):
        read_transitions(data.train, folder)
    with pytest.raises(FileNotFoundError, match="is no folder of transition images"):
        read_transitions(data.train, tmp_path / "nowhere")


@pytest.mark.parametrize("spectrum", ["thermal", "both"])
def test_drawn_transitions_are_the_true_views(
    spectrum: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    where = {"spectrum": spectrum, "size": "tiny", "cache_dir": str(tmp_path / "cache")}
    run = settings(
        tmp_path / "run", **where, image_size=(256, 128), transitions="drawn", epochs=1, eval_every=0
    )
    check_runs([run])
    people = load(run, ("train",)).train
    kept = Trainer(run, ReIDData("", "sysu", people, people)).pipeline.kept
    visible = people.rows(Modality.VISIBLE)
    assert kept is not None and len(kept) == len(visible)
    for place in (0, 1, len(visible) - 1):  # persons and shots count from 0 and stand in order
        row = visible[place]
        same = np.flatnonzero(
            (people.identities == people.identities[row]) & (people.cameras == people.cameras[row])
        )
        person = draw_person("train", 0, int(people.identities[row]) - FIRST_IDENTITY["train"])
        shot = int(np.flatnonzero(same == row)[0])
        seen = render(person, int(people.cameras[row]), shot, infrared=True, spectrum=spectrum)
        assert np.array_equal(kept[place], seen), (spectrum, place)
    assert run.terms()["transition"] == "drawn"


def test_drawn_transitions_are_of_drawings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    root = trees.sysu(tmp_path / "tree")
    run = settings(tmp_path / "run", dataset="sysu", data_root=str(root), transitions="drawn", hold_out=0)
    with pytest.raises(ValueError, match="true views of drawings; sysu has none"):
        check_runs([run])
    (tmp_path / "drawn").mkdir()  # a folder of that name goes before them
    with pytest.raises(FileNotFoundError, match="lacks the transitions"):
        check_runs([run])


def test_a_run_with_transitions_of_a_tree_is_checked_first(tmp_path: Path) -> None:
    root = trees.sysu(tmp_path / "tree")
    (tmp_path / "made").mkdir()
    made = str(tmp_path / "made")
    run = settings(tmp_path / "run", dataset="sysu", data_root=str(root), transitions=made, hold_out=0)
    with pytest.raises(FileNotFoundError, match="lacks the transitions"):
        check_runs([run])
    with pytest.raises(ValueError, match="are given, but not shown"):
        dataclasses.replace(run, transition=False, mtc=0.0, center=0.0, mqr=0.0)


# Data sets


def test_a_function_gives_a_data_set_of_any_size(tmp_path: Path) -> None:
    found = load_data(name("people"), tmp_path, image_size=(32, 16))
    assert (found.name, found.protocol, len(found.train), len(found.test)) == (name("people"), "sysu", 32, 12)
    assert found.test.images.shape == (12, 32, 16, 3) and found.test.images.dtype == np.uint8
    assert found.test.images[0, 0, 0, 0] == 80 and found.test.images[2, 5, 5, 1] == 160
    assert find_source(name("people")).splits == ()
    assert load_data(name("clips")).protocol == "clip"
    for part, match in (
        ("nothing", "must return a mtrl.data.ReIDData, not NoneType"),
        ("protocol", "protocol must be one of sysu, regdb, llcm, clip, not 'market'"),
        ("constant", "is a int, which cannot be called"),
    ):
        with pytest.raises(ValueError, match=match):
            load_data(name(part))


def test_its_name_makes_a_folder_on_any_system() -> None:
    flags = ["--dataset", name("people")]
    for run in (parse(flags).run_folder, parse_translator(flags).run_folder):
        assert ":" not in run and name("people").replace(":", "-") in run


def test_train_eval_and_verify_take_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from eval.__main__ import main as evaluate
    from mtrl.__main__ import main as library
    from train.__main__ import main as train

    words = [
        "--dataset",
        name("people"),
        "--epochs",
        "1",
        "--batches",
        "1",
        "--device",
        "cpu",
        "--no-pretrained",
    ]
    words += [
        "--backbone",
        "test_resnet",
        "--image-size",
        "32",
        "16",
        "--pad",
        "1",
        "--output",
        str(tmp_path / "run"),
    ]
    assert train([*words, "--identities", "4", "--instances", "2"]) == 0
    target = tmp_path / "x.json"
    words = [
        "--checkpoint",
        str(tmp_path / "run"),
        "--dataset",
        name("people"),
        "--trials",
        "2",
        "--device",
        "cpu",
    ]
    assert evaluate([*words, "--json", str(target)]) == 0
    result = json.loads(target.read_text())
    assert (result["dataset"], result["num_query"], result["num_gallery"]) == (name("people"), 6, 3)
    assert library(["verify", "--dataset", name("people"), "--data-root", str(tmp_path)]) == 0
    assert "no files below" in capsys.readouterr().out
    assert library(["verify", "--dataset", name("shared"), "--data-root", str(tmp_path)]) == 2
    assert "2 identities stand in training and test: 3, 4" in capsys.readouterr().out


def test_an_unknown_name_still_lists_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    from train.__main__ import main as train

    with pytest.raises(SystemExit):
        train(["--dataset", "market"])
    assert "invalid choice: 'market' (choose from" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        cli.run(lambda: train(["--dataset", "nowhere_to_be_found:people"]))
    assert ended.value.code == 2 and "there is no module nowhere_to_be_found" in capsys.readouterr().err
