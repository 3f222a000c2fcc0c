"""What the page tells browsers about itself: which code may run on it, and its text compressed."""

from __future__ import annotations

import base64
import hashlib
import re

from starlette.datastructures import MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SCRIPT = re.compile(rb"<script\b([^>]*)>(.*?)</script>", re.DOTALL | re.IGNORECASE)
_RULES = {
    "default-src": "'self'",
    # Gradio makes functions of its components' code, so 'unsafe-eval'; in the page itself only its own scripts run.
    "script-src": "'self' 'unsafe-eval'",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "media-src": "'self' blob:",
    "font-src": "'self' data:",
    "connect-src": "'self' data: blob:",
    "worker-src": "'self' blob:",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
}
_ANCESTORS = (
    "frame-ancestors 'self' https://huggingface.co https://*.hf.space"  # Spaces show pages in a frame
)


def policy(page: bytes) -> str:
    """The content security policy of an HTML page: its own files, and the scripts that it holds, by their digests."""
    digests = [
        f"'sha256-{base64.b64encode(hashlib.sha256(code).digest()).decode()}'"
        for about, code in _SCRIPT.findall(page)
        if b"src=" not in about
    ]
    rules = {**_RULES, "script-src": " ".join([_RULES["script-src"], *dict.fromkeys(digests)])}
    return "; ".join([*(f"{name} {value}" for name, value in rules.items()), _ANCESTORS])


class SecurityPolicy:
    """ASGI middleware that sends every HTML page with its content security policy."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head: Message | None = None
        parts: list[bytes] = []

        async def answer(message: Message) -> None:
            nonlocal head
            if message["type"] == "http.response.start":
                if MutableHeaders(scope=message).get("content-type", "").startswith("text/html"):
                    head = message  # sent when the page is complete
                else:
                    await send(message)
            elif head is None:
                await send(message)
            else:
                parts.append(message.get("body", b""))
                if not message.get("more_body"):
                    page = b"".join(parts)
                    MutableHeaders(scope=head)["Content-Security-Policy"] = policy(page)
                    await send(head)
                    await send({"type": "http.response.body", "body": page})

        await self._app(scope, receive, answer if scope["type"] == "http" else send)


class CompressedText(GZipMiddleware):
    """Compresses what has no ending in its address: the page and its settings. Gradio does so with its files."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and "." not in scope["path"]:
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)
