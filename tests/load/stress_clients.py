"""Clients of the stress test: good searches, broken requests, dropped connections, answers never fetched."""

from __future__ import annotations

import io
import json
import random
import socket
import struct
import sys
import threading
import time
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

TIMEOUT = 60.0
UPLOAD = "/gradio_api/upload"
CALL = "/gradio_api/call/retrieve"


def own_address(number: int) -> str:
    """An address of this machine for the visitor of that number, where there are several: the page counts by them."""
    return f"127.0.0.{2 + number % 250}" if sys.platform == "linux" else "127.0.0.1"


class Counts:
    """What happened, counted by all visitors together."""

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.statuses: Counter[int] = Counter()
        self.done: Counter[str] = Counter()
        self.seconds: list[tuple[float, float]] = []  # (when a good search ended, how long it took)
        self.busy = 0
        self.wrong: list[str] = []

    def note(self, kind: str, problem: str = "") -> None:
        """One act of that kind is done; `problem` says what should not have happened."""
        with self.guard:
            self.done[kind] += 1
            if problem and len(self.wrong) < 1000:
                self.wrong.append(f"{kind}: {problem}")


class Refused(Exception):
    """The page was too busy, and said so."""


class StressClient:
    """One visitor with a connection of its own and a seed for its choices."""

    def __init__(self, url: str, images: Sequence[Path], counts: Counts, seed: int) -> None:
        address = urlsplit(url)
        self._host, self._port = address.hostname or "127.0.0.1", address.port or 80
        self._images, self._counts, self._choice = images, counts, random.Random(seed)
        self._from = (own_address(seed), 0)
        self._connection = HTTPConnection(self._host, self._port, timeout=TIMEOUT, source_address=self._from)
        self._seen: set[str] = set()
        self._kinds: list[tuple[str, Callable[[], str]]] = [
            ("bad upload", self._bad_upload),
            ("bad form", self._bad_form),
            ("too large", self._too_large),
            ("bad request", self._bad_request),
            ("other's file", self._foreign_file),
            ("dropped upload", self._drop_upload),
            ("dropped wait", self._drop_wait),
            ("never fetched", self._never_fetch),
            ("visit", self._visit),
        ]

    def act(self, bad: float) -> None:
        """One good search, or with probability `bad` something else, on a new connection: an old one may have been
        closed while this visitor did something else."""
        self._connection.close()
        if self._choice.random() >= bad:
            self._good()
            return
        name, kind = self._choice.choice(self._kinds)
        try:
            self._counts.note(name, kind())
        except Refused:
            self._counts.note(name)
        except (OSError, HTTPException) as error:
            # The page may close a connection on somebody who misbehaves; it may not stop answering.
            self._connection.close()
            self._counts.note(
                name, "" if isinstance(error, ConnectionError) else f"{type(error).__name__}: {error}"
            )

    def ask(
        self, method: str, path: str, body: bytes | None = None, kind: str = "application/json"
    ) -> tuple[int, bytes]:
        """Status and body of an answer, counted. Raises Refused where the page says that it is too busy."""
        self._connection.request(method, path, body, {"Content-Type": kind} if body is not None else {})
        response = self._connection.getresponse()
        content = response.read()
        with self._counts.guard:
            self._counts.statuses[response.status] += 1
        if response.status in (429, 503):
            with self._counts.guard:
                self._counts.busy += 1
            if not content.strip() or b"<html" in content.lower():
                self._counts.note("refusal", f"no words in {content[:80]!r}")
            raise Refused(content[:200].decode(errors="replace"))
        return response.status, content

    def send(self, name: str, content: bytes) -> tuple[int, str]:
        """Uploads a file: the status, and its path on the server or what was said."""
        body, kind = form(name, content)
        status, answer = self.ask("POST", UPLOAD, body, kind)
        return status, json.loads(answer)[0] if status == 200 else answer[:200].decode(errors="replace")

    def search(self, path: str) -> tuple[str, Any]:
        """("complete", the answer) or ("error", what was said), or the status of a call that was not taken."""
        status, content = self.ask("POST", CALL, call(path))
        if status != 200:
            return str(status), content.decode(errors="replace")
        _, stream = self.ask("GET", f"{CALL}/{json.loads(content)['event_id']}")
        last = stream.decode(errors="replace").strip().split("\n\n")[-1].splitlines()
        event = last[0].removeprefix("event: ") if last else "nothing"
        data = last[1].removeprefix("data: ") if len(last) > 1 else "null"
        return event, json.loads(data)

    def _good(self) -> None:
        image = self._choice.choice(self._images)
        began = time.perf_counter()
        try:
            status, path = self.send(image.name, image.read_bytes())
            if status != 200:
                return self._counts.note("good search", f"upload answered {status}: {path}")
            event, answer = self.search(path)
            if event != "complete":
                return self._counts.note("good search", f"{event}: {answer}")
            for address in {shown["image"] for shown in answer[0]} - self._seen:
                if self.ask("GET", f"/{address}")[0] != 200:
                    return self._counts.note("good search", f"no thumbnail {address}")
                self._seen.add(address)
        except Refused:
            return self._counts.note("good search refused")
        except (OSError, HTTPException, ValueError, KeyError) as error:
            self._connection.close()
            return self._counts.note("good search", f"{type(error).__name__}: {error}")
        ended = time.perf_counter()
        with self._counts.guard:
            self._counts.seconds.append((ended, ended - began))
        return self._counts.note("good search")

    def _bad_upload(self) -> str:
        """A file that is no good image: it has to be answered in words."""
        kind = self._choice.choice(sorted(FILES))
        status, path = self.send(kind, FILES[kind])
        if status != 200:
            return "" if 400 <= status < 500 else f"{kind} was answered {status}"
        event, said = self.search(path)
        plain = (
            event == "error" and isinstance(said, dict) and said.get("error") and "Traceback" not in str(said)
        )
        usable = event == "complete" and kind in USABLE
        return "" if plain or usable else f"{kind} was answered {event}: {str(said)[:160]}"

    def _bad_form(self) -> str:
        """A form that is none."""
        good, kind = form("x.png", FILES["noise.bin"])
        body, kind = self._choice.choice(
            [
                (good[: len(good) // 2], kind),  # no end
                (b"", kind),
                (b"\x00" * 999, kind),
                (good, "multipart/form-data"),  # no boundary
                (good, "text/plain"),
                (good.replace(b'name="files"', b""), kind),
                (good.replace(b"x.png", b"../" * 40 + b"etc/passwd"), kind),
                (good.replace(b"x.png", b"\xff\xfe\x00" * 9), kind),
                (good.replace(b"x.png", b"n" * 5000), kind),
                (b"".join(form(f"{n}.png", b"x", "same")[0][: -len("--same--\r\n")] for n in range(50))
                 + b"--same--\r\n", "multipart/form-data; boundary=same"),
            ]
        )  # fmt: skip
        status, content = self.ask("POST", UPLOAD, body, kind)
        return "" if status < 500 else f"answered {status}: {content[:120]!r}"

    def _too_large(self) -> str:
        """More than the page takes: refused, before all of it has been sent or after."""
        with socket.create_connection((self._host, self._port), TIMEOUT, self._from) as raw:
            head = f"POST {UPLOAD} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nContent-Type: multipart/form-data; "
            told = self._choice.random() < 0.5
            length = f"Content-Length: {30 << 20}" if told else "Transfer-Encoding: chunked"
            start, kind = form("large.png", b"")
            boundary = kind.split("boundary=")[1]
            raw.sendall(f"{head}boundary={boundary}\r\n{length}\r\n\r\n".encode())
            block = start[: start.index(b"\r\n\r\n") + 4] + bytes(1 << 20)
            try:
                for _ in range(30):
                    raw.sendall(block if told else b"%x\r\n%s\r\n" % (len(block), block))
                    block = bytes(1 << 20)
            except OSError:
                pass
            try:
                answer = raw.recv(4096).split(b"\r\n", 1)[0]
            except OSError:
                answer = b"connection closed"
        if answer.startswith(b"HTTP/1.1 "):
            with self._counts.guard:
                self._counts.statuses[int(answer[9:12])] += 1
        refused = answer.startswith(b"HTTP/1.1 413") or not answer.startswith(b"HTTP")
        return "" if refused else f"answered {answer!r}"

    def _bad_request(self) -> str:
        method, path, body = self._choice.choice(REQUESTS)
        status, content = self.ask(method, path, body)
        return "" if 400 <= status < 500 else f"{method} {path} was answered {status}: {content[:120]!r}"

    def _foreign_file(self) -> str:
        event, answer = self.search(self._choice.choice(FOREIGN))
        return "" if event != "complete" else f"a file of the server was opened: {str(answer)[:120]}"

    def _drop_upload(self) -> str:
        body, kind = form("dropped.jpg", self._choice.choice(self._images).read_bytes())
        head = f"POST {UPLOAD} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nContent-Type: {kind}\r\n"
        with socket.create_connection((self._host, self._port), TIMEOUT, self._from) as raw:
            raw.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
            raw.sendall(body[: self._choice.randrange(len(body))])
            time.sleep(self._choice.random() / 5)
            self._hang_up(raw)
        return ""

    def _drop_wait(self) -> str:
        _, path = self.send("kept.jpg", self._choice.choice(self._images).read_bytes())
        status, content = self.ask("POST", CALL, call(path))
        if status == 200:
            event = json.loads(content)["event_id"]
            with socket.create_connection((self._host, self._port), TIMEOUT, self._from) as raw:
                raw.sendall(
                    f"GET {CALL}/{event} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n\r\n".encode()
                )
                self._hang_up(raw)
        return ""

    def _never_fetch(self) -> str:
        _, path = self.send("left.jpg", self._choice.choice(self._images).read_bytes())
        self.ask("POST", CALL, call(path))
        return ""

    def _visit(self) -> str:
        """What a browser does: the page, its heartbeat, an image dropped on it; then it is closed."""
        session = uuid.uuid4().hex[:11]
        _, content = self.ask("GET", "/config")
        config = json.loads(content)
        query = next(c["id"] for c in config["components"] if c["props"].get("elem_id") == "query")
        arrived = next(d for d in config["dependencies"] if [query, "change"] in map(list, d["targets"]))
        with socket.create_connection((self._host, self._port), TIMEOUT, self._from) as raw:
            raw.sendall(
                f"GET /gradio_api/heartbeat/{session} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n\r\n".encode()
            )
            _, path = self.send("visit.jpg", self._choice.choice(self._images).read_bytes())
            values = {c["id"]: c["props"].get("value") for c in config["components"]}
            data = [values.get(i) for i in arrived["inputs"]]
            data[0] = file_data(path)
            join = {"data": data, "fn_index": arrived["id"], "session_hash": session, "event_data": None}
            status, content = self.ask("POST", "/gradio_api/queue/join", json.dumps(join).encode())
            if status != 200:
                return f"joining was answered {status}: {content[:120]!r}"
            _, stream = self.ask("GET", f"/gradio_api/queue/data?session_hash={session}")
            self._hang_up(raw)
        done = b'"process_completed"' in stream and b'"success":true' in stream
        return "" if done else f"no answer for a visit: {stream[-200:]!r}"

    def _hang_up(self, raw: socket.socket) -> None:
        if self._choice.random() < 0.5:  # a reset instead of a proper end
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def form(name: str, content: bytes, edge: str = "") -> tuple[bytes, str]:
    """A multipart form of one file, and its content type."""
    edge = edge or uuid.uuid4().hex
    head = f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    return head.encode() + content + f"\r\n--{edge}--\r\n".encode(), f"multipart/form-data; boundary={edge}"


def file_data(path: str) -> dict[str, Any]:
    """A file as endpoints take it."""
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def call(path: str, k: int = 12) -> bytes:
    """The body of a call of /retrieve."""
    return json.dumps({"data": [file_data(path), "auto", k, None]}).encode()


def _image(kind: str, size: tuple[int, int] = (200, 400)) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(size, 60).save(buffer, kind)
    return buffer.getvalue()


def _bomb(side: int) -> bytes:
    """A PNG of side x side black pixels, of which the packed rows take a few KB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


FILES = {
    "noise.bin": random.Random(0).randbytes(5000),
    "empty.png": b"",
    "text.jpg": b"no picture " * 50,
    "cut.jpg": _image("JPEG")[:3000],
    "cut.png": _image("PNG")[:9000],
    "page.html": b"<script>alert(1)</script>",
    "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
    "bomb.png": _bomb(30000),
    "thin.png": _image("PNG", (2, 4000)),
    "wrong.gif": _image("PNG"),
    "large.png": _bomb(7600),
}
USABLE = ("wrong.gif", "large.png")
FOREIGN = (
    "/etc/passwd", "/proc/self/environ", "app.py", "../../etc/passwd", "http://127.0.0.1:9/x.png",
    "file:///etc/passwd", "/tmp/gradio", "\\\\server\\share", "C:\\Windows\\win.ini", "/etc/passwd\x00.png",
)  # fmt: skip
REQUESTS: list[tuple[str, str, bytes | None]] = [
    ("POST", CALL, b""), ("POST", CALL, b"{"), ("POST", CALL, b"[]"), ("POST", CALL, b'{"data": 5}'),
    ("POST", CALL, b"[" * 100_000), ("POST", CALL, b'{"data": ' + b"[" * 5000 + b"]" * 5000 + b"}"),
    ("POST", "/gradio_api/call/nothing", b'{"data": []}'), ("POST", "/gradio_api/call/v2/nothing", b"{}"),
    ("POST", "/gradio_api/run/retrieve", call("/etc/passwd")), ("POST", "/gradio_api/api/retrieve", b'{"data": []}'),
    ("POST", "/gradio_api/queue/join", b'{"data": [], "fn_index": 9999, "session_hash": "x"}'),
    ("POST", "/gradio_api/queue/join", b'{"data": [], "session_hash": "x"}'),
    ("POST", "/gradio_api/component_server", b'{"data": 1, "component_id": 99, "session_hash": "x", "fn_name": "y"}'),
    ("POST", "/gradio_api/process_recording", b"x"), ("POST", "/gradio_api/vibe-edit", b"{}"),
    ("GET", "/gradio_api/file=/etc/passwd", None), ("GET", "/gradio_api/file=http://127.0.0.1:9/", None),
    ("GET", "/gradio_api/proxy=http://127.0.0.1:9/", None), ("GET", "/static/../../../../../etc/passwd", None),
    ("GET", "/gradio_api/custom_component/x/client/y/z", None), ("GET", "/monitoring/summary", None),
    ("DELETE", "/gradio_api/upload", None), ("GET", "/pictures/%00.jpg", None),
]  # fmt: skip
