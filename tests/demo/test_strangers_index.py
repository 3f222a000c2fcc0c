"""An index that somebody else made: the page serves nothing outside it, and its names do no harm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mtrl import Gallery
from mtrl.commands import search
from mtrl.demo.service.gallery_folder import read_gallery
from mtrl.retrieval.image_folders import SOURCES, remember_source
from mtrl.retrieval.stores.factory import open_store
from tests.helpers.stores import rows


def test_the_page_serves_no_image_outside_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTRL_CACHE", str(tmp_path / "cache"))
    photos, private, index = tmp_path / "photos", tmp_path / "private", tmp_path / "index"
    for folder in (photos, private, index):
        folder.mkdir()
        (folder / "a.png").write_bytes(b"a picture")
    (index / "link.png").symlink_to(private / "a.png")
    names = [
        "a.png",
        "../private/a.png",
        str(private / "a.png"),
        "link.png",
        str(photos / "a.png"),
        "b/../a.png",
        "a\0",
    ]
    Gallery(rows(range(len(names))).features, tuple(names)).save(index)

    def served() -> list[Path]:
        return [image.path for image in read_gallery(index) if image.path.is_file()]

    assert served() == [index / "a.png", index / "b/../a.png"][: 1 + (index / "b").exists()]
    remember_source(index, photos)
    assert served() == [photos / "a.png", photos / "a.png"]
    note = json.loads((index / SOURCES).read_text())
    for forged in (
        {**note, "folders": [str(private)]},
        {"folders": ["/"], "seal": ""},
        {"folders": ["/"], "seal": "é"},
        {"folders": ["/"]},
        ["/"],
        [str(private)],
    ):
        (index / SOURCES).write_text(json.dumps(forged))
        assert served() == [index / "a.png"]
    # Adding to a stranger's index vouches for the added folder alone.
    remember_source(index, photos)
    assert json.loads((index / SOURCES).read_text())["folders"] == [str(photos)]
    # The same index with the key of somebody else: as a stranger's.
    monkeypatch.setenv("MTRL_CACHE", str(tmp_path / "other"))
    assert served() == [index / "a.png"]


def test_names_that_are_no_text(tmp_path: Path) -> None:
    names = ("\udcff.png", "\x1b]0;title\x07.png", "é漢.png")
    Gallery(rows(range(3)).features, names).save(tmp_path)
    found = [matches[0] for matches in open_store(str(tmp_path)).find(rows(range(3)).features, 1)]
    assert tuple(match.name for match in found) == names
    lines = "\n".join(map(search._row, found))
    assert "\x1b" not in lines and "é漢.png" in lines and lines.encode()
