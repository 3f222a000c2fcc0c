"""Every way by which an image comes to the page: one reader, one set of limits, one owner. Real HTTP."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from mtrl.demo.server.limits import Limits
from mtrl.demo.service.service import DemoService
from tests.helpers.page import noise_page
from tests.helpers.page_server import Server, arrived, join, running, sample_image, wait_for
from tests.load.stress_clients import file_data

pytest.importorskip("gradio")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> DemoService:
    return noise_page(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def server(service: DemoService) -> Iterator[Server]:
    from mtrl.demo.server import cleanup

    with pytest.MonkeyPatch.context() as patch, running(service) as server:
        patch.setattr(cleanup, "GRACE", 0.5)
        yield server


@contextlib.contextmanager
def visiting(server: Server) -> Iterator[str]:
    """A session with its page open."""
    session = uuid.uuid4().hex[:11]
    head = f"GET /gradio_api/heartbeat/{session} HTTP/1.1\r\nHost: {server.host}\r\n\r\n"
    with contextlib.closing(server.raw(head.encode())) as heartbeat:
        assert heartbeat.recv(100).startswith(b"HTTP/1.1 200")
        yield session


def address(content: bytes, kind: str = "png") -> dict[str, str]:
    return {"url": f"data:image/{kind};base64," + base64.b64encode(content).decode()}


def test_a_cleared_image_is_gone_and_the_next_one_is_read_as_the_first(
    server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    event = arrived(server)
    with visiting(server) as session:
        assert join(server, {**event, "data": [None, *event["data"][1:]]}, session)["success"]
        deep = io.BytesIO()
        Image.fromarray(np.arange(64 * 32, dtype=np.uint16).reshape(64, 32)).save(deep, "PNG")
        for name, content, words in (
            ("secret-name.heic", b"\0\0\0\x18ftypheic" + bytes(400), "not an image"),
            ("secret-name.png", b"", "empty"),
            ("secret-name.png", b"no picture", "not an image"),
            ("secret-name.png", deep.getvalue(), "m-answer"),  # 16 bits, which Gradio's reader would clip
        ):
            event["data"][0] = file_data(server.send(name, content))
            said = join(server, event, session)
            assert said["success"], said
            assert words in json.dumps(said["output"]["data"]), (name, words)
    assert "secret" not in "".join(capfd.readouterr())


def test_the_image_of_arrival_belongs_to_no_visit(server: Server) -> None:
    event = arrived(server)
    shown = Path(event["data"][0]["path"])
    before = server.files()
    assert shown in before
    with visiting(server) as session:
        for image in (None, event["data"][0]):
            assert join(server, {**event, "data": [image, *event["data"][1:]]}, session)["success"]
    assert wait_for(lambda: session not in server.blocks.app.state_holder.session_data)
    time.sleep(0.2)
    assert server.files() == before  # and nothing of it was written once more
    assert server.ask("GET", f"/gradio_api/file={shown}")[0] == 200


def test_what_the_page_shows_itself_is_not_answered_and_written_again(server: Server) -> None:
    event = arrived(server)
    with visiting(server) as session:
        event["data"][0] = file_data(server.send("x.png", sample_image()))
        output = join(server, event, session)["output"]["data"]
        assert "m-answer" in json.dumps(output[1])
        before = server.files()
        event["data"][0] = output[0]
        assert "m-answer" not in json.dumps(join(server, event, session)["output"]["data"])
        assert server.files() == before


def test_data_addresses_meet_the_limits_of_uploads(server: Server, service: DemoService) -> None:
    good = sample_image((32, 64))
    before = server.files()
    status, said = server.call("encode", [address(good), "visible"])
    assert status == 200 and "event: complete" in said, said
    vector = json.loads(said.split("data: ", 1)[1])[0]
    assert vector == pytest.approx(service.encode(Image.open(io.BytesIO(good)), "visible"), abs=1e-5)
    huge = Image.new("L", (13000, 13000))
    buffer = io.BytesIO()
    huge.save(buffer, "PNG")
    assert len(buffer.getvalue()) < 700_000
    began = time.monotonic()
    said = server.call("encode", [address(buffer.getvalue()), "visible"])[1]
    assert "event: error" in said and "64 million" in said and time.monotonic() - began < 3, said
    for text in ("data:", "data:image/png", "data:image/png;base64,", "data:image/png;base64,####", "data:,x",
                 "data:image/png;base64," + "A" * 4000, "data:text/html;base64,PGI+"):  # fmt: skip
        said = server.call("encode", [{"url": text}, "visible"])[1]
        assert "event: error" in said and '"error": "' in said, (text, said)
    # Nothing of a call stays, and none of it is named by what it holds.
    assert wait_for(lambda: not (server.files() - before)), server.files() - before


def test_a_data_address_may_hold_as_many_bytes_as_an_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    from mtrl.demo.tabs import image_input

    assert Limits().image == image_input.MOST
    monkeypatch.setattr(image_input, "MOST", 1 << 20)
    for size in range((1 << 20) - 3, (1 << 20) + 1):
        assert len(image_input._content(address(bytes(size))["url"])) == size
    with pytest.raises(ValueError, match="larger than 1 MB"):
        image_input._content(address(bytes((1 << 20) + 3))["url"])


@pytest.mark.skipif(not features.check("jpg_2000"), reason="this Pillow reads no JPEG 2000")
def test_a_data_address_of_a_format_that_uploads_may_not_have_is_refused(server: Server) -> None:
    said = server.call("encode", [address(sample_image(kind="JPEG2000"), "jp2"), "visible"])[1]
    assert "event: error" in said and "not an image" in said, said


def test_large_data_addresses_are_read_one_at_a_time(
    server: Server, service: DemoService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the same rule as uploads: the way in is the same."""
    from mtrl.demo.service import images

    seen: list[Any] = []
    turn = images.in_turn
    monkeypatch.setattr(images, "in_turn", lambda image: (seen.append(image), turn(image))[1])
    assert "event: complete" in server.call("encode", [address(sample_image()), "visible"])[1]
    assert len(seen) == 1 and Path(seen[0]).parent.parent == server.folder
    assert len(Path(seen[0]).parent.name) == 64
