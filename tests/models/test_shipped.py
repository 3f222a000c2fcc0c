"""The checkpoint and the gallery that stand in the package, and the figures that the README prints of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mtrl import load_pretrained
from mtrl.models.config import Modality
from mtrl.models.load import SHIPPED
from tests.helpers.paths import ASSETS, ROOT

GALLERY = ASSETS / "gallery"


@pytest.mark.parametrize("name", SHIPPED)
def test_the_checkpoint_gives_the_stored_embeddings(name: str) -> None:
    model = load_pretrained(name)
    reference = load_file(SHIPPED[name] / "reference.safetensors")
    for modality in Modality:
        name = modality.name.lower()
        features = model.encode(reference[name], modality=modality)
        stored = reference[f"{name}_embeddings"]
        assert stored.shape == features.shape and len(stored) > 0
        assert (features * stored).sum(dim=1).min() > 0.9999
    assert not torch.allclose(
        reference["visible_embeddings"][0], reference["visible_embeddings"][1], atol=0.1
    )


@pytest.mark.parametrize("folder", SHIPPED.values(), ids=SHIPPED)
def test_the_checkpoint_is_small_and_its_card_complete(folder: Path) -> None:
    assert sum(path.stat().st_size for path in folder.iterdir()) < 10_000_000
    card = (folder / "README.md").read_text(encoding="utf-8")
    for part in (
        "model-index",
        "python -m train",
        "Seed",
        "Intended use",
        "Limits",
        "ir2vis",
        "vis2ir",
        "commit",
    ):
        assert part in card


def test_the_gallery_is_whole() -> None:
    entries = json.loads((GALLERY / "manifest.json").read_text(encoding="utf-8"))
    files = {path.relative_to(GALLERY).as_posix() for path in GALLERY.rglob("*.jpg")}
    named = {entry["file"] for entry in entries} | {entry["truth"] for entry in entries if entry["truth"]}
    assert files == named
    assert {entry["camera"] for entry in entries} == {1, 2, 3, 4, 5, 6}
    assert all((entry["modality"] == "infrared") == (entry["camera"] in (3, 6)) for entry in entries)
    assert sum(path.stat().st_size for path in GALLERY.rglob("*")) < 5_000_000


@pytest.mark.readme
@pytest.mark.parametrize("direction", ["ir2vis", "vis2ir"])
def test_the_readme_prints_what_eval_measures(direction: str, tmp_path: Path) -> None:
    from eval.__main__ import main

    row = re.search(
        rf"^\| `{direction}` \|(.+)\|$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert row, "README.md has no results row for this direction"
    printed = [float(cell.split("±")[0]) for cell in row.group(1).split("|")]
    report = tmp_path / "report.json"
    assert (
        main(["--dataset", "synthetic", "--size", "small", "--direction", direction, "--json", str(report)])
        == 0
    )
    mean = json.loads(report.read_text())["mean"]
    measured = [*(mean["cmc"][rank] for rank in ("1", "5", "10", "20")), mean["map"], mean["minp"]]
    assert printed == pytest.approx([100 * value for value in measured], abs=0.3)
