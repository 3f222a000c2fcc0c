"""Folders that tests read: the repository, what the package ships, and the published files beside the repository."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ASSETS = ROOT / "mtrl" / "assets"
SHARED = ROOT.parent / "shared"  # optional: tests that read it skip where it is missing
OFFICIAL = SHARED / "sysu-official"  # the MATLAB files of SYSU-MM01's authors
