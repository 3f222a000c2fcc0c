"""`eval tracks`: four ways of two indexes, by hand; what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from eval.queries.tracks import main, score
from mtrl import Gallery
from mtrl.retrieval.tracks import with_tracks


def index(places: list[tuple[str, float]], **changes: object) -> Gallery:
    """Images of people at angles on a circle, and their tracks."""
    angles = torch.tensor([angle for _, angle in places])
    values: dict[str, object] = {
        "features": normalize(torch.stack([angles.cos(), angles.sin()], 1)),
        "names": tuple(f"{row}.jpg" for row in range(len(places))),
        "identities": tuple(person for person, _ in places),
        "tracks": tuple(f"t/{person}" for person, _ in places),
        "model": "m",
    }
    return with_tracks(Gallery(**(values | changes)))  # type: ignore[arg-type]


def test_figures_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gallery = index([("a", 0.0), ("a", 1.0), ("b", 0.4), ("b", 1.4)])  # tracks at 0.5 and 0.9
    queries = index([("a", 0.1), ("a", 0.35), ("b", 1.3)])
    found = {(one.queries, one.gallery): one for one in score(queries, gallery)}
    # a at 0.1: a b a b -> (1 + 2/3) / 2; a at 0.35: b a a b -> (1/2 + 2/3) / 2; b at 1.3: b a b a -> (1 + 2/3) / 2
    images = found["images", "images"]
    assert images.count == (3, 4)
    assert images.map == pytest.approx(((5 / 6 + 7 / 12) / 2 + 5 / 6) / 2) and images.rank1 == pytest.approx(
        0.75
    )
    assert found["images", "tracks"].map == 1 and found["tracks", "tracks"].rank1 == 1
    assert found["tracks", "images"].count == (2, 4) and 0 < images.chance_map < 1
    queries.save(tmp_path / "q")
    gallery.save(tmp_path / "g")
    assert main([str(tmp_path / "q"), str(tmp_path / "g"), "--json", str(tmp_path / "x.json")]) == 0
    assert "images   images" in capsys.readouterr().out
    assert json.loads((tmp_path / "x.json").read_text())[0]["map"] == images.map


def test_what_cannot_be_scored_is_refused() -> None:
    good = index([("a", 0.0), ("b", 1.0)])
    with pytest.raises(ValueError, match="no identities or tracks"):
        score(good, good.replaced(identities=None))
    with pytest.raises(ValueError, match="different models"):
        score(good, good.replaced(model="n"))
