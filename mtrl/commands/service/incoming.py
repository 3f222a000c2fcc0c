"""The images and options of a request: a multipart form with files, or JSON with base64. Sizes are limited."""

from __future__ import annotations

import asyncio
import base64
import binascii
import dataclasses
from typing import Any

from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from mtrl.commands.service.access import Refused
from mtrl.files.untrusted import parse_json

MOST_IMAGES = 64
MOST_BYTES = 64 << 20  # of a request
IMAGE_BYTES = 20 << 20
STALLED = 20.0  # seconds without a byte
OPTIONS = ("modality", "k", "pool", "identity", "camera", "time", "track", "identities", "cameras", "after", "before",
           "spectrum", "only", "names")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Incoming:
    """images: (name, content) in order; options: text or JSON values by name, only those of `OPTIONS`."""

    images: list[tuple[str, bytes]]
    options: dict[str, Any]


async def read_request(request: Request) -> Incoming:
    """Raises Refused for what is too large, too slow, or of another form."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    limited = Request(request.scope, _limited(request))
    try:
        if kind == "multipart/form-data":
            return await _form(limited)
        if kind == "application/json":
            return _json(await limited.body())
    except HTTPException as problem:  # of the form's parser
        raise Refused(400, str(problem.detail)) from problem
    except (FormParserError, UnicodeError, LookupError, ValueError) as problem:
        raise Refused(400, f"the request cannot be read: {problem}") from problem
    raise Refused(415, "send multipart/form-data with files in the field images, or application/json")


def _limited(request: Request) -> Any:
    """The request's body, up to `MOST_BYTES`; the bytes that came are counted in its state."""
    request.state.received = 0

    async def receive() -> Message:
        try:
            message = await asyncio.wait_for(request.receive(), STALLED)
        except asyncio.TimeoutError:
            raise Refused(408, f"nothing came for {STALLED:.0f} seconds") from None
        request.state.received += len(message.get("body", b""))
        if request.state.received > MOST_BYTES:
            raise Refused(413, f"a request may have {MOST_BYTES >> 20} MB")
        return message

    return receive


async def _form(request: Request) -> Incoming:
    images, options = [], {}
    async with request.form(max_files=MOST_IMAGES, max_fields=len(OPTIONS), max_part_size=1 << 20) as form:
        for field, value in form.multi_items():
            if isinstance(value, UploadFile):
                if field != "images":
                    raise Refused(400, f"files belong into the field images, not {field!r}")
                images.append((value.filename or "", _checked(await value.read())))
            else:
                options[field] = value
    return Incoming(images, _known(options))


def _json(body: bytes) -> Incoming:
    content = parse_json(body.decode("utf-8"))
    if not isinstance(content, dict):
        raise Refused(400, "the JSON of a request is an object")
    listed = content.pop("images", [])
    if not isinstance(listed, list) or len(listed) > MOST_IMAGES:
        raise Refused(413 if isinstance(listed, list) else 400, f"images is a list of at most {MOST_IMAGES}")
    images = []
    for entry in listed:
        name, data = (entry.get("name", ""), entry.get("data")) if isinstance(entry, dict) else ("", entry)
        if not isinstance(data, str) or not isinstance(name, str):
            raise Refused(400, 'an image is base64 text, or {"name": ..., "data": base64 text}')
        try:
            images.append((name, _checked(base64.b64decode(data, validate=True))))
        except binascii.Error as error:
            raise Refused(400, f"an image is no base64: {error}") from error
    return Incoming(images, _known(content))


def _known(options: dict[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise Refused(400, f"unknown field {unknown[0][:60]!r}; known are images, {', '.join(OPTIONS)}")
    return {name: value for name, value in options.items() if value not in ("", None, [])}


def _checked(content: bytes) -> bytes:
    if len(content) > IMAGE_BYTES:
        raise Refused(413, f"an image may have {IMAGE_BYTES >> 20} MB; scale it down")
    return content
