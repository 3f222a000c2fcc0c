"""Who is there: sessions with an open page, and who listens for an answer."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterator
from urllib.parse import parse_qs

from starlette.types import Scope

CALL = re.compile(r"/gradio_api/call/(?:v2/)?(\w+)(?:/([0-9a-f]{32}))?/?", re.ASCII)
HEARTBEAT = "/gradio_api/heartbeat/"
_ANSWERS = "/gradio_api/queue/data"


class ActiveSessions:
    """Sessions that have their page open, and calls of programs.

    open       session -> number of its open pages, known by their heartbeats
    listening  session, or call of a program -> number of requests that wait for its answers
    over       event ids of finished calls
    """

    def __init__(self) -> None:
        self.open: Counter[str] = Counter()
        self.listening: Counter[str] = Counter()
        self.over: set[str] = set()

    @contextlib.contextmanager
    def noting(self, scope: Scope) -> Iterator[None]:
        """While a request is answered that tells who is there."""
        path = scope["path"]
        call = CALL.fullmatch(path)
        with contextlib.ExitStack() as noted:
            if path.startswith(HEARTBEAT):
                noted.enter_context(_counted(self.open, path.removeprefix(HEARTBEAT)))
            elif call and call[2]:
                noted.callback(self.over.add, call[2])
                noted.enter_context(self.listening_to(call[2]))
            elif path.rstrip("/") == _ANSWERS:
                asked = parse_qs(scope.get("query_string", b"").decode("latin-1"))
                noted.enter_context(self.listening_to(asked.get("session_hash", [""])[0]))
            yield

    def listening_to(self, name: str) -> contextlib.AbstractContextManager[None]:
        """While the answers of a session, or of one call, are awaited."""
        return _counted(self.listening, name)


@contextlib.contextmanager
def _counted(counter: Counter[str], name: str) -> Iterator[None]:
    counter[name] += 1
    try:
        yield
    finally:
        counter[name] -= 1
        if not counter[name]:
            del counter[name]
