"""The page behind a proxy, below a path, in a container that is stopped, and what it tells browsers."""

from __future__ import annotations

import contextlib
import gzip
import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from mtrl.demo.server.headers import policy
from mtrl.demo.server.request_origin import CURRENT
from mtrl.demo.service.service import DemoService
from tests.helpers.page import make_model, noise_page
from tests.helpers.page_server import Server, running, sample_image
from tests.helpers.paths import ROOT
from tests.load.stress_clients import file_data, form

pytest.importorskip("gradio")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> DemoService:
    return noise_page(tmp_path_factory.mktemp("people"))


@contextlib.contextmanager
def proxied(server: Server, below: str, keeps: bool) -> Iterator[Server]:
    """The page as it is seen below a path of another server, which passes the path on or takes it away."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self.path.startswith(f"{below}/") and not (keeps and self.path == below):
                self.send_error(404)
                return
            path = self.path if keeps else self.path[len(below) :]
            length = int(self.headers.get("Content-Length") or 0)
            connection = HTTPConnection(server.host, timeout=30)
            headers = {**dict(self.headers.items()), "X-Forwarded-For": self.client_address[0]}
            connection.request(self.command, path, self.rfile.read(length) or None, headers)
            answer = connection.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        yield Server(server.blocks, f"http://127.0.0.1:{other.server_port}{below}")
        other.shutdown()


@pytest.mark.parametrize("keeps", [True, False], ids=["path kept", "path taken away"])
def test_a_page_below_a_path_works_through_both_kinds_of_proxy(
    service: DemoService, monkeypatch: pytest.MonkeyPatch, keeps: bool
) -> None:
    monkeypatch.setenv("GRADIO_ROOT_PATH", "/demo")
    with running(service, public=True) as server, proxied(server, "/demo", keeps) as outside:
        status, content, _ = outside.ask("GET", "/demo/")
        assert status == 200
        root = json.loads(re.search(rb"window\.gradio_config = (\{.*?\});</script>", content)[1])["root"]  # type: ignore[index]
        assert urlsplit(root).path == "/demo"
        script = re.search(rb'src="([^"]*assets/[^"]+\.js)"', content)
        assert script is not None
        address = script[1].decode().removeprefix("./")
        assert outside.ask("GET", address if address.startswith("/") else f"/demo/{address}")[0] == 200
        body, kind = form("x.png", sample_image())
        status, answer, _ = outside.ask("POST", "/demo/gradio_api/upload", body, kind)
        assert status == 200
        path = json.loads(answer)[0]
        assert outside.ask("GET", f"/demo/gradio_api/file={path}")[0] == 200
        body = json.dumps({"data": [file_data(path), "auto", 3, None]}).encode()
        status, answer, _ = outside.ask("POST", "/demo/gradio_api/call/retrieve", body)
        assert status == 200
        event = json.loads(answer)["event_id"]
        stream = outside.ask("GET", f"/demo/gradio_api/call/retrieve/{event}")[1].decode()
        assert "event: complete" in stream
        images, data = json.loads(stream.split("data: ", 1)[1])
        assert {match["identity"] for match in data["matches"]} <= {
            "p0",
            "p1",
            "p2",
            "p3",
        }  # folders of the gallery
        shown = images[0]["image"]
        assert outside.ask("GET", f"/demo/{shown}")[0] == 200
        for hidden in (
            "/demo/user",
            "/demo/../etc/passwd",
            "/demo/gradio_api/file=/etc/passwd",
        ):
            assert outside.ask("GET", hidden)[0] in (400, 403, 404), hidden
        if keeps:
            assert outside.ask("GET", "/demo")[2]["Location"] == "/demo/"
        seen: list[str] = []
        monkeypatch.setattr(service, "encode", lambda *given: (seen.append(CURRENT.get().visitor), [1.0])[1])
        for client in ("127.0.0.8", "127.0.0.9"):  # the proxy asks, and names who has asked it
            body = json.dumps({"data": [file_data(path), "visible"]}).encode()
            status, answer, _ = outside.ask("POST", "/demo/gradio_api/call/encode", body, client=client)
            outside.ask("GET", f"/demo/gradio_api/call/encode/{json.loads(answer)['event_id']}")
        assert seen == ["127.0.0.8", "127.0.0.9"]


def test_the_page_comes_compressed_and_says_which_code_may_run(service: DemoService) -> None:
    with running(service) as server:
        status, plain, headers = server.ask("GET", "/")
        assert status == 200 and headers.get("Content-Encoding") is None
        for path in ("/", "/config", "/gradio_api/info"):
            status, content, headers = server.ask("GET", path, **{"Accept-Encoding": "gzip"})
            assert status == 200 and headers["Content-Encoding"] == "gzip", path
            assert len(content) < 0.5 * len(gzip.decompress(content)), path
        status, _, headers = server.ask("GET", "/")
        rules = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
        assert rules["default-src"] == "'self'" and rules["object-src"] == "'none'"
        assert "unsafe-inline" not in rules["script-src"] and "http" not in rules["connect-src"]
        assert rules["script-src"].count("sha256-") == len(
            {
                code
                for about, code in re.findall(rb"<script([^>]*)>(.*?)</script>", plain, re.S)
                if b"src=" not in about
            }
        )
        # What a program waits for comes as it is made.
        path = server.send("x.png", sample_image())
        data = json.dumps({"data": [file_data(path), "visible"]}).encode()
        event = json.loads(server.ask("POST", "/gradio_api/call/encode", data)[1])["event_id"]
        _, _, headers = server.ask("GET", f"/gradio_api/call/encode/{event}", **{"Accept-Encoding": "gzip"})
        assert headers.get("Content-Encoding") is None


def test_the_policy_names_each_script_by_its_digest() -> None:
    said = policy(
        b'<script>let a = 1;</script><SCRIPT type="module" src="x.js"></SCRIPT><script>let a = 1;</script>'
    )
    assert said.count(
        "sha256-"
    ) == 1 and "'sha256-Gp8Q8SxDbK9hCrLyD6fFlTHBlDHWm6ZVTpVlHjBvUTU='" not in policy(b"")


PROGRAM = """
import sys
from mtrl.console import cli
from mtrl.demo.launch import serve
cli.run(lambda: serve(sys.argv[1], [sys.argv[2]], "127.0.0.1", None, False))
"""


@pytest.mark.slow
def test_a_page_that_is_told_to_end_leaves_no_image(tmp_path: Path) -> None:
    """As `docker stop` tells it."""
    make_model().save_pretrained(tmp_path / "model")
    noise_page(tmp_path / "people")
    kept = tmp_path / "kept"
    environment = {**os.environ, "GRADIO_TEMP_DIR": str(kept), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "model"), str(tmp_path / "people")]
    page = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        assert page.stdout is not None
        said = next(line for line in iter(page.stdout.readline, b"") if b"http://" in line).decode()
        server = Server(None, said.split()[-1])
        path = Path(server.send("x.png", sample_image()))
        assert path.exists() and path.is_relative_to(kept)
        head = f"GET /gradio_api/heartbeat/abc HTTP/1.1\r\nHost: {server.host}\r\n\r\n"
        open_page = server.raw(head.encode())  # a visitor is there
        page.send_signal(signal.SIGTERM)
        said = page.communicate(timeout=30)[0].decode()
        open_page.close()
    finally:
        page.kill()
    assert page.returncode in (0, 130) and "Traceback" not in said, said
    assert [file for file in kept.rglob("*") if file.is_file()] == []
