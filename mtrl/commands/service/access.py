"""Who may ask, how much, and how large a request may be."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from pathlib import Path

from starlette.requests import Request

from mtrl.files.filenames import as_text
from mtrl.files.text import read_text

SHORTEST_TOKEN = 16
_MINUTE = 60.0


class Refused(Exception):
    """A request that is not served: status, and what the client is told."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


def read_tokens(path: Path) -> tuple[str, ...]:
    """The tokens of a file, one a line; empty lines and those after # are passed over.

    Raises ValueError for a file without tokens, and for one that is easily guessed; OSError where it cannot be read.
    """
    lines = [line.strip() for line in read_text(path).splitlines()]
    tokens = tuple(line for line in lines if line and not line.startswith("#"))
    if not tokens:
        raise ValueError(f"{as_text(path)} holds no token; write one a line: openssl rand -hex 32")
    if any(len(token) < SHORTEST_TOKEN or not token.isascii() for token in tokens):
        raise ValueError(
            f"{as_text(path)} holds a token of less than {SHORTEST_TOKEN} plain characters; make one with "
            "openssl rand -hex 32"
        )
    return tokens


class Access:
    """Checks tokens and counts images.

    tokens      one of them must come as "Authorization: Bearer TOKEN"; none: everybody on this machine may ask, but no
                web page
    per_minute  images that a token may send in a minute; 0: any number
    """

    def __init__(
        self, tokens: tuple[str, ...] = (), per_minute: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.tokens, self.per_minute, self._clock = tokens, per_minute, clock
        self._left: dict[
            int, tuple[float, float]
        ] = {}  # by token: images that may still come, and when that was so

    def check(self, request: Request) -> int:
        """The number of the request's token. Raises Refused."""
        if not self.tokens:
            if request.headers.get("origin"):  # a browser names the page that asks
                raise Refused(
                    403, "this service has no tokens, so it answers no web page; start it with --token-file"
                )
            return 0
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        right = [hmac.compare_digest(token.encode(), given.strip().encode()) for token in self.tokens]
        if kind.lower() != "bearer" or not any(right):
            raise Refused(401, "a token is needed: Authorization: Bearer TOKEN")
        return right.index(True)

    def spend(self, token: int, images: int) -> None:
        """Counts images. Raises Refused where the quota is used up."""
        if not self.per_minute:
            return
        if images > self.per_minute:
            raise Refused(
                413, f"the quota is {self.per_minute} images a minute: send no more than that at once"
            )
        now = self._clock()
        left, since = self._left.get(token, (float(self.per_minute), now))
        left = min(self.per_minute, left + (now - since) * self.per_minute / _MINUTE)
        if images > left:
            self._left[token] = (left, now)
            raise Refused(429, f"the quota is {self.per_minute} images a minute; try again later")
        self._left[token] = (left - images, now)
