"""Galleries of both spectra and of tracks, in every store: pooling, filters, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from mtrl import MTRL, Gallery
from mtrl.models.config import Modality, ModelConfig
from mtrl.retrieval.filters import Filter
from mtrl.retrieval.stores.factory import create_store, open_store
from mtrl.retrieval.tracks import pool, with_tracks

SPECTRA = ("visible", "infrared") * 4
TRACKS = ("day/1", "night/1", "day/2", "night/2") * 2


def features(seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(8, 16, generator=torch.Generator().manual_seed(seed)))


def mixed(**changes: object) -> Gallery:
    values: dict[str, object] = {
        "features": features(),
        "names": tuple(f"{track}/{row}.jpg" for row, track in enumerate(TRACKS)),
        "modality": None,
        "modalities": SPECTRA,
        "tracks": TRACKS,
        "identities": tuple(track[-1] for track in TRACKS),
        "times": tuple(float(10 - row) for row in range(8)),
    }
    return Gallery(**(values | changes))  # type: ignore[arg-type]


def test_pool_equals_a_loop() -> None:
    rows, weights = features(), [0.1, 2.0, 0.5, 1.0, 0.3, 0.3, 0.9, 0.2]
    total = np.zeros(16)
    for row, weight in zip(rows.double().numpy(), weights, strict=True):
        total += weight * row
    assert np.allclose(pool(rows, weights)[0].numpy(), total / np.linalg.norm(total), atol=1e-6)
    assert torch.allclose(pool(rows), pool(rows, [3.0] * 8), atol=1e-6)
    assert torch.equal(pool(rows[:1]), normalize(rows[:1]))


def test_pool_refuses_what_is_no_track() -> None:
    rows = features()
    for some, weights in ((rows[:0], None), (rows, [1.0] * 7), (rows[0], None)):
        with pytest.raises(ValueError, match="at least one feature"):
            pool(some, weights)
    for bad in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="above 0"):
            pool(rows, [1.0] * 7 + [bad])
    with pytest.raises(ValueError, match="cancel out"):
        pool(torch.stack([rows[0], -rows[0]]))


def test_every_track_gets_an_entry_behind_the_images() -> None:
    weights = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    gallery = with_tracks(mixed(), weights)
    assert gallery.names[:8] == mixed().names and gallery.names[8:] == TRACKS[:4] == gallery.tracks[8:]  # type: ignore[index]
    for number in range(4):
        wanted = pool(features()[[number, number + 4]], [weights[number], weights[number + 4]])
        assert torch.allclose(gallery.features[8 + number], wanted[0], atol=1e-6)
    assert gallery.times is not None and gallery.times[8:] == (
        6.0,
        5.0,
        4.0,
        3.0,
    )  # of the first image in time
    assert gallery.identities is not None and gallery.identities[8:] == ("1", "1", "2", "2")
    assert [value.name.lower() for value in gallery.spectra[8:]] == ["visible", "infrared"] * 2
    with pytest.raises(ValueError, match="entries of tracks already"):
        with_tracks(gallery)
    with pytest.raises(ValueError, match="have no tracks"):
        with_tracks(mixed(tracks=None))
    with pytest.raises(ValueError, match="several identities"):
        with_tracks(mixed(identities=tuple("12345678")))
    with pytest.raises(ValueError, match="8 gallery images, but 2 weights"):
        with_tracks(mixed(), [1.0, 2.0])


@pytest.mark.parametrize("kind", ["exact", "faiss", "milvus"])
def test_stores_filter_by_spectrum_and_track(kind: str, tmp_path: Path) -> None:
    pytest.importorskip({"faiss": "faiss", "milvus": "milvus_lite"}.get(kind, "torch"))
    gallery = with_tracks(mixed())
    store = create_store(kind, str(tmp_path / "x"), gallery)
    store.close()
    store = open_store(str(tmp_path / "x"))
    query = features(1)[:2]
    for where in (
        Filter(modalities=("visible",)),
        Filter(only="tracks"),
        Filter(only="images", modalities=("infrared",)),
        Filter(only="tracks", identities=("2",), modalities=("infrared", "visible")),
    ):
        wanted = set(np.array(gallery.names)[where.rows(gallery)])
        found = store.find(query, 12, where)
        assert [{match.name for match in matches} for matches in found] == [wanted, wanted]
        for match in found[0]:
            row = gallery.names.index(match.name)
            assert match.modality == gallery.spectra[row].name.lower() and match.track == gallery.tracks[row]  # type: ignore[index]
    assert len(Filter(only="tracks").rows(gallery)) == 4 and len(Filter(modalities=(0,)).rows(gallery)) == 6
    store.upsert(gallery.select([0]).replaced(names=("day/9/1.jpg",), tracks=("day/9",)))
    assert len(store) == 13
    with pytest.raises(ValueError, match="tracks"):
        store.upsert(gallery.select([0]).replaced(names=("y",), tracks=None))
    store.close()


@pytest.mark.parametrize("kind", ["exact", "milvus"])
def test_a_gallery_of_one_spectrum_answers_the_same_filters(kind: str, tmp_path: Path) -> None:
    if kind == "milvus":
        pytest.importorskip("milvus_lite")
    store = create_store(kind, str(tmp_path / "x"), Gallery(features(), tuple("abcdefgh"), "infrared"))
    query = features()[:1]
    assert len(store.find(query, 9, Filter(modalities=("infrared",), only="images"))[0]) == 8
    for nothing in (Filter(modalities=("visible",)), Filter(only="tracks")):
        assert store.find(query, 9, nothing) == [[]]
    with pytest.raises(ValueError, match="is infrared, the new images are not"):
        store.upsert(mixed(tracks=None, identities=None, times=None))
    store.close()


def test_mixed_galleries_are_kept_and_joined(tmp_path: Path) -> None:
    gallery = mixed()
    gallery.save(tmp_path)
    again = Gallery.load(tmp_path)
    assert again.modality is None and again.spectra == gallery.spectra and again.tracks == TRACKS
    plain = Gallery(features(2), tuple("abcdefgh"), "infrared", tracks=tuple("abcdefgh"), identities=tuple("abcdefgh"),
                    times=tuple(range(8)))  # fmt: skip
    both = gallery.join(plain)
    assert both.modality is None and both.spectra[8:] == (Modality.INFRARED,) * 8
    with pytest.raises(ValueError, match="the gallery is infrared"):
        plain.join(gallery)
    with pytest.raises(ValueError, match="give the modality"):
        Gallery(features(), tuple("abcdefgh"), None)
    with pytest.raises(ValueError, match='only is "images" or "tracks"'):
        Filter(only="faces")


def test_build_encodes_each_image_in_its_spectrum() -> None:
    torch.manual_seed(0)
    model = MTRL(ModelConfig("test_resnet", (64, 32), stem="dual")).eval()
    with torch.no_grad():  # stems that differ, so that the wrong one would be noticed
        for parameter in model.backbone.stems[1].parameters():  # type: ignore[index]
            parameter.mul_(-1)
    images = torch.randint(0, 256, (4, 3, 64, 32), dtype=torch.uint8)
    tracks, qualities = ["a", "b", "a", "b"], [1.0, 1.0, 3.0, 1.0]
    gallery = Gallery.build(model, images, modalities=SPECTRA[:4], tracks=tracks, qualities=qualities)
    for row, spectrum in enumerate(SPECTRA[:4]):
        assert torch.allclose(
            gallery.features[row], model.encode(images[row : row + 1], spectrum)[0], atol=1e-5
        )
    assert gallery.names == ("0", "1", "2", "3", "a", "b")
    assert torch.allclose(gallery.features[4:5], pool(gallery.features[[0, 2]], [1.0, 3.0]), atol=1e-6)
    with pytest.raises(ValueError, match="both spectra"):
        gallery.add(model, images)


@pytest.mark.parametrize("kind", ["exact", "faiss", "milvus"])
def test_a_tracks_entry_is_always_the_mean_of_all_its_images(kind: str, tmp_path: Path) -> None:
    pytest.importorskip({"faiss": "faiss", "milvus": "milvus_lite"}.get(kind, "torch"))
    gallery = with_tracks(mixed())
    store = create_store(kind, str(tmp_path / "x"), gallery)
    more = mixed(features=features(5))
    new = more.select([0]).replaced(names=("new.jpg",))  # of day/1, which has an entry and other images
    moved = more.select([0]).replaced(tracks=("day/9",))
    for wrong in (new, with_tracks(new), more.select([0]), moved):
        with pytest.raises(ValueError, match=r"'day/1' would not be the mean of all its images"):
            store.upsert(wrong)
    assert len(store) == 12
    store.upsert(with_tracks(more.select([0, 4])))  # the whole track again
    store.upsert(new.replaced(tracks=("day/9",)))  # a track without an entry
    assert len(store) == 13
    found = store.find(pool(more.features[[0, 4]]), 1)[0][0]
    assert found.name == "day/1" and found.score > 0.999

    assert store.delete(Filter(names=("night/1/5.jpg",), only="images")) == 2  # with the entry of night/1
    assert store.delete(Filter(names=("day/2/2.jpg", "new.jpg"))) == 3  # with the entry of day/2
    left = {match.name for match in store.find(features()[:1], 20)[0]}
    wanted = set(gallery.names) - {"night/1/5.jpg", "night/1", "day/2/2.jpg", "day/2"}
    assert left == wanted and len(store) == len(wanted)
    store.close()


@pytest.mark.parametrize("kind", ["exact", "milvus"])
def test_tracks_are_compared_in_the_composed_form_and_given_back_as_written(
    kind: str, tmp_path: Path
) -> None:
    if kind == "milvus":
        pytest.importorskip("milvus_lite")
    composed, apart = "caf\u00e9", "cafe\u0301"
    images = mixed(tracks=(apart,) * 8, identities=None, modalities=("infrared",) * 8)
    store = create_store(kind, str(tmp_path / "x"), with_tracks(images))
    new = images.select([0]).replaced(names=("new.jpg",), tracks=(composed,))
    with pytest.raises(ValueError, match="would not be the mean of all its images"):
        store.upsert(new)
    assert {match.track for match in store.find(features(1)[:1], 20)[0]} == {apart}
    assert store.delete(Filter(names=("day/1/0.jpg",))) == 2
    store.close()


def test_milvus_finds_tracks_that_older_versions_wrote_decomposed() -> None:
    from mtrl.retrieval.stores.milvus_filter import any_of

    assert any_of("track", ["caf\u00e9"]) == 'track in ["caf\u00e9", "cafe\u0301"]'
    assert any_of("track", ["1"]) == 'track in ["1"]'


def test_no_entry_of_a_track_outlives_a_deletion_that_was_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("milvus_lite")
    store = create_store("milvus", str(tmp_path / "x"), with_tracks(mixed()))
    client = store._client  # type: ignore[attr-defined]
    delete, calls = client.delete, []

    def once(*given: object, **named: object) -> None:
        calls.append(named)
        if len(calls) > 1:
            raise OSError("the connection is lost")
        delete(*given, **named)

    monkeypatch.setattr(client, "delete", once)
    with pytest.raises(OSError, match="connection is lost"):
        store.delete(Filter(names=("day/1/0.jpg",)))
    assert "day/1" not in {match.name for match in store.find(features()[:1], 20)[0]}
    monkeypatch.undo()
    assert store.delete(Filter(names=("day/1/0.jpg",))) == 1
    store.close()
