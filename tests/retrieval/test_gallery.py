"""Search equals a loop over all pairs, and a gallery comes back from disk as it was, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn.functional import normalize

from mtrl import MTRL, Gallery, Match
from mtrl.models.config import Modality, ModelConfig
from mtrl.retrieval import nearest as module

torch.manual_seed(0)
MODEL = MTRL(ModelConfig("test_resnet", (64, 32))).eval()


def made(count: int = 12, dim: int = 8, seed: int = 0) -> Gallery:
    features = normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)))
    return Gallery(
        features,
        tuple(f"{row}.png" for row in range(count)),
        Modality.INFRARED,
        tuple(row % 5 if row % 2 else f"p{row % 5}" for row in range(count)),
        tuple(3 + 3 * (row % 2) for row in range(count)),
        "fingerprint",
    )


def same(a: Gallery, b: Gallery) -> bool:
    fields = ("names", "modality", "identities", "cameras", "model")
    return torch.equal(a.features, b.features) and all(getattr(a, f) == getattr(b, f) for f in fields)


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 30),
    queries=st.integers(0, 9),
    k=st.integers(1, 40),
    levels=st.integers(1, 3),
    block=st.sampled_from([1, 7, 1 << 24]),
    seed=st.integers(0, 1000),
)
def test_search_equals_a_loop(count: int, queries: int, k: int, levels: int, block: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Few different directions along the axes: many exactly equal scores.
    axes = np.eye(4, dtype=np.float32)[rng.integers(0, levels, count)]
    gallery = Gallery(torch.from_numpy(axes), tuple(map(str, range(count))))
    points = rng.integers(1, 3, (queries, 4)).astype(np.float32)
    whole = module._BLOCK_ELEMENTS, module._VALUE_ELEMENTS
    module._BLOCK_ELEMENTS, module._VALUE_ELEMENTS = block, min(block, 8)  # the products of a block in parts
    try:
        scores, rows = gallery.search(torch.from_numpy(points), k)
    finally:
        module._BLOCK_ELEMENTS, module._VALUE_ELEMENTS = whole
    assert scores.shape == rows.shape == (queries, min(k, count))
    assert scores.dtype == torch.float32 and rows.dtype == torch.int64
    for query in range(queries):
        cosine = [float(points[query] @ row) / float(np.linalg.norm(points[query])) for row in axes]
        order = sorted(range(count), key=lambda row: (-round(cosine[row], 5), row))[:k]
        assert rows[query].tolist() == order
        assert np.allclose(scores[query], [cosine[row] for row in order], atol=1e-6)


def test_search_on_random_features() -> None:
    gallery = made(300, 16)
    queries = torch.randn(40, 16)
    scores, rows = gallery.search(queries, k=7)
    wanted = normalize(queries) @ gallery.features.T
    assert torch.allclose(scores, wanted.sort(1, descending=True).values[:, :7], atol=1e-6)
    assert torch.allclose(wanted.gather(1, rows), scores, atol=1e-6)
    assert (scores[:, :-1] >= scores[:, 1:]).all()
    one, _ = gallery.search(queries[0], k=7)
    assert torch.allclose(one, scores[:1], atol=1e-6)
    assert torch.equal(gallery.search(queries * 100, 7)[1], rows)
    everything = gallery.search(queries, k=10_000)[1]
    assert torch.equal(everything.sort(1).values, torch.arange(300).expand(40, -1))


def test_matches_carry_labels() -> None:
    gallery = made()
    matches = gallery.matches(gallery.features[7], k=3)
    assert matches[0] == Match(1, matches[0].score, 7, "7.png", 2, 6)
    assert matches[0].score == pytest.approx(1, abs=1e-6)
    assert [match.rank for match in matches] == [1, 2, 3]
    plain = Gallery(gallery.features, gallery.names).matches(gallery.features[:1], 1)[0]
    assert plain.identity is None and plain.camera is None
    with pytest.raises(ValueError, match="one query"):
        gallery.matches(gallery.features[:2])


def test_search_refuses_nonsense() -> None:
    gallery = made()
    empty = Gallery(torch.zeros(0, 8), ())
    bad = torch.randn(2, 8)
    bad[1, 3] = float("nan")
    for target, queries, k, message in [
        (gallery, torch.randn(2, 9), 3, "9 dimensions, the gallery has 8"),
        (gallery, bad, 3, "NaN"),
        (gallery, torch.randn(2, 8), 0, "positive"),
        (gallery, torch.randn(2, 8), 2.5, "positive"),
        (gallery, torch.randn(2, 8, 1), 3, r"\[N,D\]"),
        (gallery, torch.ones(2, 8, dtype=torch.int64), 3, "floating"),
        (empty, torch.randn(2, 8), 3, "empty"),
    ]:
        with pytest.raises(ValueError, match=message):
            target.search(queries, k)
    assert gallery.search(torch.zeros(0, 8))[0].shape == (0, 10)
    assert torch.isfinite(gallery.search(torch.zeros(1, 8))[0]).all()


def test_a_gallery_checks_its_parts() -> None:
    good = made()
    for changes, message in [
        ({"features": good.features * 2}, "unit length"),
        ({"features": good.features / 0}, "NaN or infinity"),
        ({"features": good.features[:5]}, "5 gallery images, but 12 names"),
        ({"identities": (1,)}, "but 1 identities"),
        ({"identities": (1.5,) * 12}, "must be an integer"),
        ({"cameras": ("a",) * 12}, "must be an integer"),
        ({"cameras": (True,) * 12}, "must be an integer"),
        ({"modality": "thermal"}, "visible"),
    ]:
        values = {"features": good.features, "names": good.names, **changes}
        with pytest.raises(ValueError, match=message):
            Gallery(**values)
    numpy = Gallery(good.features, good.names, 1, np.arange(12), torch.arange(12))  # type: ignore[arg-type]
    assert (
        numpy.identities == tuple(range(12))
        and type(numpy.identities[0]) is int
        and type(numpy.cameras[0]) is int
    )


def test_build_and_add(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{row}.png" for row in range(5)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (50, 30, 3), dtype=np.uint8)).save(path)
    gallery = Gallery.build(MODEL, paths, identities=list("abcde"), cameras=range(5), batch_size=2)
    assert (
        gallery.names == tuple(map(str, paths))
        and gallery.modality is Modality.INFRARED
        and len(gallery) == 5
    )
    assert torch.allclose(gallery.features, MODEL.encode(paths, "infrared"), atol=1e-5)
    assert gallery.search(MODEL.encode(paths[3:4], "infrared"), 1)[1].item() == 3
    first = Gallery.build(MODEL, paths[:2], identities=["a", "b"], cameras=[0, 1])
    grown = first.add(MODEL, paths[2:], identities=["c", "d", "e"], cameras=[2, 3, 4])
    assert len(first) == 2 and grown.names == gallery.names and grown.identities == gallery.identities
    assert torch.allclose(grown.features, gallery.features, atol=1e-5)
    assert Gallery.build(MODEL, torch.zeros(2, 3, 64, 32)).names == ("0", "1")
    assert len(Gallery.build(MODEL, []).add(MODEL, paths[:1])) == 1
    with pytest.raises(ValueError, match="5 gallery images, but 2 identities"):
        Gallery.build(MODEL, paths, identities=[1, 2])
    with pytest.raises(ValueError, match="either all images of a gallery have identities"):
        first.add(MODEL, paths[2:], cameras=[1, 2, 3])
    other = MTRL(MODEL.config)
    with pytest.raises(ValueError, match="another model"):
        first.add(other, paths[2:], identities=["c", "d", "e"], cameras=[2, 3, 4])


def test_save_and_load(tmp_path: Path) -> None:
    for gallery in (
        made(),
        Gallery(made().features, made().names, "visible"),
        Gallery(torch.zeros(0, 8), ()),
    ):
        gallery.save(tmp_path / "a" / "g")
        assert same(Gallery.load(str(tmp_path / "a" / "g")), gallery)
        assert len(list((tmp_path / "a" / "g").iterdir())) == 2  # the features of the one before are gone


def test_a_save_that_is_cut_off_keeps_the_old_gallery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made().save(tmp_path)
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if target.name == "gallery.json":
            raise OSError("killed")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(OSError, match="killed"):
        made(seed=1).save(tmp_path)
    assert same(Gallery.load(tmp_path), made())
    monkeypatch.setattr(Path, "replace", real)
    made(seed=1).save(tmp_path)
    assert same(Gallery.load(tmp_path), made(seed=1))
    assert len(list(tmp_path.iterdir())) == 2


def test_damaged_galleries_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="mtrl index"):
        Gallery.load(tmp_path / "none")
    made().save(tmp_path)
    table = json.loads((tmp_path / "gallery.json").read_text())
    features = next(tmp_path.glob("*.safetensors"))
    content = features.read_bytes()
    for damaged in (
        content[:-1],
        content + b"x",
        b"",
        content[:-3] + bytes([content[-3] ^ 1]) + content[-2:],
    ):
        features.write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged"):
            Gallery.load(tmp_path)
    features.unlink()
    with pytest.raises(FileNotFoundError, match="build the gallery again"):
        Gallery.load(tmp_path)
    features.write_bytes(content)
    for changes in [
        {"format": "x"},
        {"sha256": "../../../secret/x" + "0" * 47},
        {"sha256": 5},
        {"names": None},
        {"names": ["a"]},
        {"identities": {"a": 1}},
        {"identities": [None] * 12},
        {"cameras": ["x"] * 12},
        {"modality": "thermal"},
    ]:
        (tmp_path / "gallery.json").write_text(json.dumps({**table, **changes}))
        with pytest.raises(ValueError, match=r"gallery\.json|damaged"):
            Gallery.load(tmp_path)
    for text in ("", "[]", "[" * 100_000, "\udcff"):
        (tmp_path / "gallery.json").write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(ValueError, match=r"gallery\.json"):
            Gallery.load(tmp_path)
