"""Other systems and poor circumstances: devices, closed pipes, folders that cannot be written, no home folder."""

from __future__ import annotations

import errno
import io
import os
import re
import stat
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mtrl import load_pretrained
from mtrl.commands import translate
from mtrl.console import cli
from mtrl.console.os_errors import readable
from mtrl.data.array_cache import cache_root
from mtrl.data.synthetic import load_part
from mtrl.demo.server.uploads import private_folder
from mtrl.files import atomic as writing
from mtrl.files.filenames import expanded
from mtrl.models.device import pick_device
from mtrl.translate import load_translator
from tests.helpers.paths import ROOT
from train.run.distributed import DistributedContext
from train.run.log import RunLog


def machine(monkeypatch: pytest.MonkeyPatch, cuda: int = 0, mps: bool = False, broken: str = "") -> None:
    """A machine with so many CUDA devices, and with MPS or not; `broken` devices have memory but run nothing."""
    real = torch.zeros

    def zeros(*size: int, device: torch.device) -> torch.Tensor:
        if device.type == broken:
            raise RuntimeError("no kernel image is available\n" + "a page of text\n" * 30)
        return real(*size)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr("mtrl.models.device.torch.zeros", zeros)


@pytest.mark.parametrize(
    ("cuda", "mps", "broken", "chosen"),
    [(2, True, "", "cuda"), (0, True, "", "mps"), (0, False, "", "cpu"), (1, True, "cuda", "mps"),
     (1, False, "cuda", "cpu"), (0, True, "mps", "cpu")],
)  # fmt: skip
def test_auto_takes_the_first_device_that_works(
    cuda: int, mps: bool, broken: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, cuda, mps, broken)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert pick_device("auto").type == chosen
    assert [str(w.message) for w in caught if "no kernel image" in str(w.message)] == (
        [f"there is a GPU, but {broken} does not work here (no kernel image is available)"] if broken else []
    )


@pytest.mark.parametrize(
    ("name", "cuda", "says"),
    [
        ("mps", 0, "finds no GPU for it"),
        ("cuda", 0, "finds no GPU for it"),
        ("cuda:7", 1, "this machine has 1 such device, cuda:0;"),
        (7, 2, "this machine has 2 such devices, cuda:0 to cuda:1;"),
        ("abacus", 1, "there is no such name; give auto, cpu"),
        ("", 1, "there is no such name"),
        ("cuda:-1", 1, "there is no such name"),
        ("meta", 1, "it computes nothing"),
        ("xpu", 1, "give auto or cpu"),
    ],
)
def test_a_device_that_cannot_be_used_is_one_line(
    name: str, cuda: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, cuda)
    if name == "xpu":
        monkeypatch.undo()
    for ask in (pick_device, lambda device: load_pretrained(device=device)):
        with pytest.raises(ValueError, match=r"device .* cannot be used here: ") as caught:
            ask(name)
        assert says in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_commands_take_auto(tmp_path: Path) -> None:
    from mtrl.__main__ import main

    source = ROOT / "mtrl" / "assets" / "gallery" / "0001_cam1.jpg"
    assert main(["translate", str(source), str(tmp_path / "t.png"), "--device", "auto"]) == 0
    with pytest.raises(ValueError, match="cannot be used here"):
        main(["translate", str(source), str(tmp_path / "u.png"), "--device", "abacus"])
    assert translate.pick_device is pick_device


def test_several_processes_do_not_train_on_mps(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, mps=True)
    assert (
        DistributedContext().device("auto").type == "mps"
        and DistributedContext(0, 2).device("auto").type == "cpu"
    )
    with pytest.raises(ValueError, match="give --device cpu"):
        DistributedContext(0, 2).device("mps")


def test_nothing_of_an_embedding_or_a_translation_is_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """MPS has none. Dispatch sees every operation of the model, whatever module makes it."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class NoDouble(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            out = func(*args, **(kwargs or {}))
            for value in out if isinstance(out, (tuple, list)) else [out]:
                assert not isinstance(value, torch.Tensor) or value.dtype != torch.float64, func
            return out

    images = torch.rand(2, 3, 64, 32)
    model, translators = load_pretrained(), [load_translator(n) for n in ("luminance", "spectral", "learned")]
    with NoDouble():
        model.encode(images)
        for translator in translators:
            translator(images)


# Each case in a child whose standard output is a pipe that nobody reads any more. Without the package's imports of
# torch, which take longer than all the rest.
CUT = """
import argparse, io, os, sys, types
sys.modules["mtrl"] = types.ModuleType("mtrl"); sys.modules["mtrl"].__path__ = ["mtrl"]
untrusted = sys.modules["mtrl.files.untrusted"] = types.ModuleType("untrusted")
untrusted.read_limited = untrusted.parse_json = untrusted.named_file = None
from mtrl.console import cli
def much():
    for _ in range(10_000): print("x" * 80)
def little():
    print("x")
def usage():
    argparse.ArgumentParser().parse_args(["-h"])
def wrong():
    print("x"); raise ValueError("no")
for unbuffered in (False, True):
    for case in (much, little, usage, wrong):
        said, errors = os.pipe()
        child = os.fork()
        if child == 0:
            reader, writer = os.pipe()
            os.close(reader); os.dup2(writer, 1); os.dup2(errors, 2)
            sys.stdout = io.TextIOWrapper(open(1, "wb", 0 if unbuffered else -1), write_through=unbuffered)
            cli.run(case)
        os.close(errors)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(case.__name__, unbuffered, status, repr(os.read(said, 10_000).decode()))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="pipes of Unix")
def test_a_reader_that_leaves_ends_a_command_quietly() -> None:
    done = subprocess.run([sys.executable, "-c", CUT], capture_output=True, text=True, cwd=ROOT)
    assert done.stderr == ""
    results = {}
    for line in done.stdout.splitlines():
        case, unbuffered, code, said = line.split(maxsplit=3)
        results[case, unbuffered == "True"] = (int(code), said)
    quiet = {
        (case, way): (141, "''") for case in ("much", "little", "usage", "wrong") for way in (False, True)
    }
    # What went wrong before the output was missed is still said, and once.
    said = {
        ("wrong", False): (2, r"'error: no\n'"),
        ("usage", True): (0, "''"),
    }  # argparse drops its own error
    assert results == {**quiet, **said}


@pytest.mark.skipif(os.name != "posix", reason="pipes of Unix")
def test_another_closed_pipe_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")  # of a server, say

    with pytest.raises(SystemExit) as stop:
        cli.run(fail)
    assert stop.value.code == 2 and capfd.readouterr().err == "error: Broken pipe\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_said_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    full = io.TextIOWrapper(io.BufferedWriter(io.FileIO("/dev/full", "w")))
    monkeypatch.setattr(sys, "stdout", full)
    with pytest.raises(SystemExit) as stop:
        cli.run(lambda: print("figures"))
    assert stop.value.code == 2
    assert (
        capsys.readouterr().err
        == "error: No space left on device; free some space, or choose another folder\n"
    )
    full.close()  # as Python's end would: what could not be written is dropped


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "/a/b"),
            "/a/b: Permission denied; change its permissions",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "/a"),
            "/a: No space left on device; free some space",
        ),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a", None, "b"), "a: b: No such file"),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"), "set TMPDIR"),
        (OSError("plain"), "plain"),
        (ValueError(), "ValueError"),
    ],
)
def test_no_error_shows_the_number_of_the_system(error: Exception, says: str) -> None:
    assert readable(error).startswith(says) or says in readable(error)
    assert "Errno" not in readable(error) and "\n" not in readable(error)


def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without a home folder, as a container runs one of any number."""

    def unknown(path: str) -> str:
        return path

    for name in ("HOME", "USERPROFILE", "MTRL_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", unknown)


def test_a_user_without_a_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nobody(monkeypatch)
    with pytest.raises(ValueError, match="set MTRL_CACHE"):
        cache_root()
    with pytest.raises(ValueError, match="home folder is not known; write the path out"):
        expanded("~/x")
    monkeypatch.setenv("MTRL_CACHE", str(tmp_path))
    assert cache_root() == tmp_path and expanded(tmp_path) == tmp_path


def test_no_path_is_expanded_without_a_word_for_users_without_home() -> None:
    """`Path.expanduser` and `Path.home` raise RuntimeError, which no command turns into a line."""
    for folder in ("mtrl", "train", "eval"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            allowed = {"filenames.py": ".expanduser()", "array_cache.py": "Path.home()"}.get(path.name, "")
            for found in re.findall(r"\.expanduser\(\)|Path\.home\(\)", text):
                assert found == allowed, path


@pytest.mark.parametrize(
    ("use", "says"),
    [
        (
            lambda path: load_part("test", "tiny", 0, (64, 32), path, progress=False),
            "the cache .* MTRL_CACHE",
        ),
        (lambda path: RunLog(path / "run"), "cannot be written"),
    ],
    ids=["synthetic", "run"],
)
def test_folders_that_cannot_be_made_say_what_to_set(
    use: Callable[[Path], object], says: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "x", Path("/proc/nothing")):
        with pytest.raises(OSError, match=says) as caught:
            use(path)
        assert "Errno" not in str(caught.value)


def test_the_page_says_where_its_files_could_not_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "file" / "x"))
    with pytest.raises(OSError, match="set GRADIO_TEMP_DIR to a folder"):
        private_folder()


def test_files_are_flushed_through_handles_that_may_write(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Windows flushes no file that was opened to be read."""
    fcntl = pytest.importorskip("fcntl")
    real, flushed = os.fsync, []

    def fsync(handle: int) -> None:
        if not stat.S_ISDIR(
            os.fstat(handle).st_mode
        ):  # Windows opens no folders; `flush_folder` does without
            assert fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
            flushed.append(handle)
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    log = RunLog(tmp_path)
    log.note("train", 1, {})
    log.flush()
    writing.write_atomically(tmp_path / "x", b"1")
    assert len(flushed) >= 3
    for folder in ("mtrl", "train", "eval"):  # nobody else flushes
        users = {
            p.name for p in (ROOT / folder).rglob("*.py") if "os.fsync(" in p.read_text(encoding="utf-8")
        }
        assert users <= {"atomic.py", "array_cache.py"}


def test_reading_a_log_is_not_disturbed_by_flushing(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    writing.flush_file(path)
    assert path.read_bytes() == b"abc"
    assert np.array_equal(np.frombuffer(path.read_bytes(), np.uint8), [97, 98, 99])
