"""The three stores give the same answers, keep what was put, and refuse what does not fit.

"server" is Milvus behind an address: Milvus Lite as a server of its own, or the one at MTRL_TEST_MILVUS.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, load_file
from torch.nn.functional import normalize

from mtrl import Gallery
from mtrl.files.tensor_file import tensor_digest
from mtrl.retrieval.filters import Filter, format_time, parse_time
from mtrl.retrieval.stores import milvus
from mtrl.retrieval.stores.factory import create_store, open_store
from tests.helpers.paths import ROOT

NEEDS = {"exact": "torch", "faiss": "faiss", "milvus": "milvus_lite", "server": "milvus_lite"}
NAMES = {"exact": "ExactStore", "faiss": "ApproximateStore", "milvus": "MilvusStore", "server": "MilvusStore"}
START = parse_time("2026-11-20T18:00+01:00")


def entries(rows: range, model: str = "m", dim: int = 16, modality: str = "infrared") -> Gallery:
    features = normalize(torch.randn(100, dim, generator=torch.Generator().manual_seed(3)))[list(rows)]
    return Gallery(
        features,
        tuple(f"p/{row}.png" for row in rows),
        modality,  # type: ignore[arg-type]
        tuple(f"id{row % 7}" for row in rows),
        tuple(row % 3 for row in rows),
        model,
        tuple(START + 60 * row for row in rows),
    )


def answers(store: object, queries: torch.Tensor, where: Filter | None = None) -> list[list[tuple]]:
    found = store.find(queries, 5, where)  # type: ignore[attr-defined]
    return [[(m.rank, m.name, m.identity, m.camera, m.time, round(m.score, 4)) for m in q] for q in found]


def expected(gallery: Gallery, queries: torch.Tensor, keep: object) -> list[list[tuple]]:
    """By the definition, entry by entry."""
    result = []
    labels = list(zip(gallery.names, gallery.identities, gallery.cameras, gallery.times, strict=True))  # type: ignore[arg-type]
    for query in normalize(queries):
        scores = [float(row @ query) for row in gallery.features]
        rows = [row for row in range(len(gallery)) if keep(row)]  # type: ignore[operator]
        rows.sort(key=lambda row: -scores[row])
        result.append([(rank, *labels[r], round(scores[r], 4)) for rank, r in enumerate(rows[:5], 1)])
    return result


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Milvus server."""
    if address := os.environ.get("MTRL_TEST_MILVUS"):
        yield address
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("server")
    command = [sys.executable, "-m", "milvus_lite", "server", "--data-dir", str(folder), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    with socket.socket() as probe:
        while probe.connect_ex(("127.0.0.1", port)) and process.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(timeout=30)


@pytest.mark.parametrize("kind", list(NEEDS))
def test_a_store_lives(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    pytest.importorskip(NEEDS[kind])
    target, collection = str(tmp_path / "store"), f"test_{uuid.uuid4().hex}"
    if kind == "server":
        kind, target = "milvus", request.getfixturevalue("server")
    queries = torch.randn(4, 16, generator=torch.Generator().manual_seed(9))
    everything = entries(range(100))
    store = create_store(kind, target, entries(range(60)), collection)
    store.upsert(entries(range(50, 100)))  # ten of them again
    assert len(store) == 100
    store.close()

    store = open_store(target, collection)
    assert type(store).__name__ == NAMES[kind]
    assert answers(store, queries) == expected(everything, queries, lambda row: True)
    where = Filter(identities=("id1", "id2"), cameras=(0, 2), after=START + 600, before=START + 60 * 80)
    wanted = expected(
        everything, queries, lambda row: row % 7 in (1, 2) and row % 3 in (0, 2) and 10 <= row < 80
    )
    assert answers(store, queries, where) == wanted and len(wanted[0]) == 5
    assert answers(store, queries, Filter(identities=('" or 1 == 1 or "', "\\", "it's"))) == [[]] * 4
    assert answers(store, queries, Filter(names=("p/7.png",)))[2][0][1] == "p/7.png"

    for bad, message in [
        (entries(range(5), model="other"), "another model"),
        (entries(range(5), dim=8), "8 dimensions"),
        (entries(range(5), modality="visible"), "infrared"),
        (entries(range(5)).select([1, 1]), "two entries are named"),
    ]:
        with pytest.raises(ValueError, match=message):
            store.upsert(bad)
    with pytest.raises(ValueError, match="NaN"):
        store.find(queries / 0, 5)
    with pytest.raises(ValueError, match="which entries"):
        store.delete(Filter())
    assert len(store) == 100
    assert store.delete(Filter(identities=("id3",))) == 14 and store.delete(Filter(names=("p/0.png",))) == 1
    assert store.delete(Filter(names=("nobody",))) == 0 and len(store) == 85
    store.close()
    store = open_store(target, collection)
    assert answers(store, queries) == expected(everything, queries, lambda row: row % 7 != 3 and row)
    assert answers(store, queries, Filter(names=("nobody",))) == [[]] * 4
    assert store.delete(Filter(after=START)) == 85 and len(store) == 0
    with pytest.raises(ValueError, match="the gallery is empty"):
        store.find(queries, 5)
    store.close()


def test_awkward_names_come_back_from_milvus(tmp_path: Path) -> None:
    pytest.importorskip("milvus_lite")
    names = [
        'a"b',
        "c\\d",
        "it's",
        "{cams}",
        "é漢😀",
        "%_",
        '\\"',
        "'",
        "a\u202fb",
        "a\u00a0b",
        "a\nb\r",
        "\x1b",
        "a b",
    ]
    features = normalize(torch.randn(len(names), 4))
    store = create_store("milvus", str(tmp_path), Gallery(features, tuple(names), identities=tuple(names)))
    for name, feature in zip(names, features, strict=True):
        found = store.find(feature, 5, Filter(names=(name,), identities=(name,)))[0]
        assert [match.name for match in found] == [name]
    for name in names:
        assert store.delete(Filter(identities=(name,))) == 1
    with pytest.raises(ValueError, match="Unicode text only"):
        store.upsert(Gallery(features[:1], ("a\udcffb",)))
    with pytest.raises(ValueError, match="at most 1024 bytes"):
        store.upsert(Gallery(features[:1], ("a" * 1025,)))
    with pytest.raises(ValueError, match="already"):
        store.close()
        create_store("milvus", str(tmp_path), Gallery(features, tuple(names)))
    with pytest.raises(FileNotFoundError, match="there are: mtrl"):
        open_store(str(tmp_path), "other")


KILLED = """
import os, signal, sys, torch
sys.path.insert(0, {root!r})
from torch.nn.functional import normalize
from mtrl import Gallery
from mtrl.retrieval.stores.factory import create_store
features = normalize(torch.ones(3000, 4))
names = tuple(map(str, range(3000)))
store = create_store("milvus", sys.argv[1], Gallery(features[:10], names[:10]))
real, calls = store._client.upsert, []
def upsert(*given):
    calls.append(1)
    real(*given)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
store._client.upsert = upsert
store.upsert(Gallery(features, names))
"""


@pytest.mark.slow
def test_a_killed_writer_leaves_whole_batches(tmp_path: Path) -> None:
    pytest.importorskip("milvus_lite")
    done = subprocess.run(
        [sys.executable, "-c", KILLED.format(root=str(ROOT)), str(tmp_path)], capture_output=True
    )
    assert done.returncode == -9, done.stderr.decode()
    store = open_store(str(tmp_path))
    assert len(store) == 2000
    store.upsert(Gallery(normalize(torch.ones(1, 4)), ("new",)))
    assert len(store) == 2001
    store.close()


def test_the_cells_give_nearly_all(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    random = torch.Generator().manual_seed(0)
    centres = normalize(torch.randn(150, 64, generator=random))
    noise = torch.randn(3000, 64, generator=random) / 8
    gallery = Gallery(normalize(centres.repeat(20, 1) + 0.7 * noise), tuple(map(str, range(3000))))
    queries = normalize(centres + 0.7 * torch.randn(150, 64, generator=random) / 8)
    store = create_store("faiss", str(tmp_path), gallery)
    exact, found = gallery.search(queries, 10)[1], store.search(queries, 10)[1]  # type: ignore[attr-defined]
    recall = np.mean([len(set(a.tolist()) & set(b.tolist())) for a, b in zip(exact, found, strict=True)]) / 10
    assert recall >= 0.98
    cells = (tmp_path / "faiss.safetensors").read_bytes()
    for damaged in (b"damaged", cells[:-5], cells[:-5] + b"\xff" * 5):
        (tmp_path / "faiss.safetensors").write_bytes(damaged)
        again = open_store(str(tmp_path))
        assert torch.equal(again.search(queries, 10)[1], found)  # type: ignore[attr-defined]
        assert tensor_digest(load_file(tmp_path / "faiss.safetensors")) == tensor_digest(load(cells))
    gallery.select(range(100)).save(tmp_path)  # the cells are now of another state
    assert len(open_store(str(tmp_path)).find(queries[:1], 200)[0]) == 100
    assert len(load_file(tmp_path / "faiss.safetensors")["places"]) == 100


def test_times() -> None:
    assert (
        parse_time("2026-11-20T18:00+01:00")
        == parse_time("2026-11-20T17:00")
        == parse_time("2026-11-20T17:00Z")
    )
    assert format_time(START) == "2026-11-20T17:00:00Z"
    with pytest.raises(ValueError, match="ISO 8601"):
        parse_time("yesterday")
    for bad in (
        {"after": float("nan")},
        {"after": "2026"},
        {"cameras": ("1 or 1==1",)},
        {"cameras": (True,)},
    ):
        with pytest.raises(ValueError, match=r"number|integer"):
            Filter(**bad)  # type: ignore[arg-type]


def test_an_old_server_is_told_from_a_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("milvus_lite")
    bare = Gallery(normalize(torch.randn(2, 4)), ("a", "b"))
    monkeypatch.setattr(milvus, "labels_may_be_missing", lambda about: False)
    with pytest.raises(ValueError, match=r"older than Milvus 2\.5 .* use a newer server"):
        create_store("milvus", str(tmp_path), bare)
    full = Gallery(bare.features, bare.names, "infrared", ("1", "1"), (3, 6), "", (0.0, 1.0))
    create_store("milvus", str(tmp_path), full).close()  # nothing of the refused one is in its way
    monkeypatch.undo()
    store = open_store(str(tmp_path))
    assert len(store) == 2
    store.upsert(bare)
    assert [match.identity for match in store.find(bare.features[0], 2)[0]] == [None, None]
    store.close()


@pytest.mark.parametrize("kind", ["milvus", "server"])
@pytest.mark.parametrize("error", [OSError("gone"), KeyboardInterrupt(), ValueError("no")], ids=repr)
def test_a_failed_first_put_leaves_nothing_that_blocks_the_next_try(
    kind: str,
    error: BaseException,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("milvus_lite")
    target, collection = str(tmp_path / "store"), f"test_{uuid.uuid4().hex}"
    if kind == "server":
        target = request.getfixturevalue("server")
    upsert = milvus.MilvusStore.upsert

    def half(store: milvus.MilvusStore, gallery: Gallery) -> None:
        upsert(store, gallery.select(range(5)))
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(milvus.MilvusStore, "upsert", half)
        with pytest.raises(type(error)):
            create_store("milvus", target, entries(range(10)), collection)

    def gone(*given: object, **named: object) -> None:
        raise OSError("gone")

    with monkeypatch.context() as patch:  # a process that was killed, or a server that was gone for good
        patch.setattr(milvus.MilvusStore, "upsert", half)
        patch.setattr("pymilvus.MilvusClient.drop_collection", gone)
        with pytest.raises(type(error)):
            create_store("milvus", target, entries(range(10)), collection)
    with pytest.raises(FileNotFoundError, match="has no collection"):
        open_store(target, collection)
    store = create_store("milvus", target, entries(range(10)), collection)
    assert len(store) == 10
    store.close()
    with pytest.raises(ValueError, match="already; add to it"):
        create_store("milvus", target, entries(range(10)), collection)
