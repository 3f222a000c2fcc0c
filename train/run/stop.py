"""Handles Ctrl-C and SIGTERM during training: the current step is finished before the state is saved."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from mtrl.console.progress import say


class StopRequest:
    """Context manager: delays the first Ctrl-C (or SIGTERM) until `check` is called. The second one is raised at once.

    A signal that the process ignores already (`nohup`, a job in the background) stays ignored.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers only there
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def check(self) -> None:
        """Raises KeyboardInterrupt if a signal has come."""
        if self.asked:
            raise KeyboardInterrupt


def say_stopped(command: str, folder: Path, step: int | None) -> None:
    """Says where an interrupted run stopped, and how to continue it. `step` None: nothing was saved now."""
    reached = "inside a step, so the state saved before it counts" if step is None else f"at step {step}"
    again = f"python -m {command} --config {folder / 'settings.yaml'} --resume"
    say(f"stopped {reached}; continue with: {again}")
