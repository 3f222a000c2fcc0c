"""A page that runs on this machine, and the plainest of clients."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from mtrl.demo.service.service import DemoService
from tests.load.stress_clients import form


class Server:
    """A page that runs, its folder, and the plainest of clients."""

    def __init__(self, blocks: Any, url: str) -> None:
        self.blocks, self.url, self.host = blocks, url, urlsplit(url).netloc

    @property
    def folder(self) -> Path:
        return Path(self.blocks.GRADIO_CACHE)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        kind: str = "application/json",
        client: str = "127.0.0.1",
        **headers: str,
    ) -> tuple[int, bytes, Any]:
        """Status, content and headers; the path is sent as it is. `client` is this machine's address to ask from."""
        connection = HTTPConnection(self.host, timeout=30, source_address=(client, 0))
        try:
            connection.request(
                method, path, body, {"Content-Type": kind, **headers} if body is not None else headers
            )
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            connection.close()

    def send(self, name: str, content: bytes, client: str = "127.0.0.1") -> str:
        status, answer, _ = self.ask("POST", "/gradio_api/upload", *form(name, content), client=client)
        assert status == 200, answer
        return str(json.loads(answer)[0])

    def call(self, name: str, data: list[Any], client: str = "127.0.0.1") -> tuple[int, str]:
        """Status of a call, and what its stream said, or why it was refused."""
        body = json.dumps({"data": data}).encode()
        status, answer, _ = self.ask("POST", f"/gradio_api/call/{name}", body, client=client)
        if status != 200:
            return status, answer.decode()
        event = json.loads(answer)["event_id"]
        _, stream, _ = self.ask("GET", f"/gradio_api/call/{name}/{event}", client=client)
        return status, stream.decode()

    def raw(self, content: bytes, client: str = "127.0.0.1") -> socket.socket:
        """A connection on which that was sent."""
        host, port = self.host.split(":")
        connection = socket.create_connection((host, int(port)), 20, (client, 0))
        connection.sendall(content)
        return connection

    def files(self) -> set[Path]:
        # Folders vanish while this looks, which os.walk takes as it comes.
        return {Path(folder, name) for folder, _, names in os.walk(self.folder) for name in names}


@contextlib.contextmanager
def running(service: DemoService, public: bool = False) -> Iterator[Server]:
    from mtrl.demo.page import build_page, launch

    blocks = build_page(service, public=public)
    _, url, _ = launch(blocks, public, server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    try:
        yield Server(blocks, url)
    finally:
        blocks.close()


def upload_head(server: Server, kind: str, length: int) -> str:
    head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: {server.host}\r\nContent-Type: {kind}\r\n"
    return f"{head}Content-Length: {length}\r\n\r\n"


def arrived(server: Server) -> dict[str, Any]:
    """The event of the page's browser side that takes another image in Retrieve, with the values of a new visit."""
    config = json.loads(server.ask("GET", "/config")[1])
    query = next(c["id"] for c in config["components"] if c["props"].get("elem_id") == "query")
    event = next(d for d in config["dependencies"] if [query, "change"] in [list(t) for t in d["targets"]])
    values = {c["id"]: c["props"].get("value") for c in config["components"]}
    return {"fn_index": event["id"], "data": [values.get(i) for i in event["inputs"]]}


def join(server: Server, event: dict[str, Any], session: str, **headers: str) -> dict[str, Any]:
    """What an event of the page's browser side came to: the message that ends it."""
    body = json.dumps({**event, "session_hash": session}).encode()
    status, answer, _ = server.ask("POST", "/gradio_api/queue/join", body, **headers)
    assert status == 200, answer
    stream = server.ask("GET", f"/gradio_api/queue/data?session_hash={session}")[1].decode()
    messages = [json.loads(line.removeprefix("data: ")) for line in stream.split("\n") if line]
    return next(message for message in messages if message["msg"] == "process_completed")


def sample_image(size: tuple[int, int] = (40, 80), kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(size, 70).convert("RGB").save(buffer, kind)
    return buffer.getvalue()


def wait_for(what: Callable[[], Any], seconds: float = 10.0) -> Any:
    """The first true value of `what`; its last one after `seconds`."""
    end = time.monotonic() + seconds
    while not (value := what()) and time.monotonic() < end:
        time.sleep(0.05)
    return value
