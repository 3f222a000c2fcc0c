"""One scanner: all commands, folder data sets and the page read the same images of a tree, and name the rest."""

from __future__ import annotations

import argparse
import importlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open

from mtrl import MTRL, Gallery
from mtrl.commands.photos import read_photos
from mtrl.data import load_data
from mtrl.data.listing import scan_identities
from mtrl.data.sources.verify import verify
from mtrl.demo.html import cards
from mtrl.demo.service import thumbnails
from mtrl.demo.service.gallery_folder import read_gallery, scan_gallery
from mtrl.demo.service.service import DemoService
from mtrl.files.filenames import ALL_NAMES, as_text, file_named, some_of
from mtrl.files.image_limits import FORMATS, image_suffixes
from mtrl.files.images import read_image
from mtrl.files.scan import OTHER_IMAGES, PassedOver, report, scan
from mtrl.models.config import ModelConfig
from mtrl.retrieval.image_folders import remember_source
from mtrl.retrieval.stores.milvus_rows import check_texts
from mtrl.translate import load_translator
from tests.helpers import trees

if not hasattr(os, "mkfifo"):
    pytest.skip("this system has no links, pipes and names of any bytes", allow_module_level=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MTRL:
    torch.manual_seed(0)
    return MTRL(ModelConfig("test_resnet", (64, 32))).eval()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    try:
        return trees.hostile(tmp_path / "own" / "gallery")
    except (OSError, UnicodeError):  # macOS keeps no names that are not UTF-8
        pytest.skip("this disk does not hold such names")


def command(name: str, *argv: object) -> int:
    module = importlib.import_module(f"mtrl.commands.{name}")
    parser = argparse.ArgumentParser(prog=name)
    module.add_arguments(parser)
    return module.main(parser.parse_args([str(word) for word in argv]))


def service(model: MTRL, folder: Path, public: bool = False) -> DemoService:
    return DemoService(model, folder, {"luminance": load_translator("luminance")}, public=public)


GOOD = sorted(map(as_text, trees.GOOD))


def test_the_same_tree_gives_the_same_images_everywhere(tree: Path, tmp_path: Path, model: MTRL) -> None:
    assert sorted(scan(tree).images) == sorted([*trees.GOOD, *trees.BAD])
    photos, _ = read_photos(tree, skip_unreadable=True)
    assert sorted(photos.names) == GOOD and len({os.fsencode(path) for path in photos.paths}) == len(GOOD)

    with pytest.warns(UserWarning, match="left out"):
        data = load_data("folder", tree.parent, parts=("test",), on_bad="skip", cache_dir=tmp_path / "cache")
    assert sorted(name.removeprefix("gallery/") for name in data.test.names) == GOOD

    with pytest.raises(ValueError, match="4 of 27 images could not be read"):
        command("translate", tree, tmp_path / "out")
    written = [path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert sorted(map(as_text, written)) == GOOD
    assert all(read_image(tmp_path / "out" / path).size == trees.SIZE for path in written)

    assert sorted(service(model, tree).names()) == GOOD

    model.save_pretrained(tmp_path / "model")
    flags = ("--checkpoint", tmp_path / "model", "--skip-unreadable")
    assert command("index", tree, "--output", tmp_path / "index", *flags) == 0
    assert sorted(Gallery.load(tmp_path / "index").names) == GOOD
    assert command("encode", tree, "--output", tmp_path / "f.safetensors", *flags) == 0
    with safe_open(tmp_path / "f.safetensors", framework="pt") as file:
        names = json.loads(file.metadata()["names"])
    assert sorted(name.removeprefix(f"{tree}/") for name in names) == GOOD


def test_everything_else_is_named_with_its_reason(
    tree: Path,
    tmp_path: Path,
    model: MTRL,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = scan(tree)
    assert not found.errors
    reasons = {item.path: item.reason for item in found.passed_over}
    assert reasons.keys() == trees.NO_IMAGES.keys()
    assert all(reasons[path].startswith(reason) for path, reason in trees.NO_IMAGES.items())
    missed = {path for path, why in trees.NO_IMAGES.items() if "decoded" in why or path.endswith(".jpg")}
    assert {item.path for item in found.passed_over if item.image} == {
        *missed - {"visible/1/._a.jpg"},
        "infrared/1/round",
        "infrared/1/top",
    }
    monkeypatch.setenv(ALL_NAMES, "1")
    _, remark = read_photos(tree, skip_unreadable=True)
    assert "; 4 unreadable left out" in remark and "empty (0 bytes)" in remark
    told = verify("folder", tree.parent).text()
    page = "\n".join(service(model, tree).passed_over())
    with pytest.raises(ValueError, match=r"could not be read: .*empty\.jpg") as raised:
        command("translate", tree, tmp_path / "out")
    for text in (remark, told, page, capsys.readouterr().out + str(raised.value)):
        assert not [path for path in (*trees.NO_IMAGES, *trees.BAD) if path not in text]
    with pytest.raises(ValueError, match=r"empty\.jpg"):
        command("index", tree / "visible/1/empty.jpg", "--output", tmp_path / "i")


def test_lines_of_a_listing_that_cannot_be_read_are_left_out_by_name(tree: Path, tmp_path: Path) -> None:
    listing = tree / "listing.csv"
    listing.write_text("path,identity\ninfrared/1/a.png,anna\nlost.png,bob\nvisible/1/html.png,eve\n")
    with pytest.raises(FileNotFoundError, match=r"lost\.png does not exist"):
        read_photos(listing)
    photos, remark = read_photos(listing, skip_unreadable=True)
    assert photos.names == ["infrared/1/a.png"] and photos.identities == ["anna"]
    assert "; 2 unreadable left out" in remark and "lost.png" in remark and "html.png" in remark


def test_data_sets_warn_of_images_that_they_do_not_read(tree: Path, tmp_path: Path) -> None:
    trees.draw(tree, "visible/nobody.png")
    with pytest.warns(UserWarning) as raised:
        load_data("folder", tree.parent, parts=("test",), on_bad="skip", cache_dir=tmp_path / "cache")
    text = " ".join(str(warning.message) for warning in raised)
    assert "(not in the folder of an identity): gallery/visible/nobody.png" in text
    assert "p.heic" in text and "notes" not in text and "Trash" not in text


def test_identity_folders_are_a_stricter_reading_of_the_same_scan(tree: Path) -> None:
    found = scan_identities(tree, "infrared")
    bad = [path for path in trees.BAD if path.startswith("infrared")]
    expected = {"infrared/1/a.png", "infrared/2/linked.png", "infrared/2/other.jpg", *bad}
    assert found.images.keys() == {1, 2} and {p for paths in found.images.values() for p in paths} == expected
    reasons = {item.path: item.reason for item in found.stray}
    assert reasons["infrared/1/deep"] == "a folder in the folder of an identity"
    assert "infrared/1/notes" in reasons and not found.errors


def test_the_page_starts_in_spite_of_bad_files(tree: Path, tmp_path: Path, model: MTRL) -> None:
    page = service(model, tree)
    query = page.image(as_text("visible/1/caf\udce9.png"))
    result = page.retrieve(page.open(query))
    assert result.known is query and any("p.heic" in hint for hint in result.hints)
    answer = cards.answer(page.retrieve(page.open(page.images[-1]), k=50), page.pairs)
    assert r"visible/1/caf\xe9.png" in answer and answer.encode()
    assert all(thumbnails.address(image) for image in page.images)
    # On a page for others, links out of the folder are passed over, and no file is named.
    public = service(model, tree, public=True)
    linked = {"visible/1/linked.png", "infrared/2/linked.png", "infrared/2/other.jpg"}
    assert set(public.names()) == set(GOOD) - linked
    reasons = {item.path: item.reason for item in public.scan.passed_over}
    assert reasons["infrared/2"] == reasons["visible/1/linked.png"] == "a link that leads out of the folder"
    assert not any("heic" in hint for hint in public.retrieve(page.open(query)).hints)
    (tmp_path / "all bad").mkdir()
    (tmp_path / "all bad" / "visible").symlink_to(tmp_path / "private")
    trees.draw(tmp_path, "private/anna/1.png")
    trees.draw(tmp_path, "all bad/infrared/anna/1.png")
    assert len(read_gallery(tmp_path / "all bad")) == 2
    with pytest.raises(ValueError, match=r"no visible pictures.*leads out"):
        scan_gallery(tmp_path / "all bad", public=True)
    for path in (tmp_path / "private/anna/1.png", tmp_path / "all bad/infrared/anna/1.png"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"no picture .* can be read; 2 passed over .*infrared/anna/1\.png"):
        service(model, tmp_path / "all bad")


def test_a_manifest_that_lists_lost_files(tmp_path: Path, model: MTRL) -> None:
    entries = []
    for name in ("visible/1.png", "infrared/1.png", "visible/lost.png"):
        trees.draw(tmp_path, name)
        entries.append({"file": name, "identity": 1, "modality": name.split("/")[0], "truth": "gone.png"})
    (tmp_path / "visible/lost.png").unlink()
    (tmp_path / "manifest.json").write_text(json.dumps(entries))
    page = service(model, tmp_path)
    assert page.names() == ["visible/1.png", "infrared/1.png"] and page.images[0].truth is None
    assert "visible/lost.png" in page.passed_over()[0] and "gone.png" in page.passed_over()[0]


def test_names_that_are_no_text(
    tree: Path, tmp_path: Path, model: MTRL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTRL_CACHE", str(tmp_path / "cache"))
    raw, text = "visible/1/caf\udce9.png", r"visible/1/caf\xe9.png"
    assert as_text(raw) == text and as_text("é\ud800") == r"é\ud800"
    assert file_named(tree, text) == tree / raw and file_named(tree, "é.png") == tree / "é.png"
    assert some_of(["a\x1b\udcff\n"]) == r"a\x1b\xff\n"
    gallery = Gallery.build(model, [tree / raw], names=[text], identities=[as_text("\udcff")])
    check_texts(gallery)
    assert Gallery.build(model, [tree / raw]).names == (str(tree / text),)
    gallery.save(tmp_path / "index")
    remember_source(tmp_path / "index", tree)
    assert [image.path for image in read_gallery(tmp_path / "index")] == [tree / raw]
    (tree / raw).write_bytes(b"<html>")
    with pytest.raises(ValueError, match=r"caf\\xe9\.png is not an image") as raised:
        read_image(tree / raw)
    assert str(raised.value).encode()
    report_ = verify("folder", tree.parent, full=True).text()
    assert r"visible/1/caf\xe9.png (is not an image" in report_ and report_.encode()


def test_the_list_of_endings_is_what_the_reader_decodes(tmp_path: Path) -> None:
    Image.init()
    for suffix in image_suffixes():
        kind = Image.EXTENSION.get(suffix, "JPEG")
        Image.new("RGB", (8, 16)).save(tmp_path / f"x{suffix}", kind)
        assert read_image(tmp_path / f"x{suffix}").size == (8, 16)
    assert {kind for suffix, kind in Image.EXTENSION.items() if suffix in image_suffixes()} <= set(FORMATS)
    assert {".jp2", ".eps", ".svg", ".heic"} <= OTHER_IMAGES - image_suffixes()


def test_a_folder_that_cannot_be_opened(tmp_path: Path, model: MTRL, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("visible/a/1.png", "visible/closed/1.png", "infrared/a/1.png"):
        trees.draw(tmp_path / "own" / "gallery", name)
    tree, scandir = tmp_path / "own" / "gallery", os.scandir

    def refuse(path: Path) -> Iterator[os.DirEntry[str]]:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("mtrl.files.scan.os.scandir", refuse)
    said = "closed cannot be read: Permission denied"
    for read in (lambda: read_photos(tree), lambda: load_data("folder", tree.parent, parts=("test",))):
        with pytest.raises(OSError, match=said):
            read()
    photos, remark = read_photos(tree, skip_unreadable=True)
    assert len(photos.names) == 2 and said in remark
    with pytest.raises(ValueError, match=said):
        command("translate", tree, tmp_path / "out")
    assert len(list((tmp_path / "out").rglob("*.png"))) == 2
    page = service(model, tree)
    assert len(page.names()) == 2 and said in page.passed_over()[0]


def test_links_that_multiply_end(tmp_path: Path) -> None:
    for level in range(12):
        (tmp_path / f"{level}").mkdir()
        for way in "abc":
            (tmp_path / f"{level}" / way).symlink_to(f"../{level + 1}", target_is_directory=True)
    trees.draw(tmp_path, "12/1.png")
    found = scan(tmp_path)
    assert 1 <= len(found.images) <= 100
    assert any("read 100 times" in item.reason for item in found.passed_over)


def test_out_never_overwrites_in(tmp_path: Path) -> None:
    trees.draw(tmp_path, "in/sub/1.png")
    trees.draw(tmp_path, "in/1.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").symlink_to(tmp_path / "in" / "sub")
    trees.draw(tmp_path, "in/in/1.png")
    for source, target in (("in", "out"), ("in", ".")):
        before = (tmp_path / "in" / "1.png").read_bytes()
        with pytest.raises(ValueError, match="the original would be lost"):
            command("translate", tmp_path / source, tmp_path / target, "--overwrite")
        assert (tmp_path / "in" / "1.png").read_bytes() == before


def test_long_lists_say_how_many_and_how_to_see_all(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{number}.txt" for number in range(12)]
    assert some_of(names) == ", ".join(names[:10]) + ", ... (12 in all; MTRL_ALL_NAMES=1 shows them)"
    monkeypatch.setenv(ALL_NAMES, "1")
    assert some_of(names) == ", ".join(names)
    lines = report([PassedOver("a", "hidden"), PassedOver("b.heic", "x", True), PassedOver("c", "hidden")])
    assert lines == ["1 passed over (x): b.heic", "2 passed over (hidden): a, c"]
