"""`python -m tests.load.stress --visitors 32 --seconds 120`: good searches among everything that goes wrong.

The page runs in a process of its own. Visitors search without a pause; a share of what they do is bad uploads,
broken requests, files of others, and connections dropped in an upload or while waiting. Counted are all statuses that
the server gave, memory, files and threads; the command fails (exit 1) if one was 5xx, if a good search was not
answered, a bad one not refused in words, or memory grew.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mtrl.console import cli
from mtrl.demo.launch import gallery_folder
from mtrl.demo.service.gallery_folder import read_gallery
from mtrl.files.atomic import write_atomically
from tests.load.stress_clients import Counts, StressClient

WARM = 0.25  # share of the time that counts as warming up
LEAK = 0.05
START = 120.0


@dataclasses.dataclass(frozen=True)
class Sample:
    """The server at one moment: seconds since the start, resident MB, threads, open files, files of visitors."""

    seconds: float
    resident: float
    threads: int
    handles: int
    files: int


class Page:
    """The page in a process of its own, asked through its standard input."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "tests.load.stress", "--serve", str(self.port)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._guard = threading.Lock()

    def state(self) -> dict[str, Any]:
        """Statuses given so far and the figures of a `Sample`."""
        with self._guard:
            assert self.process.stdin and self.process.stdout
            self.process.stdin.write("?\n")
            self.process.stdin.flush()
            while line := self.process.stdout.readline():
                if line.startswith('{"stress"'):
                    return json.loads(line)["stress"]
        raise OSError("the page ended")

    def wait(self) -> None:
        """Until the page answers. Raises OSError if it does not come up."""
        end = time.monotonic() + START
        while self.process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.1)
        raise OSError("the page did not start; see `python app.py`")

    def close(self) -> None:
        """Ends the process."""
        self.process.terminate()
        self.process.wait(30)


@contextlib.contextmanager
def page() -> Iterator[Page]:
    """A page with what is shipped, ended afterwards."""
    served = Page()
    try:
        served.wait()
        yield served
    finally:
        served.close()


def serve(port: int) -> int:
    """The server's side: the page, and an answer to every line on the standard input."""
    from mtrl.demo.launch import serve as serve_page

    statuses: Counter[int] = Counter()

    class Count(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if isinstance(record.args, tuple):
                statuses[int(record.args[-1])] += 1  # type: ignore[call-overload]

    def answer() -> None:
        log = logging.getLogger("uvicorn.access")
        for _ in sys.stdin:
            if not any(isinstance(handler, Count) for handler in log.handlers):
                log.handlers, log.propagate = [Count()], False
                log.setLevel(logging.INFO)
            print(json.dumps({"stress": {"statuses": statuses, **_process()}}), flush=True)

    threading.Thread(target=answer, daemon=True).start()
    return serve_page(None, [], None, port, False)


def _process() -> dict[str, Any]:
    status = dict(
        line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    )
    gradio = sys.modules.get("gradio.utils")
    folder = Path(gradio.get_upload_folder()) if gradio else Path("/nonexistent")
    return {
        "resident": int(status["VmRSS"].split()[0]) / 1024,
        "threads": int(status["Threads"]),
        "handles": sum(1 for _ in Path("/proc/self/fd").iterdir()),
        "files": sum(len(names) for _, _, names in os.walk(folder)),
    }


def run_stress(
    served: Page, visitors: int, seconds: float, bad: float
) -> tuple[Counts, list[Sample], Counter[int]]:
    """What the visitors saw, the server second by second, and the statuses that it gave."""
    images = [image.path for image in read_gallery(gallery_folder(None))]
    counts = Counts()
    began = time.perf_counter()
    end = began + seconds
    served.state()  # statuses are counted from here on

    def visit(number: int) -> None:
        visitor = StressClient(served.url, images, counts, number)
        while time.perf_counter() < end:
            visitor.act(bad)

    threads = [threading.Thread(target=visit, args=(number,), daemon=True) for number in range(visitors)]
    for thread in threads:
        thread.start()
    samples: list[Sample] = []
    while time.perf_counter() < end:
        state = served.state()
        del state["statuses"]
        samples.append(Sample(time.perf_counter() - began, **state))
        time.sleep(min(1.0, seconds / 20))
    for thread in threads:
        thread.join(90)
    stuck = sum(thread.is_alive() for thread in threads)
    if stuck:
        counts.note("visitor", f"{stuck} visitors were left without an answer")
    return counts, samples, Counter({int(k): v for k, v in served.state()["statuses"].items()})


def summary(
    counts: Counts, samples: list[Sample], statuses: Counter[int], left: dict[str, Any]
) -> dict[str, Any]:
    """The metrics of a stress test, and under "broken" what does not hold."""
    warm = [s for s in samples if s.seconds >= WARM * samples[-1].seconds]
    tenth = max(1, len(samples) // 10)
    after, last = (float(np.median([s.resident for s in part])) for part in (warm[:tenth], warm[-tenth:]))
    times = np.array([took for _, took in counts.seconds]) * 1000
    p50, p95, longest = (
        (float(v) for v in np.quantile(times, (0.5, 0.95, 1))) if len(times) else (0.0, 0.0, 0.0)
    )
    faults = {status: count for status, count in statuses.items() if status >= 500}
    broken = list(dict.fromkeys(counts.wrong))
    broken += [f"{count} answers of status {status}" for status, count in faults.items()]
    if last > after * (1 + LEAK):
        broken.append(f"memory grew from {after:.0f} to {last:.0f} MB")
    return {
        "done": dict(counts.done.most_common()),
        "statuses": {str(status): statuses[status] for status in sorted(statuses)},
        "good": len(times),
        "milliseconds": {"median": p50, "p95": p95, "longest": longest},
        "refused": counts.busy,
        "resident": {"start": samples[0].resident, "warm": after, "end": last,
                     "peak": max(s.resident for s in samples), "idle": left["resident"]},
        "threads": {"warm": warm[0].threads, "end": samples[-1].threads, "idle": left["threads"]},
        "handles": {"warm": warm[0].handles, "end": samples[-1].handles, "idle": left["handles"]},
        "files": {"start": samples[0].files, "most": max(s.files for s in samples), "idle": left["files"]},
        "broken": broken,
        "samples": [dataclasses.astuple(s) for s in samples],
    }  # fmt: skip


def main() -> int:
    """Starts the page, lets the visitors at it, prints what happened."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.stress", description=__doc__)
    parser.add_argument("--visitors", type=int, default=32, help="visitors at once (default: 32)")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long (default: 120)")
    parser.add_argument(
        "--bad", type=float, default=0.4, help="share of what is no good search (default: 0.4)"
    )
    parser.add_argument(
        "--idle", type=float, default=5.0, help="seconds of rest before the last count (default: 5)"
    )
    parser.add_argument("--json", metavar="FILE", help="write all figures there, memory second by second")
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    arguments = cli.arguments(parser)
    if arguments.serve:
        return serve(arguments.serve)
    if arguments.visitors < 1 or arguments.seconds <= 0 or not 0 <= arguments.bad <= 1:
        raise ValueError("--visitors must be at least 1, --seconds positive and --bad between 0 and 1")
    if not Path("/proc/self/status").exists():
        raise OSError("memory is read from /proc, which this system does not have; run it on Linux")
    with page() as served:
        counts, samples, statuses = run_stress(served, arguments.visitors, arguments.seconds, arguments.bad)
        time.sleep(arguments.idle)
        figures = summary(counts, samples, statuses, served.state())
    if arguments.json:
        write_atomically(Path(arguments.json), json.dumps(figures, indent=1).encode())
    for name, value in figures.items():
        if name not in ("samples", "broken"):
            print(f"{name}: {json.dumps(value) if isinstance(value, dict) else value}")
    for problem in figures["broken"][:30]:
        print(f"BROKEN {problem}")
    return 1 if figures["broken"] else 0


if __name__ == "__main__":
    cli.run(main)
