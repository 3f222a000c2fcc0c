"""Loaders of SYSU-MM01, RegDB, LLCM: rows and labels of whole trees, and what damaged ones say."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mtrl.data import load_data
from mtrl.data.imageset import ImageSet, ReIDData
from mtrl.data.listing import check_labels, identity_folder
from mtrl.data.sources.llcm import camera_of
from mtrl.models.config import Modality
from tests.helpers import trees

SIZE = (16, 8)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("MTRL_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache"


def load(name: str, root: Path, parts: tuple[str, ...] = ("train", "test"), **options: object) -> ReIDData:
    return load_data(name, root, image_size=SIZE, parts=parts, **options)  # type: ignore[arg-type]


def keys(images: ImageSet) -> list[tuple[int, int, str]]:
    return [
        (int(i), int(c), n) for i, c, n in zip(images.identities, images.cameras, images.names, strict=True)
    ]


def check_set(images: ImageSet) -> None:
    """Every image is the one that its name stands for, and the rows are in the order that draws rely on."""
    assert images.images.shape == (len(images), *SIZE, 3)
    groups: dict[tuple[int, int], list[str]] = {}
    for identity, camera, name in keys(images):
        groups.setdefault((identity, camera), []).append(name)
    assert all(names == sorted(names) for names in groups.values())
    assert [name for names in groups.values() for name in names] == list(images.names)
    assert len(set(images.names)) == len(images)
    for row, name in enumerate(images.names):
        assert np.abs(images.images[row].astype(int) - trees.colour(name)).max() <= 4, name


@pytest.mark.parametrize("name", sorted(trees.MAKERS))
def test_every_loader_keeps_the_promises_of_an_image_set(tmp_path: Path, name: str) -> None:
    # "cam" and digits in the root, and spaces: nothing but components below the root is read.
    root = trees.MAKERS[name](tmp_path / "my cam7 data" / "camstore 0012")
    data = load(name, root)
    assert data.name == name
    for images in (data.train, data.test):
        check_set(images)
        assert set(images.modalities) == {0, 1}
    assert len(load(name, root, parts=("test",)).train) == 0
    assert load(name, root, parts=("train",)).test.images.shape == (0, *SIZE, 3)


def test_sysu(tmp_path: Path) -> None:
    data = load("sysu", trees.sysu(tmp_path / "sysu"))
    expected = [
        (identity, camera, f"cam{camera}/{identity:04d}/{frame:04d}.jpg")
        for identity in (7, 8, 9, 10)
        for camera in range(1, 7)
        if not (identity == 8 and camera in (1, 2))
        for frame in range(1, 7 if (identity, camera) == (9, 3) else 4)
    ]
    assert keys(data.test) == expected
    assert set(data.train.identities) == {1, 2, 3, 5, 6, 12}
    assert data.protocol == "sysu" and data.validation is None
    for camera, modality in zip(data.test.cameras, data.test.modalities, strict=True):
        assert modality == (Modality.INFRARED if camera in (3, 6) else Modality.VISIBLE)


def test_sysu_296_shares_the_cache_of_395(tmp_path: Path, cache: Path) -> None:
    root = trees.sysu(tmp_path / "sysu")
    both = load("sysu", root, parts=("train",))
    part = load("sysu", root, parts=("train",), train_ids="296")
    assert part.validation is not None
    assert set(part.train.identities) == {1, 2, 3, 12} and set(part.validation.identities) == {5, 6}
    assert len(part.train) + len(part.validation) == len(both.train)
    check_set(part.train), check_set(part.validation)
    assert isinstance(part.train.images, np.memmap) and isinstance(part.validation.images, np.memmap)
    assert len(list((cache / "images").glob("*.npy"))) == 1
    with pytest.raises(ValueError, match="train_ids"):
        load("sysu", root, train_ids="400")


def test_regdb_trials(tmp_path: Path, cache: Path) -> None:
    root = trees.regdb(tmp_path / "regdb")
    seen = set()
    for trial in (1, 2, 4):
        data = load("regdb", root, trial=trial)
        train, test = set(data.train.identities), set(data.test.identities)
        assert len(train) == len(test) == 4 and not train & test
        assert test == {(place + trial) % 8 + 1 for place in (4, 5, 6, 7)}
        assert len(data.test) == 16 and data.protocol == "regdb"
        assert (data.test.cameras == data.test.modalities + 1).all()
        check_set(data.test)
        seen.add(frozenset(test))
    assert len(seen) == 3
    assert len(list((cache / "images").glob("*.npy"))) == 1, "all trials share one cache"
    for trial in (0, 11):
        with pytest.raises(ValueError, match="trial must be 1 to 10"):
            load("regdb", root, trial=trial)


def test_llcm(tmp_path: Path) -> None:
    root = trees.llcm(tmp_path / "llcm")
    data = load("llcm", root)
    assert set(data.train.identities) == {1, 2, 4, 6} and set(data.train.cameras) == {1, 2}
    assert set(data.test.identities) == {3, 5, 7}
    infrared = data.test.modalities == Modality.INFRARED
    assert set(data.test.cameras[infrared]) == {1, 2, 4, 5, 6, 7, 8, 9}
    assert set(data.test.cameras[~infrared]) == set(range(1, 10))
    (root / "test_nir" / "cam3").rmdir()
    assert len(load("llcm", root, parts=("test",)).test) == len(data.test)
    with (root / "idx" / "test_id.txt").open("a") as file:
        file.write(",2")
    for part in ("train", "test"):
        with pytest.raises(ValueError, match="identity 2 stands in the training lists and in"):
            load("llcm", root, parts=(part,))


@pytest.mark.parametrize(
    ("path", "camera"),
    [("nir/0003/0003_c12_s185734_f3195_nir.jpg", 12), ("a_c1_b/x.jpg", 0), ("0003_cam1_c04.jpg", 4)],
)
def test_camera_of_an_llcm_name(path: str, camera: int) -> None:
    assert camera_of(path) == camera


def test_labels_are_another_name_of_identities() -> None:
    first, second = [("Visible/3/a.bmp", 0), ("Visible/4/b.bmp", 1)], [("Thermal/3/a.bmp", 0)]
    check_labels({Path("v.txt"): first, Path("t.txt"): second}, identity_folder)
    with pytest.raises(ValueError, match=r"v\.txt and t\.txt give one identity two labels"):
        both = {Path("v.txt"): first, Path("t.txt"): [("Thermal/3/a.bmp", 0), ("Thermal/4/b.bmp", 1)]}
        both[Path("t.txt")] += [("Thermal/3/c.bmp", 2)]
        check_labels(both, identity_folder)


def test_strays_and_endings(tmp_path: Path) -> None:
    root = trees.sysu(tmp_path / "sysu")
    whole = load("sysu", root, parts=("test",)).test
    folder = root / "cam1" / "0007"
    for stray in ("Thumbs.db", ".DS_Store", "._0001.jpg", "notes.txt"):
        (folder / stray).write_bytes(b"stray")
    (folder / "0002.jpg").rename(folder / "0002.JPG")
    (root / "cam1" / "Thumbs.db").write_bytes(b"stray")
    (root / "cam1" / "extra").mkdir()
    names = [name.replace("cam1/0007/0002.jpg", "cam1/0007/0002.JPG") for name in whole.names]
    assert list(load("sysu", root, parts=("test",)).test.names) == names


@pytest.mark.parametrize("text", ["7,8,9,10\r\n", "\ufeff7,8,9,10", " 7, 8 ,9,10,\n\n"])
def test_id_files_of_other_systems(tmp_path: Path, text: str) -> None:
    root = trees.sysu(tmp_path / "sysu")
    (root / "exp" / "test_id.txt").write_bytes(text.encode())
    assert set(load("sysu", root, parts=("test",)).test.identities) == {7, 8, 9, 10}


def test_two_line_id_file_warns(tmp_path: Path) -> None:
    root = trees.sysu(tmp_path / "sysu")
    (root / "exp" / "test_id.txt").write_text("7,8\n9,10\n")
    with pytest.warns(UserWarning, match=r"test_id\.txt has more than one line"):
        assert set(load("sysu", root, parts=("test",)).test.identities) == {7, 8}


def test_links_are_followed(tmp_path: Path) -> None:
    root = trees.sysu(tmp_path / "elsewhere")
    expected = load("sysu", root, parts=("test",)).test
    shutil.move(root / "cam1" / "0007", tmp_path / "moved")
    (root / "cam1" / "0007").symlink_to(tmp_path / "moved")
    shutil.move(root / "cam2" / "0007" / "0001.jpg", tmp_path / "one.jpg")
    (root / "cam2" / "0007" / "0001.jpg").symlink_to(tmp_path / "one.jpg")
    (tmp_path / "link").symlink_to(root)
    found = load("sysu", tmp_path / "link", parts=("test",)).test
    assert found.names == expected.names and (found.images == expected.images).all()
    (tmp_path / "one.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"cam2/0007/0001\.jpg does not exist"):
        load("sysu", tmp_path / "link", parts=("test",))


def break_tree(name: str, what: str, root: Path) -> None:
    """One of the ways in which a download is broken."""
    if what == "nested":
        shutil.copytree(root, root / "inner" / "data")
        for path in list(root.iterdir()):
            if path.name != "inner":
                shutil.rmtree(path)
        (root / "inner" / "data").rename(root / "data")
    elif what.startswith("remove "):
        target = root / what.removeprefix("remove ")
        shutil.rmtree(target) if target.is_dir() else target.unlink()
    elif what.startswith("cut "):
        target = root / what.removeprefix("cut ")
        target.write_bytes(target.read_bytes()[:-200])
    elif what.startswith("write "):
        path, text = what.removeprefix("write ").split(" ", 1)
        (root / path).write_bytes(text.encode().replace(b"|", b"\n"))
    elif what.startswith("replace "):
        path, old, new = what.removeprefix("replace ").split(" ")
        (root / path).write_text((root / path).read_text().replace(old.replace("_", " "), new))
    elif what.startswith("copy "):
        old, new = what.removeprefix("copy ").split(" ")
        shutil.copytree(root / old, root / new)
    else:
        raise AssertionError(what)


REGDB_LIST = "idx/train_visible_1.txt"
BROKEN = [
    ("sysu", "nested", "did you mean .*data"),
    ("sysu", "remove cam3", "no folder cam3"),
    ("sysu", "remove exp/test_id.txt", "test_id.txt is missing"),
    ("sysu", "write exp/test_id.txt 7,eight", "'eight' is no identity number"),
    ("sysu", "write exp/test_id.txt |7,8", "first line is empty"),
    ("sysu", "write exp/test_id.txt 7,7", "names an identity twice"),
    ("sysu", "write exp/test_id.txt 7,1", "identity 1 stands in exp/train_id.txt and in exp/test_id.txt"),
    ("sysu", "write exp/test_id.txt 900", "no image of 1 identities"),
    ("sysu", "cut cam1/0007/0001.jpg", r"1 of 69 images cannot be read: .*cam1/0007/0001\.jpg"),
    ("sysu", "write cam1/0007/0001.jpg <html>", r"cam1/0007/0001\.jpg"),
    ("sysu", "copy cam1/0007 cam1/7", "cam1/7 and cam1/0007 are the same identity|cam1/0007 and cam1/7"),
    ("regdb", "remove idx", "no folder idx"),
    ("regdb", f"remove {REGDB_LIST}", "train_visible_1.txt is missing"),
    ("regdb", f"write {REGDB_LIST} ", "is empty"),
    ("regdb", f"write {REGDB_LIST} Visible/3/a.bmp", "line 1: expected a path, a space and a label"),
    ("regdb", f"write {REGDB_LIST} ../Visible/3/a.bmp 0", "leads out of"),
    ("regdb", f"write {REGDB_LIST} Visible/3/a.bmp 0|Visible/3/a.bmp 0", "names an image twice"),
    ("regdb", f"write {REGDB_LIST} Visible/3/a.bmp 0|Visible/4/b.bmp 2", "without a gap, but 1 is missing"),
    ("regdb", f"write {REGDB_LIST} Visible/3/a.bmp 0|Visible/4/b.bmp 0", "label 0 is identity 4"),
    ("regdb", f"write {REGDB_LIST} Visible/3/a.bmp 0|Visible/3/b.bmp 1", "but identity 3 elsewhere"),
    ("regdb", f"write {REGDB_LIST} Visible/x/a.bmp 0", "not in a folder that an identity number names"),
    ("regdb", "remove Thermal/3", "does not exist"),
    ("llcm", "remove test_vis", "no folder test_vis"),
    ("llcm", "remove test_vis/cam4", "test_vis has no folder cam4"),
    ("llcm", "remove idx/test_id.txt", "test_id.txt is missing"),
    ("llcm", "remove vis/0001", "does not exist"),
]


@pytest.mark.parametrize(("name", "what", "message"), BROKEN, ids=lambda value: str(value)[:40])
def test_broken_trees_are_named(tmp_path: Path, name: str, what: str, message: str) -> None:
    root = trees.MAKERS[name](tmp_path / name)
    break_tree(name, what, root)
    with pytest.raises((ValueError, OSError), match=message):
        load(name, root)


def test_lists_of_other_systems(tmp_path: Path) -> None:
    root = trees.regdb(tmp_path / "regdb")
    expected = load("regdb", root).train
    for path in (root / "idx").iterdir():
        path.write_bytes(path.read_text().replace("/", "\\").replace("\n", "\r\n").encode())
    assert load("regdb", root).train.names == expected.names


def test_unreadable_images_can_be_skipped(tmp_path: Path) -> None:
    root = trees.sysu(tmp_path / "sysu")
    break_tree("sysu", "cut cam1/0007/0002.jpg", root)
    with pytest.warns(UserWarning, match=r"1 of 69 images cannot be read.*cam1/0007/0002\.jpg"):
        test = load("sysu", root, parts=("test",), on_bad="skip").test
    assert len(test) == 68 and "cam1/0007/0002.jpg" not in test.names
    check_set(test)
    with pytest.raises(ValueError, match="on_bad"):
        load("sysu", root, parts=("test",), on_bad="ignore")


def test_an_empty_folder_and_an_absent_one_are_the_same(tmp_path: Path) -> None:
    root = trees.sysu(tmp_path / "sysu")
    (root / "cam1" / "0008").mkdir()
    test = load("sysu", root).test
    assert 8 in test.identities and 8 not in test.identities[test.cameras == 1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_folder_is_named(tmp_path: Path) -> None:
    root = trees.sysu(tmp_path / "sysu")
    (root / "cam1" / "0007").chmod(0)
    with pytest.raises(OSError, match=r"cam1/0007 cannot be read: Permission denied"):
        load("sysu", root)
    (root / "cam1" / "0007").chmod(0o755)


def test_an_unreadable_folder_is_named_whoever_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, scandir = trees.sysu(tmp_path / "sysu"), os.scandir

    def refuse(path: Path) -> Iterator[os.DirEntry[str]]:
        if str(path).endswith("cam1/0007"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("mtrl.files.scan.os.scandir", refuse)
    with pytest.raises(OSError, match=r"cam1/0007 cannot be read: Permission denied"):
        load("sysu", root)


def test_roots_that_are_none(tmp_path: Path) -> None:
    for name in trees.MAKERS:
        with pytest.raises(ValueError, match="--data-root DIR"):
            load_data(name)
        with pytest.raises(FileNotFoundError, match="nowhere"):
            load_data(name, tmp_path / "nowhere")
    with pytest.raises(ValueError, match="unknown data set 'market'"):
        load_data("market")
    with pytest.raises(ValueError, match="unknown part"):
        load_data("sysu", tmp_path, parts=("val",))
