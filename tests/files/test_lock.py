import errno
import multiprocessing

import pytest

from mtrl.files.lock import only_one, take_lock


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


def test_where_nothing_can_be_locked_the_caller_is_told(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    assert take_lock(tmp_path) is None
    with only_one(tmp_path / "lock") as alone:
        assert not alone


def test_a_folder_that_may_only_be_read_is_locked_without_a_trace(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with only_one(tmp_path) as alone, pytest.raises(BlockingIOError):
            assert alone
            take_lock(tmp_path)
        assert list(tmp_path.iterdir()) == []
    finally:
        tmp_path.chmod(0o700)


def test_a_link_is_followed_only_on_request(tmp_path):
    (tmp_path / "folder").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "folder")
    with only_one(link) as alone, pytest.raises(BlockingIOError):
        assert alone
        take_lock(tmp_path / "folder")
    with pytest.raises(OSError):
        take_lock(link, follow_links=False)
