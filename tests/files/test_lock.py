import multiprocessing

import pytest

from mtrl.files.lock import only_one


def _add(path, count):
    for _ in range(count):
        with only_one(path.parent) as alone:
            assert alone
            path.write_text(str(int(path.read_text()) + 1))


def test_processes_take_turns(tmp_path):
    path = tmp_path / "counter"
    path.write_text("0")
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_add, args=(path, 200)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert path.read_text() == "600"


def _hold(path, held, leave):
    with only_one(path):
        held.set()
        leave.wait()


def test_a_held_lock_is_refused_where_nobody_waits(tmp_path):
    refused = pytest.raises(BlockingIOError, match="somebody is here")
    with only_one(tmp_path), refused, only_one(tmp_path, refusal="somebody is here"):
        raise AssertionError
    with only_one(tmp_path, refusal="somebody is here") as alone:
        assert alone


def test_a_dead_process_holds_nothing(tmp_path):
    context = multiprocessing.get_context("fork")
    held, leave = context.Event(), context.Event()
    child = context.Process(target=_hold, args=(tmp_path / "lock", held, leave))
    child.start()
    assert held.wait(60)
    child.kill()
    child.join()
    with only_one(tmp_path / "lock", "waiting") as alone:
        assert alone
