"""The registry of data sets: one file and one entry, and every command knows a new one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eval.__main__ import main as evaluate
from mtrl.__main__ import main as mtrl
from mtrl.data import load_data
from mtrl.data.sources import SOURCES, find_source, on_disk
from mtrl.data.sources.verify import verify
from mtrl.data.synthetic import SIZES
from mtrl.data.synthetic.export import LAYOUTS
from mtrl.retrieval.metrics.labels import PROTOCOLS
from tests.helpers import trees
from train.__main__ import main as train
from train.presets import named_preset
from train.settings import TrainSettings, parse
from train.translator.settings import parse as parse_translator

FILE = """
from mtrl.data.listing import Sample, in_order, open_root, scan_identities
from mtrl.data.sources import Source
from mtrl.models.config import Modality

FOLDERS = {"day": Modality.VISIBLE, "night": Modality.INFRARED}


def samples(root):
    return in_order(
        Sample(path, identity, int(modality) + 1, modality)
        for folder, modality in FOLDERS.items()
        for identity, paths in scan_identities(root, folder).images.items()
        for path in paths
    )


def load(request):
    root = open_root(request.root, tuple(FOLDERS), "zoo")
    found = samples(root)
    parts = {"train": [s for s in found if s.identity < 5], "test": [s for s in found if s.identity >= 5]}
    return {part: request.read(root, parts[part]) for part in request.parts}


def verify(root, report):
    found = samples(root)
    report.count("images", len(found), 24)
    return found


NETWORK = {"backbone": "resnet10t", "backbone_args": '{"channels": [8, 8, 8, 8], "stem_width": 8}'}
RUN = {"pretrained": False, "image_size": (32, 16), "pad": 1, "identities": 2, "instances": 2, "batches": 1}
SOURCE = Source(load, "llcm", verify, tuple(FOLDERS), training={"": {**NETWORK, **RUN}})
"""


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set that the project does not know: one file, one entry. Its images."""
    (tmp_path / "zoo_source.py").write_text(FILE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(SOURCES, "zoo", "zoo_source")
    monkeypatch.setenv("MTRL_CACHE", str(tmp_path / "cache"))
    for folder in ("day", "night"):
        for identity in range(1, 7):
            for frame in range(2):
                trees.draw(tmp_path / "zoo", f"{folder}/{identity}/{frame}.jpg")
    return tmp_path / "zoo"


def test_a_data_set_is_one_file_and_one_entry(
    zoo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--dataset", "zoo", "--data-root", str(zoo)]
    assert mtrl(["verify", *words, "--full"]) == 0
    assert "images" in capsys.readouterr().out
    run, figures = tmp_path / "run", tmp_path / "figures.json"
    rest = ["--epochs", "1", "--device", "cpu", "--eval-every", "0", "--output", str(run)]
    assert train([*words, *rest]) == 0
    assert evaluate([*words, "--checkpoint", str(run), "--device", "cpu", "--json", str(figures)]) == 0
    result = json.loads(figures.read_text())
    assert (result["dataset"], result["num_query"], len(result["trials"])) == ("zoo", 4, 10)
    assert result.get("size") is None and result.get("split") is None
    assert parse(words).image_size == (32, 16)  # the preset of its file
    assert parse_translator([*words, "--hold-out", "1"]).dataset == "zoo"


def test_entries_are_whole() -> None:
    for name in SOURCES:
        source = find_source(name)
        assert source.protocol in PROTOCOLS and (source.training or name == "m3svd")
        assert set(source.translator) <= set(source.training)
        for kind in ("training", "translator"):
            for size in source.sizes or ("small",):
                title, _ = named_preset(kind, {"dataset": name, "size": size})
                assert title == (f"{name}-{size}" if source.sizes else name)
    assert find_source("synthetic").sizes == tuple(SIZES)
    assert set(LAYOUTS) <= set(on_disk()) == {"sysu", "regdb", "llcm", "folder", "m3svd"}


def test_what_belongs_to_one_data_set_is_refused_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="split of RegDB"):
        TrainSettings(dataset="llcm", trial="2")
    for trial in ("11", "0", "x"):
        with pytest.raises(ValueError, match="1 to 10"):
            TrainSettings(dataset="regdb", trial=trial)
    with pytest.raises(ValueError, match="sysu has none"):
        load_data("sysu", tmp_path, value_range=(0, 100))
    with pytest.raises(ValueError, match=r"no files to verify; .* sysu, regdb, llcm, folder, m3svd"):
        verify("synthetic", tmp_path)
    with pytest.raises(ValueError, match="unknown data set 'market'"):
        verify("market", tmp_path)


@pytest.mark.parametrize("parts", [("train",), ("test",), ()])
def test_parts_that_were_not_asked_for_are_empty(tmp_path: Path, parts: tuple[str, ...]) -> None:
    for name, make in trees.MAKERS.items():
        data = load_data(name, make(tmp_path / name), image_size=(8, 4), parts=parts, labels_only=True)
        assert (len(data.train) > 0, len(data.test) > 0) == ("train" in parts, "test" in parts)
        assert data.train.images.shape[1:] == data.test.images.shape[1:] == (8, 4, 3)
        assert (data.name, data.protocol) == (name, find_source(name).protocol)
