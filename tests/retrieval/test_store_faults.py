"""The stores under faults: killed writers, readers beside a writer, damage, and galleries of strangers."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mtrl import Gallery
from mtrl.retrieval.stores.factory import create_store, open_store
from mtrl.retrieval.stores.uri import redacted, shown
from tests.helpers.paths import ROOT
from tests.helpers.stores import DIM, PART, check_whole, rows

NEEDS = {"exact": "torch", "faiss": "faiss", "milvus": "milvus_lite"}


# The writer forks for every moment: each child puts one part and is killed at its Nth step on the disk.
MOMENTS = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
import torch
torch.set_num_threads(1)
from pathlib import Path
from tests.helpers.stores import PART, rows
from mtrl.retrieval.stores.factory import open_store
real = {"fsync": os.fsync, "replace": Path.replace, "unlink": Path.unlink}
def stop_at(moment):
    steps = []
    def counted(function):
        def call(*given, **named):
            steps.append(1)
            if len(steps) == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*given, **named)
        return call
    os.fsync, Path.replace, Path.unlink = (counted(real[name]) for name in ("fsync", "replace", "unlink"))
for moment in range(1, 40):
    child = os.fork()
    if child == 0:
        store = open_store(sys.argv[1])
        count = len(store)
        stop_at(moment)
        store.upsert(rows(range(count, count + PART)))
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    store = open_store(sys.argv[1])
    print(moment, os.WIFSIGNALED(status), len(store), flush=True)
    if not os.WIFSIGNALED(status):
        break
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["exact", "faiss"])
def test_a_writer_killed_at_every_step(kind: str, tmp_path: Path) -> None:
    pytest.importorskip(NEEDS[kind])
    target = str(tmp_path / "store")
    create_store(kind, target, rows(range(2 * PART)))
    arguments = [sys.executable, "-c", MOMENTS, target, str(ROOT)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    moments = [line.split() for line in done.stdout.splitlines()]
    assert len(moments) >= (8 if kind == "exact" else 11) and moments[-1][1] == "False"
    counts = [2 * PART] + [int(count) for _, _, count in moments]
    # All of a part, or nothing.
    assert {b - a for a, b in itertools.pairwise(counts)} == {0, PART}
    assert counts[-1] - counts[-2] == PART  # the one that was acknowledged
    check_whole(target, counts[-1])
    left = [path.name for path in (tmp_path / "store").iterdir() if path.name.startswith(".")]
    assert not left  # what the killed writers had begun is gone


WRITER = """
import sys
sys.path.insert(0, sys.argv[2])
import torch
torch.set_num_threads(1)
from tests.helpers.stores import PART, rows
from mtrl.retrieval.stores.factory import create_store, open_store
try:
    store = open_store(sys.argv[1])
except FileNotFoundError:
    store = create_store(sys.argv[3], sys.argv[1], rows(range(PART)))
while len(store) < 1_000_000:  # until it is killed
    count = len(store)
    store.upsert(rows(range(count, count + PART)))
    print(count + PART, flush=True)
"""


def writer(target: str, kind: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", WRITER, target, str(ROOT), kind]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_indexes_that_a_kill_cut_are_made_anew(tmp_path: Path) -> None:
    pytest.importorskip("milvus_lite")
    target = str(tmp_path / "store")
    create_store("milvus", target, rows(range(PART))).close()
    assert not list((tmp_path / "store").glob("*.open"))
    open_store(target)._client.close()  # type: ignore[attr-defined]  # as a process that ended without closing
    indexes = list((tmp_path / "store").rglob("indexes/*idx"))
    assert indexes
    for file in indexes:
        file.write_bytes(b"")
    assert check_whole(target, PART) == PART


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["exact", "faiss", "milvus"])
def test_kill_9_while_adding(kind: str, tmp_path: Path) -> None:
    pytest.importorskip(NEEDS[kind])
    target = str(tmp_path / "store")
    for delay in (0.0, 0.03):
        process = writer(target, kind)
        assert process.stdout is not None and process.stdout.readline(), process.communicate()[1]
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        acknowledged = [int(line) for line in process.communicate()[0].splitlines()]
        if kind != "milvus":
            check_whole(target, max(acknowledged, default=0))
            continue
        done = subprocess.run(  # the embedded database belongs to one process at a time
            [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
             "from tests.helpers.stores import check_whole; check_whole(sys.argv[1], int(sys.argv[2]))",
             target, str(max(acknowledged, default=0))], capture_output=True, text=True
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["exact", "faiss"])
def test_two_readers_and_a_writer(kind: str, tmp_path: Path) -> None:
    pytest.importorskip(NEEDS[kind])
    target = str(tmp_path / "store")
    reader = (
        f"import sys, time; sys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.helpers.stores import PART, rows\nfrom mtrl.retrieval.stores.factory import open_store\n"
        "seen, end = [], time.monotonic() + 6\n"
        "while time.monotonic() < end:\n"
        "    store = open_store(sys.argv[1])\n"
        "    count, wanted = len(store), rows(range(PART))\n"
        "    assert count % PART == 0 and count >= (seen or [0])[-1]\n"
        "    assert [m[0].name for m in store.find(wanted.features, 1)] == list(wanted.names)\n"
        "    seen.append(count)\n"
        "print(len(seen), len(set(seen)))\n"
    )
    process = writer(target, kind)
    assert process.stdout is not None and process.stdout.readline(), process.communicate()[1]
    arguments, pipe = [sys.executable, "-c", reader, target], subprocess.PIPE
    readers = [subprocess.Popen(arguments, stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
    outputs = [one.communicate() for one in readers]
    process.kill()
    process.communicate()
    assert all(one.returncode == 0 for one in readers), outputs
    assert all(int(out.split()[1]) > 1 for out, _ in outputs), "the writer stood still"


@pytest.mark.parametrize("kind", ["exact", "faiss"])
def test_changes_of_two_writers_add_up(kind: str, tmp_path: Path) -> None:
    pytest.importorskip(NEEDS[kind])
    target = str(tmp_path / "store")
    first, second = create_store(kind, target, rows(range(PART))), open_store(target)
    first.upsert(rows(range(PART, 2 * PART)))
    second.upsert(rows(range(2 * PART, 3 * PART)))
    assert len(second) == 3 * PART and len(first) == 2 * PART
    first.upsert(rows(range(3 * PART, 4 * PART)))
    assert check_whole(target, 4 * PART) == 4 * PART


def test_a_put_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = create_store("exact", str(tmp_path), rows(range(PART)))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="the disk is full"):
            store.upsert(rows(range(PART, 2 * PART)))
    assert len(store) == len(open_store(str(tmp_path))) == PART


def test_a_damaged_features_file_is_refused_and_built_again(tmp_path: Path) -> None:
    create_store("exact", str(tmp_path), rows(range(PART)))
    path = next(tmp_path.glob("features-*"))
    good = path.read_bytes()
    for content in (good[:-9], good[:40], b"", good[:-9] + bytes(9), b"\xff" * 8 + good[8:]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="build the gallery again"):
            open_store(str(tmp_path))
    create_store("exact", str(tmp_path), rows(range(PART)))  # the same features, and so the same file name
    check_whole(str(tmp_path), PART)


@pytest.mark.parametrize("kind", ["exact", "faiss", "milvus"])
def test_what_does_not_fit_is_refused(kind: str, tmp_path: Path) -> None:
    pytest.importorskip(NEEDS[kind])
    store = create_store(kind, str(tmp_path), rows(range(PART)))
    for model, message in (("other", "another model"), ("", "the new features name none")):
        with pytest.raises(ValueError, match=message):
            store.upsert(rows(range(5), model=model))
    for value in (float("nan"), float("inf")):
        features = rows(range(1)).features.clone()
        features[0, 3] = value
        with pytest.raises(ValueError, match="NaN or infinity"):
            store.upsert(Gallery(features, ("x",), model="m"))
        with pytest.raises(ValueError, match="NaN or infinity"):
            store.find(features)
    with pytest.raises(ValueError, match="8 dimensions"):
        store.find(torch.ones(1, 8))
    assert len(store) == PART
    store.close()


def test_cells_of_a_stranger_are_not_believed(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    create_store("faiss", str(tmp_path), rows(range(200)))
    path = tmp_path / "faiss.safetensors"
    good = load_file(path)
    wrong = [
        {"centres": good["centres"][:, :4].contiguous(), "places": good["places"]},
        {"centres": good["centres"], "places": good["places"] + 1000},
        {"centres": good["centres"], "places": good["places"][:5].contiguous()},
        {"centres": good["centres"].double(), "places": good["places"]},
        {"centres": torch.zeros(0, DIM), "places": good["places"]},
        {"other": good["centres"]},
    ]
    for tensors in wrong:
        save_file(tensors, path, metadata={"format": "mtrl-faiss-2"})
        check = open_store(str(tmp_path)).find(rows(range(5)).features, 1)
        assert [match[0].name for match in check] == list("01234")
        assert load_file(path)["places"].shape == (200,)


def test_passwords_in_addresses_are_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown("https://anna:geheim@db.org:19530") == "https://***@db.org:19530"
    assert shown("http://anna:ge/he@im?#@db.org/x?token=geheim#geheim") == "http://***@db.org/x?***"
    assert shown("https://db.org:19530") == "https://db.org:19530" and shown("a@b") == "a@b"
    monkeypatch.setenv("MILVUS_TOKEN", "zeichen")
    assert redacted("anna:geheim, geheim, zeichen", "https://anna:geheim@db.org") == "***, ***, ***"
    pytest.importorskip("pymilvus")
    import pymilvus

    def refuse(uri: str, **_: object) -> None:
        raise pymilvus.exceptions.MilvusException(message=f"cannot reach {uri}")

    monkeypatch.setattr(pymilvus, "MilvusClient", refuse)
    with pytest.raises(OSError, match=r"Milvus database at https://\*\*\*@db\.org") as caught:
        open_store("https://anna:geheim@db.org")
    assert "geheim" not in str(caught.value) and caught.value.__cause__ is None
