"""ASGI middleware: route allow-list, size and time limits, file access.

Gradio serves far more than this page uses (a proxy, streams, recordings, direct calls, links to saved states, fetching
of addresses). Requests for those are answered here, before Gradio sees them.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mtrl.demo.server.active_sessions import CALL, ActiveSessions
from mtrl.demo.server.limits import Limits, TooMuch, TooSlow
from mtrl.demo.server.receive import too_large
from mtrl.demo.server.uploads import is_ours

_PART = r"[\w@+-][\w.@+-]*"
_READ = re.compile(
    rf"/|/(config|theme\.css|favicon\.ico|robots\.txt|manifest\.json)/?|/pwa_icon(/\d+)?"
    rf"|/(assets|static|svelte)(/{_PART})+|/pictures/[0-9a-f]{{24}}\.jpg"
    rf"|/gradio_api/(info|openapi\.json|app_id|startup-events|theme\.css|login_check|upload_progress|queue/(data|status))/?"
    rf"|/gradio_api/heartbeat/[\w-]{{1,64}}",
    re.ASCII,
)
_FILE = "/gradio_api/file="
_AGENTS = "/gradio_api/mcp"
_WRITE = re.compile(r"/gradio_api/(upload|queue/join|cancel|reset)/?")
_NAMED = "/gradio_api/call/v2/"  # parameters by name
_LOCAL = ("127.0.0.1", "localhost", "::1")
_DRAINED = 4  # times the limit that is read of what is too large, so that the answer is seen


@dataclasses.dataclass(frozen=True)
class PageAccess:
    """What the request filter knows of the page.

    folder     its files
    endpoints  endpoint -> parameter -> whether it may be left out
    events     ids of its events
    public     whether others than this machine may ask
    limits     sizes and times
    sessions   who has the page open
    below      path of the page's address where it is not the top, as "/demo"; a proxy may keep it or take it away
    """

    folder: Path
    endpoints: Mapping[str, Mapping[str, bool]]
    events: frozenset[int]
    public: bool
    limits: Limits
    sessions: ActiveSessions
    below: str = ""


class RequestFilter:
    """ASGI middleware that passes on the requests that the page needs and answers all others itself."""

    def __init__(self, app: ASGIApp, access: PageAccess) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or answers it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                if scope["path"].startswith(_FILE):
                    headers["Cache-Control"] = "private, no-store"
            await send(message)

        below = self._access.below
        if below and scope["path"] == below:  # addresses on the page are relative to it
            await RedirectResponse(f"{below}/", 307)(scope, receive, send)
            return
        if below and scope["path"].startswith(f"{below}/"):
            scope = {**scope, "path": scope["path"][len(below) :]}
        try:
            self._check(scope)
            with self._access.sessions.noting(scope):
                await self._app(scope, await self._body(scope, receive), answer)
        except ClientDisconnect:
            return  # nobody is left to answer
        except (HTTPException, TooMuch, TooSlow) as problem:
            if started:  # a stream that has ended; Gradio has said so in it
                return
            await _refuse(problem)(scope, receive, answer)

    def _check(self, scope: Scope) -> None:
        """Raises HTTPException for what this page has no use for."""
        path, method, headers = scope["path"], scope["method"], Headers(scope=scope)
        if not self._access.public:
            _check_local(headers, method)
        if path.startswith(_AGENTS):
            return
        call = CALL.fullmatch(path)
        if call:
            known = call[1] in self._access.endpoints and method == ("GET" if call[2] else "POST")
        elif path.startswith(_FILE):
            known = method in ("GET", "HEAD") and is_ours(path.removeprefix(_FILE), self._access.folder)
            # Gradio's handling of ranges fails for odd ones, and images need none.
            scope["headers"] = [(name, value) for name, value in scope["headers"] if name != b"range"]
        elif method == "POST":
            known = _WRITE.fullmatch(path) is not None
        else:
            known = method in ("GET", "HEAD") and _READ.fullmatch(path) is not None
        if not known:
            raise HTTPException(404, "There is nothing here.")

    async def _body(self, scope: Scope, receive: Receive) -> Receive:
        """The body of a request: of an upload as it comes, within limits; of any other checked as a whole."""
        limits = self._access.limits
        if scope["method"] not in ("POST", "PUT", "PATCH", "DELETE"):
            return receive
        upload = scope["path"].rstrip("/") == "/gradio_api/upload"
        agents = scope["path"].startswith(_AGENTS)
        # Programs that speak MCP send images as text, which is a third longer; forms have a head.
        most = limits.image + (1 << 16) if upload else 2 * limits.image if agents else limits.request
        too_much = TooMuch(too_large(limits.image) if upload else f"A request may have {most} bytes at most.")
        told = Headers(scope=scope).get("content-length", "")
        if told.isdecimal() and int(told) > _DRAINED * most:
            raise too_much
        bounded = _bounded(receive, most, limits, too_much)
        if upload:
            return bounded
        parts = []
        while True:
            message = await bounded()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            parts.append(message.get("body", b""))
            if not message.get("more_body"):
                break
        content = b"".join(parts)
        self._check_content(content, scope["path"], agents)
        return _replayed(content, receive)

    def _check_content(self, content: bytes, path: str, agents: bool) -> None:
        """Raises HTTPException for JSON that is none, for events that do not exist and for files of others."""
        if not content and (agents or path.rstrip("/").endswith("reset")):
            return
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            raise HTTPException(400, "That is no JSON.") from None
        if not isinstance(value, dict) and not agents:
            raise HTTPException(400, "A JSON object is needed.")
        if path.rstrip("/").endswith("queue/join") and (
            value.get("fn_index") not in self._access.events or not isinstance(value.get("session_hash"), str)
        ):
            raise HTTPException(400, "The page has no such event.")
        call = CALL.fullmatch(path)
        if call and path.startswith(_NAMED):
            known = self._access.endpoints[call[1]]
            if not {name for name, optional in known.items() if not optional} <= value.keys() <= known.keys():
                raise HTTPException(400, f"The parameters of {call[1]} are {', '.join(known)}.")
        for name, text in _texts(value):
            if name == "path" and not agents and not is_ours(text, self._access.folder):
                raise HTTPException(
                    400, "That file was not sent to this page, or its time is over: send it again."
                )
            if agents and name != "url" and re.match(r"\s*(https?|file|ftp)://", text, re.IGNORECASE):
                raise HTTPException(
                    400, "This page loads nothing from other addresses: send the picture itself."
                )


def _texts(value: Any) -> Iterator[tuple[str, str]]:
    """Every text in a JSON value, with the name it stands under, without recursion."""
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        name, part = waiting.pop()
        if isinstance(part, dict):
            waiting += part.items()
        elif isinstance(part, list):
            waiting += [(name, item) for item in part]
        elif isinstance(part, str):
            yield name, part
        elif name == "path" and part is not None:
            yield name, ""


def _check_local(headers: Headers, method: str) -> None:
    """A page for this machine only answers to this machine's names, and takes nothing that another site's page
    sends, although it runs in a browser of this machine."""
    origin = headers.get("origin")
    with contextlib.suppress(ValueError):
        host = urlsplit(f"//{headers.get('host', '')}")
        if host.hostname in _LOCAL and (
            origin is None or method in ("GET", "HEAD") or urlsplit(origin).hostname in _LOCAL
        ):
            return
    raise HTTPException(403, "This page is for its own machine only; --host or --public opens it to others.")


def _bounded(receive: Receive, most: int, limits: Limits, too_much: TooMuch) -> Receive:
    """The body, of which `most` bytes are passed on. What is too large is read a while longer and thrown away, as
    a client that is still sending would not see an answer."""
    end = time.monotonic() + limits.whole
    got = 0

    async def bounded() -> Message:
        nonlocal got
        while True:
            try:
                left = min(limits.stalled, end - time.monotonic())
                message = await asyncio.wait_for(receive(), max(0.0, left))
            except (asyncio.TimeoutError, TimeoutError):
                raise too_much if got > most else TooSlow() from None
            got += len(message.get("body", b""))
            if got <= most:
                return message
            if got > _DRAINED * most or not message.get("more_body"):
                raise too_much

    return bounded


def _replayed(content: bytes, receive: Receive) -> Receive:
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": content, "more_body": False}

    return replay


def _refuse(problem: HTTPException | TooMuch | TooSlow) -> JSONResponse:
    if isinstance(problem, HTTPException):
        return JSONResponse({"detail": problem.detail}, problem.status_code)
    close = {"Connection": "close"}  # what still comes is not read
    if isinstance(problem, TooMuch):
        return JSONResponse({"detail": str(problem)}, 413, close)
    return JSONResponse({"detail": "The request took too long to arrive."}, 408, close)
