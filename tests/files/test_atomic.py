"""Atomic writes: permissions, and nothing left beside the file."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from mtrl.files.atomic import write_atomically


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
@pytest.mark.parametrize(("mask", "expected"), [(0o022, 0o644), (0o077, 0o600), (0o027, 0o640)])
def test_a_new_file_has_the_permissions_of_the_users_files(tmp_path: Path, mask: int, expected: int) -> None:
    old = os.umask(mask)
    try:
        write_atomically(tmp_path / "x", b"1")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == expected


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_a_file_keeps_its_permissions(tmp_path: Path, mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gallery that its owner closed to others stays closed."""
    (tmp_path / "x").write_bytes(b"old")
    (tmp_path / "x").chmod(mode)
    seen: list[int] = []
    flush = os.fsync

    def looked_at(file: int) -> None:
        seen.append(stat.S_IMODE(os.fstat(file).st_mode))
        flush(file)

    monkeypatch.setattr(os, "fsync", looked_at)
    write_atomically(tmp_path / "x", b"new")
    assert not seen[0] & ~mode, "the content was open to others while it was written"
    assert (tmp_path / "x").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == mode
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
