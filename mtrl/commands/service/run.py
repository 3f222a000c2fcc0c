"""How the service listens: limits of connections and times, and a graceful stop."""

from __future__ import annotations

import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from mtrl.demo.server.connections import with_limits
from mtrl.demo.server.limits import Limits

GRACE = 30  # seconds for requests under way, once the service is told to end


def check_port(host: str, port: int) -> None:
    """Raises OSError where the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))


def server_settings(app: Any, host: str, port: int) -> uvicorn.Config:
    """uvicorn's settings."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=with_limits(H11Protocol, Limits()),
        ws="none",
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=GRACE,
    )
