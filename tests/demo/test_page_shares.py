"""A page that many share: what one visitor takes of its disk, uploads and time. Real HTTP, several addresses."""

from __future__ import annotations

import io
import json
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mtrl.demo.server.limits import Limits
from mtrl.demo.server.request_origin import visitor_at
from mtrl.demo.server.uploads import Uploads, place
from mtrl.demo.service.service import DemoService
from tests.helpers.page import noise_page
from tests.helpers.page_server import Server, arrived, join, running, sample_image, upload_head, wait_for
from tests.load.stress_clients import file_data, form

pytest.importorskip("gradio")

GREEDY, OTHER = "127.0.0.2", "127.0.0.3"
KB = 1 << 10
SMALL = Limits(image=400 * KB, stored=3000 * KB, share=1000 * KB, uploads=4, uploads_each=2)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> DemoService:
    return noise_page(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def server(service: DemoService) -> Iterator[Server]:
    """A small page that others can reach."""
    from mtrl.demo import page

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "LIMITS", SMALL)
        with running(service, public=True) as server:
            yield server


def test_one_visitors_images_take_no_others_place(server: Server) -> None:
    others = server.send("other.png", bytes(300 * KB), OTHER)
    mine = [Path(server.send(f"{n}.png", bytes(300 * KB), GREEDY)) for n in range(20)]
    assert [path.exists() for path in mine] == [False] * 17 + [True] * 3  # the oldest have gone
    assert Path(others).exists()
    assert server.ask("GET", f"/gradio_api/file={mine[-1]}")[0] == 200
    status, said = server.call("encode", [file_data(str(mine[0])), "visible"], GREEDY)
    assert status == 400 and "its time is over" in said


def test_the_oldest_of_whoever_has_most_make_room(tmp_path: Path) -> None:
    uploads = Uploads(most=100, share=60)
    paths = {}
    for name, size, visitor in (
        ("a", 20, "x"),
        ("b", 30, "y"),
        ("c", 25, "y"),
        ("d", 20, "x"),
        ("e", 20, "z"),
    ):
        paths[name] = place(tmp_path, name)
        paths[name].write_bytes(bytes(size))
        uploads.came(paths[name], size, visitor)
    assert [name for name, path in paths.items() if not path.exists()] == ["b"]
    paths["f"] = place(tmp_path, "f")
    paths["f"].write_bytes(bytes(90))
    uploads.came(paths["f"], 90, "z")  # more than a share: it stands alone
    assert not paths["e"].exists() and paths["f"].exists()


def test_what_is_shown_counts_too(server: Server) -> None:
    event, session = arrived(server), uuid.uuid4().hex[:11]
    buffer = io.BytesIO()
    Image.effect_noise((600, 300), 90).save(buffer, "JPEG", quality=40)
    sizes = []
    for _ in range(8):
        event["data"][0] = file_data(server.send("x.jpg", buffer.getvalue(), GREEDY))
        assert join(server, event, session, client=GREEDY)["success"]
        sizes.append(sum(path.stat().st_size for path in server.files()))
    assert sizes[-1] <= sizes[3] + 100 * KB, sizes


def test_half_open_uploads_of_one_visitor_keep_nobody_else_out(server: Server) -> None:
    body, kind = form("x.png", bytes(100 * KB))
    head = upload_head(server, kind, len(body)).encode()
    slow = [server.raw(head + body[:50], GREEDY) for _ in range(SMALL.uploads_each)]
    time.sleep(0.3)
    assert server.ask("POST", "/gradio_api/upload", body, kind, client=GREEDY)[0] == 429
    assert server.ask("POST", "/gradio_api/upload", body, kind, client=OTHER)[0] == 200
    for line in slow:
        line.close()
    assert wait_for(lambda: server.ask("POST", "/gradio_api/upload", body, kind, client=GREEDY)[0] == 200, 3)


def test_long_names_of_any_letters_are_cut(server: Server) -> None:
    for letter in ("𠮷", "字", "é", "x"):
        path = Path(server.send(letter * 80 + ".png", sample_image()))
        assert path.name.endswith(f"{letter}.png") and len(path.name.encode()) <= 80 and path.exists()


@pytest.mark.parametrize(
    ("host", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("a socket", "a socket"),
        (None, ""),
    ],
)
def test_a_visitor_is_an_address_or_a_household(host: str | None, counted: str) -> None:
    assert visitor_at(host) == counted


class Slow:
    """A service's `encode` that waits for leave, and who was let in, by the size of the image."""

    def __init__(self, service: DemoService, monkeypatch: pytest.MonkeyPatch, seconds: float = 30.0) -> None:
        self.go, self.began, self._guard = threading.Event(), [], threading.Lock()
        self._encode, self._seconds = service.encode, seconds
        monkeypatch.setattr(service, "encode", self)

    def __call__(self, image: str, *rest: Any) -> Any:
        with self._guard:
            self.began.append(Image.open(image).width)
        self.go.wait(self._seconds)
        return self._encode(image, *rest)


def ask(server: Server, width: int, client: str) -> tuple[int, Any]:
    """A call whose answer is not fetched: the status, and its event or why it was refused."""
    data = [file_data(server.send("x.png", sample_image((width, 80)), client)), "visible"]
    body = json.dumps({"data": data}).encode()
    status, answer, _ = server.ask("POST", "/gradio_api/call/encode", body, client=client)
    return status, json.loads(answer)


def fetch(server: Server, event: str) -> str:
    return server.ask("GET", f"/gradio_api/call/encode/{event}")[1].decode()


def test_one_visitor_has_one_turn_at_a_time_and_so_many_places(
    server: Server, service: DemoService, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mtrl.demo.page import WAITING_EACH
    from mtrl.demo.server import fair_queue

    monkeypatch.setattr(fair_queue, "PATIENCE", 60.0)
    slow = Slow(service, monkeypatch)
    try:
        answers = [ask(server, 40, GREEDY) for _ in range(WAITING_EACH + 5)]
        taken = [answer["event_id"] for status, answer in answers if status == 200]
        refused = [answer["detail"] for status, answer in answers if status == 503]
        assert len(taken) == WAITING_EACH + 1 and len(refused) == 4 and "wait already" in refused[0]
        assert slow.began == [40]  # though another could run beside it
        others = [ask(server, 50, OTHER), ask(server, 60, "127.0.0.4")]
        assert wait_for(lambda: len(slow.began) == 2) and slow.began == [40, 50]
    finally:
        slow.go.set()
    for event in [*(answer["event_id"] for _, answer in others), *taken]:
        assert "event: complete" in fetch(server, event)
    assert slow.began.index(60) <= 3  # before those of whom had turns already
    assert len(slow.began) == len(taken) + 2


def test_calls_that_nobody_waits_for_are_dropped(
    server: Server, service: DemoService, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mtrl.demo.server import fair_queue

    monkeypatch.setattr(fair_queue, "PATIENCE", 0.5)
    slow = Slow(service, monkeypatch)
    heard: list[str] = []
    try:
        events = [ask(server, 40, GREEDY)[1]["event_id"] for _ in range(6)]
        listener = threading.Thread(target=lambda: heard.append(fetch(server, events[3])))
        listener.start()
        time.sleep(1.5)
    finally:
        slow.go.set()
    listener.join(20)
    assert "event: complete" in heard[0] and slow.began == [40, 40]  # the first ran already, one was awaited
    assert "event: complete" in fetch(server, events[0])
    for event in (events[1], events[5]):
        said = fetch(server, event)
        assert "event: error" in said and "Nobody asked" in said


def test_calls_that_nobody_waits_for_hold_no_places_though_nothing_can_begin(
    server: Server, service: DemoService, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mtrl.demo.page import WAITING_EACH
    from mtrl.demo.server import fair_queue

    monkeypatch.setattr(server.blocks._queue, "active_jobs", [None])  # one call at a time fills the page
    monkeypatch.setattr(fair_queue, "PATIENCE", 60.0)
    slow = Slow(service, monkeypatch)
    try:
        events = [ask(server, 40, GREEDY)[1]["event_id"]]
        assert wait_for(lambda: slow.began)
        events += [ask(server, 40, GREEDY)[1]["event_id"] for _ in range(WAITING_EACH)]
        assert ask(server, 40, GREEDY)[0] == 503
        monkeypatch.setattr(fair_queue, "PATIENCE", 0.0)
        status, answer = ask(server, 50, GREEDY)
        monkeypatch.setattr(fair_queue, "PATIENCE", 60.0)
        assert status == 200
    finally:
        slow.go.set()
    for event, said in ((events[0], "complete"), (events[-1], "error"), (answer["event_id"], "complete")):
        assert f"event: {said}" in fetch(server, event)
    assert slow.began == [40, 50]


def test_on_a_page_of_ones_own_calls_run_side_by_side(
    service: DemoService, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(service, monkeypatch)
    with running(service) as server:
        try:
            events = [ask(server, 40 + n, "127.0.0.1")[1]["event_id"] for n in range(2)]
            assert wait_for(lambda: slow.began == [40, 41])
        finally:
            slow.go.set()
        assert all("event: complete" in fetch(server, event) for event in events)
