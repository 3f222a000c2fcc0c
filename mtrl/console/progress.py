"""Progress of a loop on stderr: a bar on a terminal, else a plain line every ten seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import Generic, TextIO, TypeVar

from tqdm import tqdm

LINE_SECONDS = 10.0  # between two plain lines, also of different loops
_LAST_LINE: list[float] = []  # time of the last plain line, or of the first loop's start

Item = TypeVar("Item")


class Progress(Generic[Item]):
    """Counts the steps of a loop and shows them. Use `for item in Progress(items, ...)`, or `with` and `update`.

    items    the items of the loop
    title    what the loop does
    unit     name of one step, such as "image"
    total    number of steps; None: the length of `items`
    initial  number of steps that an interrupted run did before
    show     whether to show anything
    keep     whether the finished bar stays on the terminal
    """

    def __init__(
        self,
        items: Iterable[Item] = (),
        *,
        title: str,
        unit: str,
        total: int | None = None,
        initial: int = 0,
        show: bool = True,
        keep: bool = True,
    ) -> None:
        self.items, self.title, self.unit = items, title, unit
        self.total = len(items) if total is None and isinstance(items, Sized) else total
        self.done, self.show, self.note = initial, show, ""
        self.bar = None
        if not _LAST_LINE:
            _LAST_LINE.append(time.monotonic())
        if show and sys.stderr.isatty():
            self.bar = tqdm(
                total=self.total,
                initial=initial,
                desc=title,
                unit=unit,
                leave=keep,
                mininterval=1.0,
                file=sys.stderr,
            )

    def __iter__(self) -> Iterator[Item]:
        with self:
            for item in self.items:
                yield item
                self.update()

    def __enter__(self) -> Progress[Item]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.close()

    def update(self, steps: int = 1) -> None:
        """Counts `steps` further steps."""
        self.done += steps
        if self.bar is not None:
            self.bar.update(steps)
        elif self.show and time.monotonic() - _LAST_LINE[0] >= LINE_SECONDS:
            _LAST_LINE[0] = time.monotonic()
            whole = "" if self.total is None else f" of {self.total}"
            say(f"{self.title}: {self.done}{whole} {self.unit}s" + f", {self.note}" * bool(self.note))

    def remark(self, text: str) -> None:
        """Sets the text shown after the count, such as the losses of the last step."""
        self.note = text
        if self.bar is not None:
            self.bar.set_postfix_str(text)


def say(text: str, file: TextIO | None = None) -> None:
    """Writes a line to `file` (default: stderr) without disturbing a bar on the terminal."""
    tqdm.write(text, file=file or sys.stderr)
