"""`python -m tests.robustness.fuzz_images --count 10000 --seed 0`: damaged and hostile images through every way in.

Each goes through `MTRL.encode`, the page's functions and the cache of decoded images, in a process of its own that is
watched: a crash, a hang, an error of another kind than ValueError and OSError, one that does not name the file, or two
ways in that disagree about a file, is a failure.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import json
import os
import queue
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from mtrl import MTRL
from mtrl.console import cli
from mtrl.data.decode import decode_images
from mtrl.demo.service.service import DemoService
from mtrl.demo.tabs.address import Settings
from mtrl.demo.tabs.search import answer
from mtrl.demo.tabs.transition import compare
from mtrl.models.config import Modality, ModelConfig
from mtrl.translate import load_translator
from tests.robustness.image_mutations import Case, any_image, make

SIZE = (64, 32)
TOGETHER = 100  # files that make one data set for the cache
PATIENCE = 30.0
BLOCK = {"channels": [8, 8, 8, 8], "layers": [1, 1, 1, 1]}
KINDS_OF_ERROR = {ValueError, OSError, FileNotFoundError, IsADirectoryError, PermissionError}


@dataclasses.dataclass
class Outcome:
    """What became of one input. error  its text, "" for a result; failures  promises that did not hold"""

    number: int
    kind: str
    error: str = ""
    seconds: float = 0.0
    memory: float = 0.0  # peak of the process meanwhile, MB
    failures: list[str] = dataclasses.field(default_factory=list)


class Examiner:
    """A small model, a page over a small gallery, and a folder for the files."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(0)
        torch.set_num_threads(1)
        self.folder = folder
        self.model = MTRL(ModelConfig("resnet10t", SIZE, backbone_args=BLOCK)).eval()
        for modality in Modality:
            for person in range(4):
                where = folder / "people" / modality.name.lower() / str(person)
                where.mkdir(parents=True)
                image = any_image(random.Random(person)).resize((32, 64))
                image.convert("RGB" if modality is Modality.VISIBLE else "L").save(where / "0.png")
        self.service = DemoService(self.model, folder / "people", {"luminance": load_translator("luminance")})

    def examine(self, case: Case) -> Outcome:
        """The input through `encode`, and through the page if a page can be sent it."""
        outcome = Outcome(case.number, case.kind)
        content: Any = case.content
        named = isinstance(content, bytes) and case.kind != "tensor"
        if named:
            content = self.folder / case.name
            content.write_bytes(case.content)
        images = content if case.kind == "tensor" else [content]
        features, outcome.error = self._try(outcome, "encode", lambda: self.model.encode(images))
        if features is not None:
            norms = torch.linalg.vector_norm(features, dim=1)
            if features.shape[1:] != (self.model.dim,) or not torch.allclose(
                norms, torch.ones_like(norms), atol=1e-3
            ):
                outcome.failures.append("encode: no unit rows")
        if named and outcome.error and case.name not in outcome.error:
            outcome.failures.append(f"encode: the file is not named: {outcome.error}")
        if named or isinstance(content, Image.Image):
            self._page(outcome, content)
        return outcome

    def _page(self, outcome: Outcome, image: Any) -> None:
        result, error = self._try(outcome, "encode endpoint", lambda: self.service.encode(image))
        if (result is None) != bool(outcome.error):
            outcome.failures.append(
                f"endpoint: {error or 'a result'}, but encode: {outcome.error or 'a result'}"
            )
        for name, view in (
            ("Retrieve tab", lambda: answer(self.service, image, Settings(k=4))),
            ("Transition tab", lambda: compare(self.service, image)),
        ):
            html, _ = self._try(outcome, name, view)
            if html is None or ("m-error" in str(html)) != bool(outcome.error):
                outcome.failures.append(f"{name} shows no answer, or one that differs from encode's")

    def _try(self, outcome: Outcome, what: str, call: Callable[[], Any]) -> tuple[Any, str]:
        """(the result or None, the error's text); an error that is not a clear one is a failure."""
        try:
            return call(), ""
        except Exception as error:
            if type(error) not in KINDS_OF_ERROR or not str(error) or "Traceback" in str(error):
                outcome.failures.append(f"{what}: {type(error).__name__}: {error}")
            return None, str(error) or type(error).__name__

    def cache(self, outcomes: dict[str, Outcome]) -> None:
        """The files as one data set: every one is decoded or named, and as `encode` found it."""
        pixels = decode_images(self.folder, list(outcomes), SIZE, self.folder / "cache")
        for name, outcome in outcomes.items():
            known = (name in pixels.rows) + (name in pixels.bad)
            if known != 1 or (name in pixels.bad) != bool(outcome.error):
                outcome.failures.append(f"cache: {pixels.bad.get(name, 'decoded')}, encode: {outcome.error}")
            elif name in pixels.bad and name not in pixels.bad[name]:
                outcome.failures.append(f"cache: the file is not named: {pixels.bad[name]}")
        if len(pixels.images) != len(pixels.rows):
            raise AssertionError(f"{len(pixels.images)} decoded images for {len(pixels.rows)} files")


def work(seed: int, start: int, end: int) -> None:
    """The watched process: a line of JSON before every input, and one for every outcome."""
    with tempfile.TemporaryDirectory() as name:
        examiner = Examiner(Path(name))
        print(json.dumps({"base": resident()}), flush=True)
        files: dict[str, Outcome] = {}
        for number in range(start, end):
            case = make(seed, number)
            print(json.dumps({"begin": number, "kind": case.kind}), flush=True)
            resident(reset=True)
            began = time.perf_counter()
            outcome = examiner.examine(case)
            outcome.seconds, outcome.memory = time.perf_counter() - began, resident()
            if (examiner.folder / case.name).is_file():
                files[case.name] = outcome
            else:
                print(json.dumps(dataclasses.asdict(outcome)), flush=True)
            if len(files) == TOGETHER or number == end - 1:
                examiner.cache(files)
                for path, done in files.items():
                    (examiner.folder / path).unlink()
                    print(json.dumps(dataclasses.asdict(done)), flush=True)
                files = {}


def resident(reset: bool = False) -> float:
    """Peak resident memory of this process in MB since the last reset (Linux; elsewhere 0)."""
    with contextlib.suppress(OSError):
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return int(found[1]) / 1000 if found else 0.0
    return 0.0


def watch(seed: int, start: int, end: int, errors: Path) -> Iterator[Outcome]:
    """Outcomes of inputs start .. end-1, from processes that are started again after a crash or a hang."""
    while start < end:
        current, kind = start, ""
        with errors.open("ab") as stream:
            arguments = [
                sys.executable,
                "-m",
                "tests.robustness.fuzz_images",
                "--work",
                str(seed),
                str(start),
                str(end),
            ]
            quiet = os.environ | {"TQDM_DISABLE": "1"}
            process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=stream, text=True, env=quiet)
        lines: queue.Queue[str] = queue.Queue()
        assert process.stdout is not None
        threading.Thread(target=pour, args=(process.stdout, lines), daemon=True).start()
        limit = 2 * PATIENCE  # the first line waits for imports
        try:
            while line := lines.get(timeout=limit):
                limit, values = PATIENCE, json.loads(line)
                if "begin" in values:
                    current, kind = values["begin"], values["kind"]
                elif "number" in values:
                    yield Outcome(**values)
            status = process.wait()
            if status == 0:
                return
            yield Outcome(current, kind, failures=[f"the process ended with status {status}"])
        except queue.Empty:
            process.kill()
            yield Outcome(current, kind, failures=[f"no answer within {PATIENCE:.0f} s"])
        start = current + 1


def pour(stream: Any, lines: queue.Queue[str]) -> None:
    for line in stream:
        lines.put(line)
    lines.put("")


def reason(text: str) -> str:
    """An error's text without names and numbers, to count its kind."""
    text = re.sub(r"\S*case\d+\.\w+|image \d+", "FILE", text)
    return re.sub(r"\d+", "N", text)[:110]


def main() -> int:
    """Runs the inputs and prints what became of them; 1 if a promise did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.robustness.fuzz_images", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="inputs (default: 10000)")
    parser.add_argument("--start", type=int, default=0, help="number of the first one, to go on in parts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--report", type=Path, help="file to which outcomes are added; the summary is of all in it"
    )
    parser.add_argument("--work", type=int, nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(*given.work)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "stderr"
        outcomes = list(watch(given.seed, given.start, given.start + given.count, log))
        noise = log.read_text(errors="replace").splitlines()
    if given.report:
        with given.report.open("a+") as file:
            file.writelines(json.dumps(dataclasses.asdict(outcome)) + "\n" for outcome in outcomes)
            file.seek(0)
            outcomes = [Outcome(**json.loads(line)) for line in file]
    return summarise(outcomes, noise)


def summarise(outcomes: list[Outcome], noise: list[str]) -> int:
    results = sum(not outcome.error for outcome in outcomes)
    print(f"{len(outcomes)} inputs: {results} results, {len(outcomes) - results} errors")
    kinds = collections.Counter(reason(outcome.error) for outcome in outcomes if outcome.error)
    print("\n".join(f"  {count:5d}  {text}" for text, count in kinds.most_common(25)))
    slow = max(outcomes, key=lambda outcome: outcome.seconds)
    large = max(outcomes, key=lambda outcome: outcome.memory)
    usual = statistics.median(outcome.memory for outcome in outcomes)
    print(f"slowest, all ways in together: {slow.number} ({slow.kind}), {slow.seconds:.2f} s")
    print(f"peak memory: {large.number} ({large.kind}), {large.memory:.0f} MB; median {usual:.0f} MB")
    native = sum(bool(re.match(r"[\w.]+: ", line)) for line in noise)
    print(f"{len(noise)} lines on stderr in this part, {native} of them libtiff's own")
    print("\n".join(f"  {line[:160]}" for line in dict.fromkeys(noise)))
    failed = [outcome for outcome in outcomes if outcome.failures]
    for outcome in failed[:50]:
        print(f"FAILED {outcome.number} ({outcome.kind}): {'; '.join(outcome.failures)[:400]}")
    print(f"{len(failed)} failures")
    return 1 if failed else 0


if __name__ == "__main__":
    cli.run(main)
