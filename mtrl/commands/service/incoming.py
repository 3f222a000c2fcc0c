"""The images and options of a request: a multipart form with files, or JSON with base64. Sizes are limited."""

from __future__ import annotations

import asyncio
import base64
import binascii
import dataclasses
from collections.abc import Collection
from typing import Any

from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from mtrl.commands.service.access import Refused
from mtrl.commands.service.openapi import LISTS
from mtrl.files.filenames import as_text
from mtrl.files.untrusted import parse_json

MOST_IMAGES = 64
MOST_BYTES = 64 << 20  # of a request
IMAGE_BYTES = 20 << 20
STALLED = 20.0  # seconds without a byte
_MOST_FIELDS = 10_000  # of a form, in which each value of a list is one


@dataclasses.dataclass(frozen=True)
class Incoming:
    """images: (name, content) in order; options: text, JSON values or lists by name, of the route's fields only."""

    images: list[tuple[str, bytes]]
    options: dict[str, Any]


async def read_request(request: Request, fields: Collection[str]) -> Incoming:
    """The images and options of a request.

    fields  those that the route has
    Raises Refused for what is too large, too slow, or of another form, for other fields, and where the disk is full.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    limited = Request(request.scope, _limited(request))
    try:
        if kind == "multipart/form-data":
            return await _form(limited, fields)
        if kind == "application/json":
            return _json(await limited.body(), fields)
    except HTTPException as problem:  # of the form's parser
        raise Refused(400, str(problem.detail)) from problem
    except (FormParserError, UnicodeError, LookupError, ValueError) as problem:
        raise Refused(400, f"the request cannot be read: {problem}") from problem
    except OSError as problem:  # of the temporary files that large images are kept in
        raise Refused(503, "the service has no room for the request now") from problem
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


async def _form(request: Request, fields: Collection[str]) -> Incoming:
    images: list[tuple[str, bytes]] = []
    options: dict[str, Any] = {}
    async with request.form(max_files=MOST_IMAGES, max_fields=_MOST_FIELDS, max_part_size=1 << 20) as form:
        for field, value in form.multi_items():
            if isinstance(value, UploadFile):
                if field != "images":
                    raise Refused(400, f"files belong into the field images, not {field!r}")
                images.append((value.filename or "", _checked(await value.read())))
            elif field in LISTS:
                options.setdefault(field, []).append(value)
            elif field in options:
                raise Refused(400, f"{field[:60]!r} is given twice")
            else:
                options[field] = value
    return Incoming(images, _known(options, images, fields))


def _json(body: bytes, fields: Collection[str]) -> Incoming:
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
    return Incoming(images, _known(content, images, fields))


def _known(
    options: dict[str, Any], images: list[tuple[str, bytes]], fields: Collection[str]
) -> dict[str, Any]:
    """The options less JSON's null. A filter that is misspelt or empty must not widen what is found or deleted."""
    unknown = sorted({*options, *(["images"] if images else [])} - set(fields))
    if unknown:
        raise Refused(400, f"unknown field {unknown[0][:60]!r}; here are known {', '.join(fields)}")
    texts = [("name", name) for name, _ in images] + [
        (field, text)
        for field, value in options.items()
        for text in (value if isinstance(value, list) else [value])
    ]
    broken = [field for field, text in texts if isinstance(text, str) and as_text(text) != text]
    if broken:
        raise Refused(400, f"{broken[0]} is no valid Unicode text, and no answer could hold it")
    empty = [name for name, value in options.items() if value in ("", [], [""])]
    if empty:
        raise Refused(400, f"{empty[0]} is empty; leave it out, or name what it may be")
    return {name: value for name, value in options.items() if value is not None}


def _checked(content: bytes) -> bytes:
    if len(content) > IMAGE_BYTES:
        raise Refused(413, f"an image may have {IMAGE_BYTES >> 20} MB; scale it down")
    return content
