"""`python -m tests.load.serve`: load on the service of `mtrl serve`, in a process of its own.

    python -m tests.load.serve --clients 32 --seconds 120     # encode, search, add and delete; statuses, p50 and p95
    python -m tests.load.serve --compare --clients 16         # encode, in dynamic batches and one by one

Every client sends its next request when it has the answer to the last. Printed as JSON, with the machine's load.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from mtrl import Gallery, load_pretrained
from tests.helpers.paths import ASSETS, ROOT

IMAGES = sorted((ASSETS / "gallery").glob("*.jpg"))


def form(paths: list[Path], **options: str) -> tuple[bytes, str]:
    """(body, content type) of a multipart form."""
    mark = uuid.uuid4().hex
    parts = [
        f'--{mark}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode()
        for k, v in options.items()
    ]
    for path in paths:
        head = f'--{mark}\r\nContent-Disposition: form-data; name="images"; filename="{path.name}"\r\n\r\n'
        parts.append(head.encode() + path.read_bytes() + b"\r\n")
    return b"".join(parts) + f"--{mark}--\r\n".encode(), f"multipart/form-data; boundary={mark}"


class Client(threading.Thread):
    """One client: asks until `until`, and keeps (address, status, seconds) of every answer."""

    def __init__(self, port: int, number: int, until: float, encode_only: bool) -> None:
        super().__init__(daemon=True)
        self.port, self.until, self.encode_only = port, until, encode_only
        self.random = random.Random(number)
        self.answers: list[tuple[str, int, float]] = []
        self.forms = [form([path], modality="visible") for path in self.random.sample(IMAGES, 8)]

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while time.monotonic() < self.until:
            address, body, kind = self._next()
            start = time.perf_counter()
            try:
                connection.request("POST", address, body, {"Content-Type": kind})
                answer = connection.getresponse()
                answer.read()
                status = answer.status
            except OSError:
                connection.close()
                status = 0
            self.answers.append((address, status, time.perf_counter() - start))

    def _next(self) -> tuple[str, bytes, str]:
        draw = 0.0 if self.encode_only else self.random.random()
        if draw < 0.5 or self.encode_only:
            return ("/v1/encode", *self.random.choice(self.forms))
        if draw < 0.96:
            return ("/v1/search", *self.random.choice(self.forms))
        path = self.random.choice(IMAGES)
        if draw < 0.98:
            return ("/v1/add", *form([path], modality="visible", identity="load"))
        return "/v1/delete", json.dumps({"names": [path.name]}).encode(), "application/json"


def measure(
    index: Path, port: int, clients: int, seconds: float, batch: int, encode_only: bool
) -> dict[str, Any]:
    words = [sys.executable, "-m", "mtrl", "serve", "--index", str(index), "--port", str(port), "--quiet"]
    server = subprocess.Popen([*words, "--batch-size", str(batch)], cwd=ROOT)
    try:
        _wait(port, server)
        _run(port, clients, 3, True)  # the first calls set things up
        answers = _run(port, clients, seconds, encode_only)
    finally:
        server.send_signal(signal.SIGTERM)
        code = server.wait(60)
    times = np.array([taken for _, _, taken in answers])
    return {
        "clients": clients,
        "batch_size": batch,
        "answers": len(answers),
        "per_second": round(len(answers) / seconds, 1),
        "p50_ms": round(1000 * float(np.percentile(times, 50)), 1),
        "p95_ms": round(1000 * float(np.percentile(times, 95)), 1),
        "longest_ms": round(1000 * float(times.max()), 1),
        "statuses": dict(sorted(Counter(str(status) for _, status, _ in answers).items())),
        "addresses": dict(Counter(address for address, _, _ in answers)),
        "stopped_with": code,
        "load_average": os.getloadavg(),
        "processors": os.cpu_count(),
    }


def _run(port: int, clients: int, seconds: float, encode_only: bool) -> list[tuple[str, int, float]]:
    until = time.monotonic() + seconds
    threads = [Client(port, number, until, encode_only) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [answer for thread in threads for answer in thread.answers]


def _wait(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if server.poll() is not None:
            raise SystemExit(f"the service ended with {server.returncode}")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.5)
    raise SystemExit("the service does not answer")


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.load.serve", description=__doc__)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--port", type=int, default=7950)
    parser.add_argument(
        "--compare", action="store_true", help="encode alone, with batches of up to 64, and of 1"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = load_pretrained()
        names = [path.name for path in IMAGES]
        Gallery.build(model, IMAGES, "visible", names=names, identities=["shipped"] * len(IMAGES)).save(
            folder
        )
        for batch in (64, 1) if args.compare else (64,):
            found = measure(Path(folder), args.port, args.clients, args.seconds, batch, args.compare)
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
