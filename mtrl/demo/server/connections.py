"""Limits of the server's connections: their number, and the time until a request's head has come."""

from __future__ import annotations

import asyncio
from typing import Any

from mtrl.demo.server.limits import Limits

_BUSY = (
    b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain\r\nConnection: close\r\nRetry-After: 10\r\n\r\n"
    b"The page has too many visitors at the moment. Try again in a minute.\n"
)
_LATE = b"HTTP/1.1 408 Request Timeout\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nToo slow.\n"


def with_limits(protocol: type, limits: Limits) -> type:
    """A subclass of the server's protocol with both limits. Its own timeout, for connections between
    two requests, stays."""

    class LimitedProtocol(protocol):  # type: ignore[misc]
        _due: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                self._close(_BUSY)
            else:
                self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop()
            super().connection_lost(exc)

        def _watch(self) -> None:
            """The clock runs while a head is awaited, and is not set back by a part of it."""
            if self.cycle is not None and not self.cycle.response_complete:
                self._stop()
            elif self._due is None and not self.transport.is_closing():
                self._due = self.loop.call_later(limits.head, self._late)

        def _late(self) -> None:
            self._due = None
            if self.cycle is None or self.cycle.response_complete:
                self._close(_LATE)

        def _close(self, words: bytes) -> None:
            if not self.transport.is_closing():
                self.transport.write(words)
                self.transport.close()

        def _stop(self) -> None:
            if self._due is not None:
                self._due.cancel()
                self._due = None

    return LimitedProtocol
