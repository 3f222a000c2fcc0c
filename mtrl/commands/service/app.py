"""The addresses of the service, and what stands between them and the network."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from mtrl.commands.service.access import Access, Refused
from mtrl.commands.service.batching import Overloaded
from mtrl.commands.service.engine import Engine
from mtrl.commands.service.incoming import Incoming, read_request
from mtrl.commands.service.openapi import FIELDS, body
from mtrl.console.os_errors import readable

LOCAL = ("localhost", "127.0.0.1", "[::1]")
METRICS = "text/plain; version=0.0.4; charset=utf-8"


def make_app(engine: Engine, access: Access) -> FastAPI:
    """The service. Without tokens it answers to this machine's own names only."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await engine.stop()

    app = FastAPI(title="mtrl", version="1", openapi_url=None, lifespan=lifespan)
    if not access.tokens:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(LOCAL))
    app.middleware("http")(_recorded(engine))
    for kind, status in ((ValueError, 400), (Overloaded, 429)):
        app.add_exception_handler(kind, _in_words(status))
    app.add_exception_handler(OSError, _index_fails)
    app.add_exception_handler(Refused, _refused)
    _add_questions(app, engine, access)
    _add_changes(app, engine, access)
    return app


def _add_questions(app: FastAPI, engine: Engine, access: Access) -> None:
    @app.get("/healthz", summary="Is the service up?")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi(request: Request) -> JSONResponse:
        access.check(request)
        return JSONResponse(app.openapi())

    @app.get("/metrics", summary="Metrics in Prometheus' form")
    async def metrics(request: Request) -> Response:
        access.check(request)
        return Response(engine.telemetry.text(), media_type=METRICS)

    @app.get("/v1/model", summary="The model and the index")
    async def model(request: Request) -> dict[str, Any]:
        access.check(request)
        config = engine.model.config
        return {
            "model": engine.fingerprint,
            "backbone": config.backbone,
            "image_size": list(config.image_size),
            "dim": engine.model.dim,
            "value_range": engine.store.value_range,
            "entries": await engine.count(),
        }

    @app.post("/v1/encode", summary="Features of images", **body("/v1/encode"))
    async def encode(request: Request) -> dict[str, Any]:
        sent = await _images(request, access)
        features, spectra = await engine.encode(sent.images, str(sent.options.get("modality", "visible")))
        return {
            "model": engine.fingerprint,
            "features": features.tolist(),
            "modalities": [kind.name.lower() for kind in spectra],
        }

    @app.post("/v1/search", summary="The nearest entries of each image, or of all as one track",
              **body("/v1/search"))  # fmt: skip
    async def search(request: Request) -> dict[str, Any]:
        sent = await _images(request, access)
        features, _ = await engine.encode(sent.images, str(sent.options.get("modality", "visible")))
        return {"model": engine.fingerprint, "results": await engine.search(features, sent.options)}


def _add_changes(app: FastAPI, engine: Engine, access: Access) -> None:
    @app.post("/v1/add", summary="Add images by their names, or replace them", **body("/v1/add"))
    async def add(request: Request) -> dict[str, int]:
        sent = await _images(request, access)
        names = [name for name, _ in sent.images]
        if not all(names):
            raise Refused(
                400, "every image needs a name, which is its key: the file's name, or name beside data"
            )
        features, spectra = await engine.encode(sent.images, str(sent.options.get("modality", "infrared")))
        return {"added": len(names), "entries": await engine.add(features, spectra, names, sent.options)}

    @app.post("/v1/delete", summary="Delete the entries that a filter matches", **body("/v1/delete"))
    async def delete(request: Request) -> dict[str, int]:
        access.check(request)
        sent = await read_request(request, FIELDS["/v1/delete"])
        deleted, left = await engine.delete(sent.options)
        return {"deleted": deleted, "entries": left}


async def _images(request: Request, access: Access) -> Incoming:
    """The request, whose token is checked before its body is read."""
    token = access.check(request)
    sent = await read_request(request, FIELDS[request.scope["route"].path])
    if not sent.images:
        raise Refused(400, "send at least one image, in the field images")
    access.spend(token, len(sent.images))
    return sent


def _recorded(engine: Engine) -> Callable[..., Awaitable[Response]]:
    async def middleware(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        start, status = time.perf_counter(), 500
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            route = getattr(request.scope.get("route"), "path", "other")
            received = getattr(request.state, "received", 0)
            method = request.method if request.method in ("GET", "POST") else "other"
            engine.telemetry.request(method, route, status, time.perf_counter() - start, received)

    return middleware


def _in_words(status: int) -> Any:
    async def handler(request: Request, error: Exception) -> Response:
        headers = {"Retry-After": "5"} if status == 429 else None
        return JSONResponse({"detail": readable(error)}, status, headers)

    return handler


async def _index_fails(request: Request, error: Any) -> Response:
    """The reason without paths, addresses or filters, which the error's own words may hold."""
    reason = os.strerror(error.errno) if error.errno else "its database does not answer as it should"
    return JSONResponse({"detail": f"the index cannot be used now: {reason}"}, 503, {"Retry-After": "30"})


async def _refused(request: Request, error: Any) -> Response:
    later = {"Retry-After": "30"}
    headers = {401: {"WWW-Authenticate": "Bearer"}, 429: later, 503: later}.get(error.status)
    return JSONResponse({"detail": error.detail}, error.status, headers)
