"""`python -m tests.load.load --visitors 8`: how long retrievals take when several visitors search at once.

A benchmark: the server runs in a process of its own, every visitor sends an image, asks /retrieve and loads the
thumbnails of the answer that it has not seen, one search after the other without a pause.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from mtrl.console import cli
from mtrl.demo.launch import gallery_folder
from mtrl.demo.service.gallery_folder import GalleryImage, read_gallery

TIMEOUT = 120.0
SERVER = "import sys; from mtrl.demo.launch import serve; serve(None, [], None, int(sys.argv[1]), False)"


class Visitor:
    """One visitor with a connection of its own."""

    def __init__(self, url: str) -> None:
        host = urlsplit(url)
        self._connection = HTTPConnection(host.hostname or "127.0.0.1", host.port, timeout=TIMEOUT)
        self._seen: set[str] = set()

    def ask(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> bytes:
        """The body of an answer. Raises OSError for any status but 200."""
        self._connection.request(method, path, body, {"Content-Type": kind} if body else {})
        response = self._connection.getresponse()
        content = response.read()
        if response.status != 200:
            raise OSError(f"{method} {path} was answered with status {response.status}: {content[:200]!r}")
        return content

    def retrieve(self, file: Path, k: int) -> None:
        """One search, from the first byte sent to the last thumbnail loaded. Raises OSError for a failed one."""
        edge = uuid.uuid4().hex
        head = f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="{file.name}"\r\n\r\n'
        form = head.encode() + file.read_bytes() + f"\r\n--{edge}--\r\n".encode()
        sent = json.loads(
            self.ask("POST", "/gradio_api/upload", form, f"multipart/form-data; boundary={edge}")
        )
        image = {"path": sent[0], "meta": {"_type": "gradio.FileData"}}
        call = json.dumps({"data": [image, "auto", k, None]}).encode()
        event = json.loads(self.ask("POST", "/gradio_api/call/retrieve", call))["event_id"]
        stream = self.ask("GET", f"/gradio_api/call/retrieve/{event}").decode()
        if "event: complete" not in stream:
            raise OSError(f"the search failed: {stream[:300]}")
        images = json.loads(stream.split("event: complete\ndata: ", 1)[1].splitlines()[0])[0]
        for address in {shown["image"] for shown in images} - self._seen:
            self.ask("GET", f"/{address}")
            self._seen.add(address)


def run(url: str, visitors: int, searches: int, images: list[GalleryImage], k: int = 12) -> list[float]:
    """Seconds of every search of every visitor. Raises OSError if one failed."""
    seconds: list[float] = []
    problems: list[Exception] = []
    start = threading.Barrier(visitors)

    def visit(number: int) -> None:
        choice = random.Random(number)
        visitor = Visitor(url)
        try:
            visitor.retrieve(choice.choice(images).path, k)  # opens the connection; not counted
            start.wait(TIMEOUT)
            for _ in range(searches):
                began = time.perf_counter()
                visitor.retrieve(choice.choice(images).path, k)
                seconds.append(time.perf_counter() - began)
        except (OSError, ValueError, KeyError, threading.BrokenBarrierError) as error:
            problems.append(error)
            start.abort()

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(visitors)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise OSError(f"a visitor failed: {problems[0]}") from problems[0]
    return seconds


@contextlib.contextmanager
def served() -> Iterator[str]:
    """The address of a page with what is shipped, in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(port)], stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + TIMEOUT
        while True:
            if process.poll() is not None or time.monotonic() > end:
                raise OSError("the page did not start; see `python app.py`")
            with contextlib.suppress(OSError):
                Visitor(f"http://127.0.0.1:{port}").ask("GET", "/")
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def main() -> int:
    """Starts the page, lets the visitors search, prints the times."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.load", description=__doc__)
    parser.add_argument("--visitors", type=int, default=8, help="visitors at once (default: 8)")
    parser.add_argument("--searches", type=int, default=20, help="searches of each (default: 20)")
    arguments = cli.arguments(parser)
    if arguments.visitors < 1 or arguments.searches < 1:
        raise ValueError("--visitors and --searches must be at least 1")
    images = read_gallery(gallery_folder(None))
    began = time.perf_counter()
    with served() as url:
        up = time.perf_counter() - began
        Visitor(url).retrieve(images[0].path, 12)
        print(f"page up after {up:.1f} s, first answer after {time.perf_counter() - began:.1f} s")
        began = time.perf_counter()
        seconds = run(url, arguments.visitors, arguments.searches, images)
        rate = len(seconds) / (time.perf_counter() - began)
    median, p95 = (1000 * float(np.quantile(seconds, share)) for share in (0.5, 0.95))
    print(
        f"{arguments.visitors} visitors, {len(seconds)} searches: median {median:.0f} ms, p95 {p95:.0f} ms, "
        f"longest {1000 * max(seconds):.0f} ms, {rate:.1f} per second"
    )
    return 0


if __name__ == "__main__":
    cli.run(main)
