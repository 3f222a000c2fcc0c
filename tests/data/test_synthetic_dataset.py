"""The data set: labels, cache, disjoint people, exported trees."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing

import numpy as np
import PIL
import pytest
from PIL import Image

from mtrl.data import array_cache, load_data
from mtrl.data.synthetic import SIZES, Difficulty, dataset, draw, draw_person, load, load_part, render, truth
from mtrl.data.synthetic.export import export
from mtrl.data.synthetic.sheet import contact_sheet, write_gallery
from mtrl.models.config import Modality


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
    image = render(draw_person("test", 0, 1), 4, 0).astype(float)
    mean = image.reshape(64, 4, 32, 4, 3).mean((1, 3))
    row = tiny.test.names.index("cam4/0002/0001.jpg")
    assert np.abs(tiny.test.images[row] - mean).max() <= 1


def test_second_load_reads_the_cache_and_parts_are_separate(tiny, cache, monkeypatch):
    monkeypatch.setattr(draw, "_work", None)  # drawing anything would fail now
    again = load("tiny", cache_dir=cache, progress=False)
    np.testing.assert_array_equal(again.train.images, tiny.train.images)
    assert not again.train.images.flags.writeable
    only = load("tiny", seed=99, cache_dir=cache, progress=False, parts=("test",))
    assert len(only.train) == 0
    assert len(only.test) == len(tiny.test)


def test_other_seeds_give_other_people(tiny, cache):
    other = load("tiny", test_seed=1, cache_dir=cache, progress=False, parts=("test",), workers=1)
    assert np.abs(other.test.images.astype(int) - tiny.test.images).mean() > 5


@pytest.mark.filterwarnings("ignore:.*is damaged")
@pytest.mark.parametrize("damage", ["truncate", "flip", "index", "head"])
def test_damaged_cache_is_made_again(tmp_path, damage):
    arguments = {"cache_dir": tmp_path, "workers": 1, "progress": False, "people": (0, 1)}
    good = np.array(load_part("test", "tiny", **arguments).images)
    (file,) = tmp_path.rglob("*.npy")
    content = bytearray(file.read_bytes())
    if damage == "truncate":
        file.write_bytes(content[:-100])
    elif damage == "flip":
        content[-5] ^= 255
        file.write_bytes(content)
    elif damage == "index":
        file.with_suffix(".json").write_text("{")
    else:
        file.write_bytes(content.replace(b"8, 64, 32", b"8, 32, 64"))
    np.testing.assert_array_equal(load_part("test", "tiny", **arguments).images, good)
    assert sorted(p.suffix for p in file.parent.iterdir()) == [".json", ".lock", ".npy"]


def test_interrupted_drawing_goes_on(tmp_path, monkeypatch):
    def work(job):
        return np.stack(
            [np.full((64, 32, 3), 16 * job.person + 2 * camera + shot) for camera, shot in job.shots]
        )

    seen = []

    def counted(job):
        seen.append(job)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return work(job).astype(np.uint8)

    monkeypatch.setattr(array_cache, "_BLOCK", 5)
    monkeypatch.setattr(draw, "_work", counted)
    arguments = {"workers": 1, "progress": False, "people": (0, 3)}
    with pytest.raises(KeyboardInterrupt):
        load_part("test", "tiny", cache_dir=tmp_path, **arguments)
    assert not list(tmp_path.rglob("*.npy"))
    resumed = load_part("test", "tiny", cache_dir=tmp_path, **arguments).images
    assert [(job.person, len(job.shots)) for job in seen[3:]] == [(1, 1), (2, 8)], "16 of 24 were safe: 15"
    whole = [
        16 * person + 2 * camera + shot
        for person in range(3)
        for camera in range(1, 7)
        for shot in range(1 + (camera in (3, 6)))
    ]
    assert resumed[:, 0, 0, 0].tolist() == whole


@pytest.mark.parametrize("other", ["code", "NumPy", "Pillow"])
def test_other_code_and_libraries_draw_anew(tmp_path, monkeypatch, other):
    arguments = {"cache_dir": tmp_path, "workers": 1, "progress": False, "people": (0, 1)}
    load_part("test", "tiny", **arguments)
    if other == "code":
        monkeypatch.setattr(dataset, "code_digest", lambda *_: "changed")
    else:
        monkeypatch.setattr({"NumPy": np, "Pillow": PIL}[other], "__version__", "99.1")
    load_part("test", "tiny", **arguments)
    assert len(list(tmp_path.rglob("*.npy"))) == 2


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
    assert len(list(root.glob("test_nir/cam[25]/????/*_nir.jpg"))) == 12
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


def test_a_gallery_of_both_spectra_says_which_is_which(tmp_path):
    write_gallery(tmp_path / "both", people=2, with_truth=0, spectrum="both")
    entries = json.loads((tmp_path / "both" / "manifest.json").read_text())
    said = {entry["camera"]: entry["spectrum"] for entry in entries}
    assert said == {1: None, 2: None, 3: "nir", 4: None, 5: None, 6: "thermal"}
    for entry in entries:
        if entry["spectrum"]:
            person = draw_person("test", 0, entry["identity"] - 1)
            drawn = render(person, entry["camera"], 0, spectrum=entry["spectrum"]).astype(int)
            stored = np.asarray(Image.open(tmp_path / "both" / entry["file"])).astype(int)
            assert np.abs(drawn - stored).mean() < 4  # JPEG


def test_gallery_and_sheet(tmp_path):
    assert write_gallery(tmp_path / "gallery", people=2, with_truth=1) == 12
    entries = json.loads((tmp_path / "gallery" / "manifest.json").read_text())
    keys = ["camera", "file", "identity", "modality", "spectrum", "truth"]
    assert [sorted(entry) for entry in entries] == [keys] * 12
    for entry in entries:
        assert entry["spectrum"] == (None if entry["modality"] == "visible" else "nir")
        assert Image.open(tmp_path / "gallery" / entry["file"]).size == (128, 256)
        assert (entry["truth"] is not None) == (entry["identity"] == 1 and entry["modality"] == "visible")
        if entry["truth"]:
            assert Image.open(tmp_path / "gallery" / entry["truth"]).size == (128, 256)
    with pytest.raises(ValueError, match="not empty"):
        write_gallery(tmp_path / "gallery", people=1)
    assert contact_sheet(people=1).width > 10 * 128
