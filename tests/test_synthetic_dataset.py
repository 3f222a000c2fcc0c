"""The data set: labels, cache, disjoint people, exported trees."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing

import numpy as np
import pytest
from PIL import Image

from mtrl.config import Modality
from mtrl.data import load_data
from mtrl.data.synthetic import SIZES, Difficulty, dataset, draw_person, load, load_part, render, truth
from mtrl.data.synthetic.cache import new_images, read_images
from mtrl.data.synthetic.export import export
from mtrl.data.synthetic.sheet import contact_sheet, write_gallery


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def tiny(cache):
    """A few people of each part, drawn once."""
    patched = dict(dataset.SIZES)
    patched["tiny"] = dataclasses.replace(SIZES["tiny"], train=4, test=3)
    original, dataset.SIZES = dataset.SIZES, patched
    try:
        yield load("tiny", cache_dir=cache, progress=False, workers=2)
    finally:
        dataset.SIZES = original


def test_labels(tiny):
    for part, people in ((tiny.train, 4), (tiny.test, 3)):
        assert part.images.shape == (people * 8, 64, 32, 3)
        rows = list(zip(part.identities, part.cameras, part.names, strict=True))
        assert rows == sorted(rows)
        assert len(set(part.names)) == len(part)
        for identity, camera, name in rows:
            assert name.startswith(f"cam{camera}/{identity:04d}/")
        infrared = np.isin(part.cameras, (3, 6))
        assert ((part.modalities == Modality.INFRARED) == infrared).all()
    assert not set(tiny.train.identities) & set(tiny.test.identities)
    assert tiny.protocol == "sysu"


def test_images_are_area_averages_of_the_rendered_ones(tiny):
    picture = render(draw_person("test", 0, 1), 4, 0).astype(float)
    mean = picture.reshape(64, 4, 32, 4, 3).mean((1, 3))
    row = tiny.test.names.index("cam4/0002/0001.jpg")
    assert np.abs(tiny.test.images[row] - mean).max() <= 1


def test_second_load_reads_the_cache_and_parts_are_separate(tiny, cache, monkeypatch):
    monkeypatch.setattr(dataset, "_work", None)  # drawing anything would fail now
    again = load("tiny", cache_dir=cache, progress=False)
    np.testing.assert_array_equal(again.train.images, tiny.train.images)
    assert not again.train.images.flags.writeable
    only = load("tiny", seed=99, cache_dir=cache, progress=False, parts=("test",))
    assert len(only.train) == 0
    assert len(only.test) == len(tiny.test)


def test_other_seeds_give_other_people(tiny, cache):
    other = load("tiny", test_seed=1, cache_dir=cache, progress=False, parts=("test",), workers=1)
    assert np.abs(other.test.images.astype(int) - tiny.test.images).mean() > 5


@pytest.mark.parametrize("damage", ["truncate", "flip", "index", "shape"])
def test_damaged_cache_is_made_again(tmp_path, damage):
    arguments = {"cache_dir": tmp_path, "workers": 1, "progress": False, "people": (0, 1)}
    good = np.array(load_part("test", "tiny", **arguments).images)
    (file,) = tmp_path.rglob("images.npy")
    index = file.with_name("index.json")
    if damage == "truncate":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "flip":
        content = bytearray(file.read_bytes())
        content[-5] ^= 255
        file.write_bytes(bytes(content))
    elif damage == "index":
        index.write_text("{")
    else:
        index.write_text(json.dumps(json.loads(index.read_text()) | {"shape": [1, 2, 3, 3]}))
    np.testing.assert_array_equal(load_part("test", "tiny", **arguments).images, good)
    assert sorted(p.name for p in file.parent.iterdir()) == ["images.npy", "index.json"]


def test_interrupted_drawing_leaves_nothing(tmp_path, monkeypatch):
    def stop(job):
        raise KeyboardInterrupt

    monkeypatch.setattr(dataset, "_work", stop)
    with pytest.raises(KeyboardInterrupt):
        load_part("test", "tiny", cache_dir=tmp_path, workers=1, progress=False, people=(0, 1))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def _load_one(folder):
    return int(
        load_part("test", "tiny", cache_dir=folder, workers=1, progress=False, people=(0, 1))
        .images.astype(int)
        .sum()
    )


def test_two_processes_at_once(tmp_path):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        sums = pool.map(_load_one, [tmp_path, tmp_path])
    assert sums[0] == sums[1] == _load_one(tmp_path)


def test_whoever_draws_second_leaves_the_first_ones_folder(tmp_path):
    folder, pictures = tmp_path / "part", np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    with new_images(folder, pictures.shape) as late:
        with new_images(folder, pictures.shape) as early:
            early[:] = pictures
        first = folder.stat().st_ino
        late[:] = pictures
    assert folder.stat().st_ino == first  # never away, not even for a moment
    np.testing.assert_array_equal(read_images(folder, pictures.shape), pictures)
    assert [path.name for path in tmp_path.iterdir()] == ["part"]


def test_truth_rows_match_the_visible_rows(tiny, cache):
    aligned = truth(0, "tiny", cache_dir=cache, progress=False, workers=1)
    rows = tiny.test.rows(Modality.VISIBLE)
    assert aligned.names == tuple(tiny.test.names[row] for row in rows)
    assert (aligned.modalities == Modality.INFRARED).all()
    assert (aligned.images[..., 0] == aligned.images[..., 2]).all()


def test_wrong_input_is_refused(tmp_path):
    with pytest.raises(ValueError, match="size must be one of"):
        load("huge", cache_dir=tmp_path)
    with pytest.raises(ValueError, match="part"):
        load("tiny", cache_dir=tmp_path, parts=("val",))
    with pytest.raises(ValueError, match="image_size"):
        load("tiny", cache_dir=tmp_path, image_size=(512, 128))
    with pytest.raises(ValueError, match="negative"):
        load("tiny", seed=-1, cache_dir=tmp_path)
    with pytest.raises(ValueError, match="known are"):
        load_data("nothing")
    assert not list(tmp_path.iterdir())


def test_unknown_difficulty_has_its_own_cache(cache, tiny):
    easy = Difficulty(occlusion=0.0, crop_jitter=0.0)
    part = load_part(
        "test", "tiny", cache_dir=cache, difficulty=easy, workers=1, progress=False, people=(0, 1)
    )
    assert np.abs(part.images.astype(int) - tiny.test.images[:8]).mean() > 1


def test_sysu_layout(tiny, tmp_path):
    assert export(tiny, tmp_path / "sysu", "sysu", held_out=1) == 56
    root = tmp_path / "sysu"
    assert len(list(root.glob("cam?/????/????.jpg"))) == 56
    lists = {
        name: (root / "exp" / f"{name}_id.txt").read_text().splitlines()
        for name in ("train", "val", "test", "available")
    }
    assert lists == {
        "train": ["1001,1002,1003"],
        "val": ["1004"],
        "test": ["1,2,3"],
        "available": ["1,2,3,1001,1002,1003,1004"],
    }
    image = np.asarray(Image.open(root / "cam3" / "0001" / "0002.jpg").convert("RGB")).astype(int)
    row = tiny.test.names.index("cam3/0001/0002.jpg")
    assert np.abs(image - tiny.test.images[row]).mean() < 6


def test_regdb_layout(tiny, tmp_path):
    assert export(tiny, tmp_path / "regdb", "regdb") == 56
    root = tmp_path / "regdb"
    for trial in (1, 10):
        seen = {}
        for part in ("train", "test"):
            for kind, top in (("visible", "Visible"), ("thermal", "Thermal")):
                lines = (root / "idx" / f"{part}_{kind}_{trial}.txt").read_text().splitlines()
                pairs = [line.split(" ") for line in lines]
                assert all((root / path).is_file() and path.startswith(top + "/") for path, _ in pairs)
                labels = {int(label) for _, label in pairs}
                assert labels == set(range(len(labels)))
                seen.setdefault(part, set()).update(path.split("/")[1] for path, _ in pairs)
        assert not seen["train"] & seen["test"]
        assert len(seen["train"] | seen["test"]) == 7
    assert len(list(root.rglob("*.bmp"))) == 56


def test_llcm_layout(tiny, tmp_path):
    assert export(tiny, tmp_path / "llcm", "llcm") == 56
    root = tmp_path / "llcm"
    for part, people, rows in (("train", 4, 16), ("test", 3, 12)):
        for kind in ("vis", "nir"):
            pairs = [
                line.split(" ") for line in (root / "idx" / f"{part}_{kind}.txt").read_text().splitlines()
            ]
            assert len(pairs) == rows
            assert {int(label) for _, label in pairs} == set(range(people))
            for path, _ in pairs:
                assert (root / path).is_file()
                folder, identity, name = path.split("/")
                assert folder == kind
                assert name.startswith(f"{identity}_c0")
                assert name.endswith(f"_{kind}.jpg")
    assert len(list(root.glob("test_vis/cam[1245]/????/*_vis.jpg"))) == 12
    assert len(list(root.glob("test_nir/cam[78]/????/*_nir.jpg"))) == 12
    assert not list((root / "test_nir" / "cam3").iterdir())
    assert (root / "idx" / "test_id.txt").read_text().strip() == "1,2,3"


def test_export_never_overwrites(tiny, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    with pytest.raises(ValueError, match="not an empty folder"):
        export(tiny, tmp_path / "full", "sysu")
    with pytest.raises(ValueError, match="layout"):
        export(tiny, tmp_path / "new", "market")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["full"]


def test_gallery_and_sheet(tmp_path):
    assert write_gallery(tmp_path / "gallery", people=2, with_truth=1) == 12
    entries = json.loads((tmp_path / "gallery" / "manifest.json").read_text())
    assert [sorted(entry) for entry in entries] == [["camera", "file", "identity", "modality", "truth"]] * 12
    for entry in entries:
        assert Image.open(tmp_path / "gallery" / entry["file"]).size == (128, 256)
        assert (entry["truth"] is not None) == (entry["identity"] == 1 and entry["modality"] == "visible")
        if entry["truth"]:
            assert Image.open(tmp_path / "gallery" / entry["truth"]).size == (128, 256)
    with pytest.raises(ValueError, match="not empty"):
        write_gallery(tmp_path / "gallery", people=1)
    assert contact_sheet(people=1).width > 10 * 128
