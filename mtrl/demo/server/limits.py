"""Limits of the server: sizes, times and numbers of requests, and the errors when one is passed."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of the server.

    image         bytes of an uploaded image
    request       bytes of any other request
    whole         seconds until a request has come completely
    stalled       seconds without a byte of it
    head          seconds until a request's head has come
    connections   at a time
    uploads       at a time
    uploads_each  at a time, of one visitor
    stored        bytes of all images on the disk, sent and shown
    share         bytes of one visitor's
    """

    image: int = 20 << 20
    request: int = 1 << 20
    whole: float = 120.0
    stalled: float = 20.0
    head: float = 20.0
    connections: int = 500
    uploads: int = 64
    uploads_each: int = 8
    stored: int = 1 << 30
    share: int = 1 << 28


class TooMuch(Exception):
    """A body larger than allowed; its words say how large it may be."""


class TooSlow(Exception):
    """A body that did not come in time."""
