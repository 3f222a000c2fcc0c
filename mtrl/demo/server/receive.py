"""The upload route: one file per request, limited in size and time; a broken upload leaves no file."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.types import Message, Receive

from mtrl.demo.server.limits import Limits
from mtrl.demo.server.request_origin import visitor_at
from mtrl.demo.server.uploads import UPLOADS, delete, place

_UNUSUAL = re.compile(r"[^\w.-]+")
_NAME = re.compile(rb'filename="([^"]*)"')
_LONGEST_NAME = 80  # bytes; file systems take 255
_CHUNK = 1 << 18


class Receiver:
    """The upload route of a page. Its files lie in `folder`."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder, self._limits = folder, limits
        self._running: Counter[str] = Counter()  # uploads by visitor
        self._progress: dict[str, list[tuple[str, int]]] = {}

    async def upload(self, request: Request) -> Response:
        """POST of a multipart form with one file in the field "files" -> [its path on the server]."""
        visitor = visitor_at(request.client.host if request.client else None)
        if (
            self._running.total() >= self._limits.uploads
            or self._running[visitor] >= self._limits.uploads_each
        ):
            return JSONResponse(
                {"detail": "The page is busy with other pictures. Try again in a minute."}, 429
            )
        self._running[visitor] += 1
        written: Path | None = None
        watched = request.query_params.get("upload_id", "")[:64]
        try:
            if watched:
                self._progress[watched] = []
            counted = Request(request.scope, self._counted(request, watched))
            async with counted.form(max_files=1, max_fields=4) as form:
                file = form.get("files")
                if not isinstance(file, UploadFile):
                    return PlainTextResponse('send one file, in the field "files" of the form', 400)
                written = place(self.folder, plain_name(file.filename))
                UPLOADS.came(written, await self._write(file, written), visitor)
            return JSONResponse([str(written)])
        except BaseException as problem:
            if written:
                delete(written)
            if isinstance(problem, (FormParserError, UnicodeError, LookupError, ValueError)):
                return PlainTextResponse(f"that form cannot be read: {problem}", 400)
            raise
        finally:
            self._running -= Counter({visitor: 1})
            self._progress.pop(watched, None)

    def _counted(self, request: Request, watched: str) -> Receive:
        """The request's body; what has come of it is noted for whoever watches."""
        name = ""

        async def receive() -> Message:
            nonlocal name
            message = await request.receive()
            body = message.get("body", b"")
            named = None if name else _NAME.search(body[:4096])
            if named:
                name = named[1].decode(errors="replace")
            if watched in self._progress:
                self._progress[watched].append((name, len(body)))
            return message

        return receive

    async def _write(self, file: UploadFile, path: Path) -> int:
        """Writes the file; its bytes."""
        size = 0
        with path.open("xb") as target:
            while content := await file.read(_CHUNK):
                size += len(content)
                if size > self._limits.image:
                    raise HTTPException(413, too_large(self._limits.image))
                target.write(content)
        return size

    async def progress(self, request: Request) -> Response:
        """Server-sent events on an upload that is under way, as the page's browser side expects them."""
        watched = request.query_params.get("upload_id", "")
        for _ in range(30):
            if watched in self._progress:
                return StreamingResponse(self._events(watched), media_type="text/event-stream")
            await asyncio.sleep(0.1)
        return PlainTextResponse("no such upload", 404)

    async def _events(self, watched: str) -> AsyncIterator[str]:
        while (parts := self._progress.get(watched)) is not None:
            for name, size in parts:
                yield f"data: {json.dumps({'msg': 'update', 'orig_name': name, 'chunk_size': size})}\n\n"
            parts.clear()
            await asyncio.sleep(0.1)
        yield f"data: {json.dumps({'msg': 'done'})}\n\n"


def plain_name(name: str | None) -> str:
    """The last part of a file's name, of letters, digits, dots and dashes, not too long and not hidden."""
    last = re.split(r"[/\\]", name or "")[-1]
    usual = _UNUSUAL.sub("_", last).encode()[-_LONGEST_NAME:]  # the end of it says what it is
    return usual.decode(errors="ignore").lstrip(".") or "picture"


def too_large(size: int) -> str:
    """What somebody is told whose file is larger than `size` bytes."""
    return f"A picture may have {size >> 20} MB at most; scale it down."
