"""`python -m mtrl verify`: whole trees pass, and every kind of damage is named in one run."""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eval.protocols import Setting, make_trials
from mtrl.commands import verify as command
from mtrl.data import load_data
from mtrl.data.matfiles import read_permutations, read_test_ids
from mtrl.data.sources.verify import verify
from tests.helpers import trees
from tests.helpers.paths import OFFICIAL

# FACTS: the first 12 digits of the SHA-1 of "camera,identity,index" lines, trials 0 to 2.
SEEDED_ALL = ("96607f6f1e91", "ada68a3ae2d4", "ac57ad246665")


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.main(parser.parse_args(arguments))


@pytest.mark.parametrize("name", sorted(trees.MAKERS))
def test_whole_trees_pass(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = trees.MAKERS[name](tmp_path / "my cam1 data" / name)
    for more in ([], ["--full", "--duplicates"]):
        assert run("--dataset", name, "--data-root", str(root), "--no-counts", *more) == 0
        told = capsys.readouterr()
        assert "No problem found." in told.out and "Problems" not in told.out and told.err == ""


def test_a_small_tree_is_not_the_published_data_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = trees.sysu(tmp_path / "sysu")
    assert run("--dataset", "sysu", "--data-root", str(root)) == 2
    told = capsys.readouterr()
    assert "test, cam3 images: 15 found, 1,883 published (1,868 fewer)" in told.out
    assert "train identities: 4 found, 296 published" in told.out
    assert told.err.startswith("error: ") and told.err.count("\n") == 1
    for name, text in (
        ("regdb", "Thermal images: 16 found, 4,120 published"),
        ("llcm", "test_nir images: 23 found, 7,166 published"),
    ):
        assert any(
            text in finding.what for finding in verify(name, trees.MAKERS[name](tmp_path / name)).problems
        )


def remove(root: Path, path: str) -> None:
    target = root / path
    shutil.rmtree(target) if target.is_dir() else target.unlink()


def empty(root: Path, path: str) -> None:
    remove(root, path)
    (root / path).mkdir()


def cut(root: Path, path: str) -> None:
    (root / path).write_bytes((root / path).read_bytes()[:-200])


def text(root: Path, path: str, content: str = "") -> None:
    (root / path).write_text(content)


def copy(root: Path, old: str, new: str) -> None:
    shutil.copytree(root / old, root / new)


def nest(root: Path) -> None:
    inner = root.with_name("moved")
    root.rename(inner)
    root.mkdir()
    inner.rename(root / "SYSU-MM01")


def one_modality(root: Path) -> None:
    for camera in (3, 6):
        remove(root, f"cam{camera}/0002")


def wide(root: Path) -> None:
    trees.draw(root, "cam1/0001/0001.jpg", (60, 30))
    trees.draw(root, "cam1/0001/0002.jpg", (8, 12))


def broken_link(root: Path) -> None:
    remove(root, "cam1/0007/0001.jpg")
    (root / "cam1/0007/0001.jpg").symlink_to(root / "nowhere.jpg")


REGDB_LIST = "idx/test_thermal_7.txt"
PROBLEMS = [
    ("sysu", nest, (), "none of cam1", "SYSU-MM01"),
    ("sysu", remove, ("cam3",), "the folder cam3 is missing", "unpack"),
    ("sysu", remove, ("exp/val_id.txt",), "val_id.txt is missing", "copy exp/val_id.txt"),
    ("sysu", text, ("exp/val_id.txt", "a,b"), "'a' is no identity number", "copy exp/val_id.txt"),
    ("sysu", text, ("exp/val_id.txt", "5,1"), "1 identities stand in exp/train_id.txt and in exp/val_id", ""),
    ("sysu", text, ("exp/val_id.txt", "5,88"), "1 val identities have no image in any camera: 0088", ""),
    ("sysu", cut, ("cam1/0007/0001.jpg",), "1 images cannot be read: cam1/0007/0001.jpg (", "get these"),
    ("sysu", text, ("cam1/0007/0001.jpg", "<html>"), "1 images cannot be read: cam1/0007/0001.jpg (", ""),
    ("sysu", text, ("cam1/0007/0001.jpg", ""), "1 images cannot be read: cam1/0007/0001.jpg (", ""),
    ("sysu", broken_link, (), "1 images cannot be read: cam1/0007/0001.jpg (", ""),
    ("sysu", copy, ("cam1/0007", "cam1/07"), "are the same identity number", "its name the only one"),
    ("regdb", remove, ("Thermal",), "the folder Thermal is missing", ""),
    ("regdb", remove, (REGDB_LIST,), "test_thermal_7.txt is missing", "idx folder"),
    ("regdb", text, (REGDB_LIST, "Thermal/3/a.bmp 0\nThermal/4/a.bmp 2\n"), "without a gap", ""),
    ("regdb", remove, ("Thermal/3",), "of its images are missing: Thermal/3/", ""),
    ("regdb", cut, (trees.regdb_name("Thermal", 3, 0),), "1 images cannot be read: Thermal/3/", ""),
    ("llcm", remove, ("test_nir/cam5",), "the folder test_nir/cam5 is missing", ""),
    ("llcm", remove, ("idx/test_id.txt",), "test_id.txt is missing", "idx folder"),
    ("llcm", remove, ("nir/0002",), "idx/train_nir.txt: 2 of its images are missing: nir/0002/", ""),
    ("llcm", text, ("idx/test_id.txt", "3,5,7,99"), "1 test identities have no image: 99", ""),
    ("llcm", text, ("idx/test_id.txt", "3,5,7,1"), "1 identities are in the training and in the test", ""),
    ("folder", remove, ("gallery",), "no query has an image of the same identity", "IDENTITY names"),
]
NOTES = [
    ("sysu", text, ("cam1/0007/Thumbs.db", "x"), "1 stray files or folders are passed over: cam1/0007/Thumbs.db"),
    ("sysu", copy, ("cam1/0007", "cam1/0007 (copy)"), "1 stray files or folders are passed over: cam1/0007 (copy)"),
    ("sysu", text, ("exp/test_id.txt", "7,8,9,10\n99"), "test_id.txt has more than one line"),
    ("sysu", empty, ("cam3",), "cam3 holds no images"),
    ("llcm", empty, ("test_vis/cam5",), "test_vis/cam5 holds no images"),
    ("sysu", one_modality, (), "1 train identities have no infrared image: 0002"),
    ("sysu", wide, (), "1 images are wider than high: cam1/0001/0001.jpg (60 x 30)"),
    ("sysu", wide, (), "1 images are smaller than 16 pixels: cam1/0001/0002.jpg (8 x 12)"),
    ("sysu", text, ("train_rgb_resized_img.npy", ""), "other programs' arrays"),
    ("llcm", copy, ("test_vis/cam1/0003", "test_nir/cam3/0003"), "test_nir/cam3 holds images"),
    ("llcm", copy, ("test_vis/cam1/0003", "test_vis/cam1/0900"), "are not in idx/test_id.txt"),
    ("folder", remove, ("gallery/visible/eve",), "2 of 4 infrared queries have no image of the same identity"),
    ("folder", copy, ("train/visible/anna", "query/visible/anna"), "1 identities are trained on and tested on"),
    ("folder", copy, ("train", "val"), "folders with other names are not read: val"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "harm", "arguments", "what", "advice"), PROBLEMS)
def test_problems_are_named(
    tmp_path: Path, name: str, harm: object, arguments: tuple[str, ...], what: str, advice: str
) -> None:
    root = trees.MAKERS[name](tmp_path / name)
    harm(root, *arguments)  # type: ignore[operator]
    report = verify(name, root, counts=False)
    found = [finding for finding in report.problems if what in finding.what]
    assert found, report.text()
    assert advice in found[0].advice
    assert what in report.text()


@pytest.mark.parametrize(("name", "harm", "arguments", "what"), NOTES)
def test_notes_do_not_fail(
    tmp_path: Path, name: str, harm: object, arguments: tuple[str, ...], what: str
) -> None:
    root = trees.MAKERS[name](tmp_path / name)
    harm(root, *arguments)  # type: ignore[operator]
    report = verify(name, root, counts=False)
    assert not report.problems, report.text()
    assert any(what in finding.what for finding in report.notes), report.text()


def test_an_empty_camera_is_a_problem_of_the_published_set(tmp_path: Path) -> None:
    for name, folder in (("sysu", "cam3"), ("llcm", "test_nir/cam5")):
        root = trees.MAKERS[name](tmp_path / name)
        empty(root, folder)
        assert f"{folder} holds no images" in [finding.what for finding in verify(name, root).problems]


def test_everything_in_one_run(tmp_path: Path) -> None:
    root = trees.sysu(tmp_path / "sysu")
    remove(root, "cam2"), remove(root, "exp/train_id.txt"), cut(root, "cam1/0007/0001.jpg")
    text(root, "cam4/Thumbs.db")
    told = verify("sysu", root, counts=False).text()
    for part in ("cam2 is missing", "train_id.txt is missing", "cam1/0007/0001.jpg", "cam4/Thumbs.db"):
        assert part in told


def images() -> dict[str, bytes]:
    """Files that readers take for images, by name."""

    def save(kind: str, size: tuple[int, int] = (20, 40), **options: object) -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", size, (90, 60, 30)).save(buffer, kind, **options)
        return buffer.getvalue()

    turned = Image.Exif()
    turned[274] = 6
    scan = save("JPEG", progressive=True)
    start = scan.rindex(b"\xff\xda")
    bomb = scan[:start] + scan[start:-2] * 200 + scan[-2:]
    huge = bytearray(save("PNG"))
    huge[16:24] = (9000).to_bytes(4, "big") + (8000).to_bytes(4, "big")
    huge[29:33] = zlib.crc32(huge[12:29]).to_bytes(4, "big")
    png = save("PNG")
    exif = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    chunk = len(exif).to_bytes(4, "big") + b"eXIf" + exif + zlib.crc32(b"eXIf" + exif).to_bytes(4, "big")
    return {
        "plain.jpg": save("JPEG"),
        "phone.jpg": save("JPEG", (40, 20), exif=turned.tobytes()),
        "phone.png": save("PNG", (40, 20), exif=turned.tobytes()),
        "phone.webp": save("WEBP", (40, 20), exif=turned.tobytes()),
        "phone.tif": save("TIFF", (40, 20), exif=turned.tobytes()),
        "late.png": png[:-12] + chunk + png[-12:],
        "a png.jpg": save("PNG"),
        "pixels.bmp": save("BMP"),
        "lying.jpg": save("JPEG2000"),
        "lying.png": save("JPEG2000"),
        "icon.bmp": save("ICO"),
        "strip.jpg": save("JPEG", (20, 1200)),
        "strip.bmp": save("BMP", (1200, 20)),
        "huge.png": bytes(huge),
        "bomb.jpg": bomb,
        "cut.jpg": save("JPEG")[:-100],
        "cut.png": png[:-20],
        "cut.bmp": save("BMP")[:-100],
        "empty.jpg": b"",
        "text.png": b"<html>",
    }


@pytest.mark.filterwarnings("ignore:.*cannot be read")
@pytest.mark.parametrize("full", [False, True])
def test_verify_and_the_reader_judge_alike(tmp_path: Path, full: bool) -> None:
    """What the loader refuses is a problem, and nothing else is; sizes are those of upright images."""
    root = tmp_path / "own"
    for name, content in images().items():
        path = root / "train" / "visible" / name.replace(".", " ") / name
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    options: dict[str, object] = {"parts": ("train",), "cache_dir": tmp_path / "c", "image_size": (8, 4)}
    read = load_data("folder", root, on_bad="skip", **options).train  # type: ignore[arg-type]
    report = verify("folder", root, full=full)
    refused = {name for name in images() if not any(path.endswith(f"/{name}") for path in read.names)}
    assert refused >= {"lying.jpg", "strip.jpg", "strip.bmp", "huge.png", "bomb.jpg", "empty.jpg", "cut.bmp"}
    (bad,) = [finding.what for finding in report.problems if "cannot be read" in finding.what]
    assert bad.startswith(f"{len(refused)} images cannot be read")
    wide = [finding.what for finding in report.notes if "wider than high" in finding.what]
    assert wide == ["1 images are wider than high: train/visible/late png/late.png (40 x 20)"]


def test_people_of_one_modality_only_cannot_be_trained_on(tmp_path: Path) -> None:
    for kind, name in (("visible", "anna"), ("infrared", "Anna")):
        trees.draw(tmp_path, f"train/{kind}/{name}/a.jpg")
    report = verify("folder", tmp_path)
    assert "none of the 2 training identities has visible and infrared images" in report.problems[0].what
    assert any("taken for different people: Anna and anna" in finding.what for finding in report.notes)
    assert any("1 training identities have no visible" in f.what or ": Anna" in f.what for f in report.notes)


def test_a_part_is_told_how_to_be_checked(tmp_path: Path) -> None:
    for name in ("sysu", "regdb", "llcm"):
        root = trees.MAKERS[name](tmp_path / name)
        assert any("--no-counts" in finding.advice for finding in verify(name, root).notes)
        assert not any("--no-counts" in finding.advice for finding in verify(name, root, counts=False).notes)


def test_overlaps_are_named_as_the_data_name_them(tmp_path: Path) -> None:
    root = trees.folder(tmp_path / "own")
    copy(root, "query/visible/eve", "train/visible/0117")
    copy(root, "query/visible/eve", "gallery/visible/0117")
    assert any("and tested on: 0117" in finding.what for finding in verify("folder", root).notes)
    root = trees.regdb(tmp_path / "regdb")
    for kind in ("visible", "thermal"):
        train = (root / f"idx/train_{kind}_4.txt").read_text()
        (root / f"idx/test_{kind}_4.txt").write_text(train)
    problems = [finding.what for finding in verify("regdb", root, counts=False).problems]
    assert any(
        "trial 4: 4 identities are in both training and test lists: 5, 6, 7, 8" in what for what in problems
    )


def test_frame_numbers_of_any_length_are_looked_through(tmp_path: Path) -> None:
    root = trees.sysu(tmp_path / "sysu")
    trees.draw(root, "cam1/0007/999999999999.jpg")
    trees.draw(root, f"cam1/{2**64}/0001.jpg"), trees.draw(root, "cam1/²/0001.jpg")
    report = verify("sysu", root)
    why = "(its name is no identity number)"
    expected = f"2 stray files or folders are passed over: cam1/{2**64} {why}, cam1/² {why}"
    assert expected in [finding.what for finding in report.notes], report.text()


def test_damage_inside_a_file_is_found_by_decoding(tmp_path: Path) -> None:
    root = trees.folder(tmp_path / "own")
    rng = np.random.default_rng(0)
    path = root / "query" / "visible" / "eve" / "noise.png"
    Image.fromarray(rng.integers(0, 255, (64, 32, 3), dtype=np.uint8)).save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    assert not verify("folder", root).problems
    assert "noise.png" in verify("folder", root, full=True).problems[0].what


def test_duplicates(tmp_path: Path) -> None:
    root = trees.folder(tmp_path / "own")
    shutil.copy(root / "train/visible/anna/train 0.jpg", root / "train/infrared/bert/same.jpg")
    assert not [f for f in verify("folder", root).notes if "more than once" in f.what]
    notes = verify("folder", root, duplicates=True).notes
    shown = "train/infrared/bert/same.jpg = train/visible/anna/train 0.jpg"
    assert any("1 images are there more than once" in f.what and shown in f.what for f in notes)


def test_an_unreadable_folder_is_one_problem_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, scandir = trees.sysu(tmp_path / "sysu"), os.scandir

    def refuse(path: Path) -> Iterator[os.DirEntry[str]]:
        if str(path).endswith("cam1/0007"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("mtrl.files.scan.os.scandir", refuse)
    report = verify("sysu", root, counts=False)
    assert ["cam1/0007 cannot be read: Permission denied" in f.what for f in report.problems] == [True]


def test_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        verify("sysu", tmp_path / "nowhere")
    with pytest.raises(ValueError, match="unknown data set 'market'"):
        verify("market", tmp_path)
    with pytest.raises(SystemExit):
        run("--dataset", "market", "--data-root", str(tmp_path))


def full_size_sysu(root: Path) -> Path:
    """SYSU-MM01 with as many files as the real one, every file a link to one image."""
    lengths = {key: rows.shape[1] for key, rows in read_permutations(OFFICIAL / "rand_perm_cam.mat").items()}
    trees.draw(root, "one.jpg")
    by_identity: dict[int, set[int]] = {}
    for (camera, identity), count in lengths.items():
        by_identity.setdefault(identity, set()).add(camera)
        folder = root / f"cam{camera}" / f"{identity:04d}"
        folder.mkdir(parents=True)
        for frame in range(1, count + 1):
            os.link(root / "one.jpg", folder / f"{frame:04d}.jpg")
    import scipy.io

    test = read_test_ids(OFFICIAL / "test_id.mat")
    train = sorted(int(i) for i in scipy.io.loadmat(OFFICIAL / "train_id.mat")["id"].ravel())
    both = {i for i, cameras in by_identity.items() if cameras & {3, 6} and cameras & {1, 2, 4, 5}}
    (root / "exp").mkdir()
    for part, identities in (("train", train), ("val", sorted(both - {*train, *test})), ("test", test)):
        (root / "exp" / f"{part}_id.txt").write_text(",".join(map(str, identities)) + "\n")
    return root


@pytest.mark.slow
@pytest.mark.skipif(not OFFICIAL.is_dir(), reason="the official evaluation files are not here")
def test_a_tree_of_full_size_is_the_published_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = full_size_sysu(tmp_path / "sysu")
    assert run("--dataset", "sysu", "--data-root", str(root)) == 0, capsys.readouterr().out
    assert "test, cam3 images" in capsys.readouterr().out
    test = load_data("sysu", root, image_size=(4, 2), cache_dir=tmp_path / "cache", parts=("test",)).test
    visible = int((test.modalities == 0).sum())
    assert (visible, len(test) - visible) == (6775, 3803)
    trials = make_trials(test.identities, test.cameras, test.modalities, Setting("sysu", trials=3))
    for trial, expected in zip(trials, SEEDED_ALL, strict=True):
        lines = []
        for row in trial.gallery:
            camera, identity, frame = test.names[row].removesuffix(".jpg").split("/")
            lines.append(f"{camera.removeprefix('cam')},{identity},{int(frame)}")
        assert hashlib.sha1("\n".join(lines).encode()).hexdigest()[:12] == expected
        assert len(trial.query) == 3803 and len(trial.gallery) == 301
    remove(root, "cam4/0006/0002.jpg")
    report = verify("sysu", root)
    assert any("test, cam4 images: 1,917 found, 1,918 published (1 fewer)" in f.what for f in report.problems)
    assert any("gaps in the frame numbers at cam4/0006/0002" in f.what for f in report.notes)
