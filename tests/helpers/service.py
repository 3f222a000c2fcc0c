"""The service of `mtrl serve`, asked without a network."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from mtrl import MTRL
from mtrl.commands.service.access import Access
from mtrl.commands.service.app import make_app
from mtrl.commands.service.engine import Engine
from mtrl.commands.service.telemetry import Telemetry
from mtrl.retrieval.stores.factory import open_store
from tests.helpers.pictures import picture


class Service:
    """`access` are the arguments of `Access`."""

    def __init__(self, model: MTRL, index: Path, **access: Any) -> None:
        self.log = io.StringIO()
        self.engine = Engine(model, open_store(str(index)), Telemetry(self.log))
        app = make_app(self.engine, Access(**access))
        self.client = TestClient(app, "http://localhost", raise_server_exceptions=False)

    def __enter__(self) -> Service:
        self.client.__enter__()  # one event loop for all requests, as a server has
        return self

    def __exit__(self, *error: object) -> None:
        self.client.__exit__(None, None, None)


def files(*numbers: int) -> list[tuple[str, tuple[str, bytes]]]:
    """Images as httpx sends them in a form."""
    return [("images", (f"{number}.png", picture(number))) for number in numbers]
